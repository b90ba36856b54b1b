"""docker-compose.yml: valid, complete, hardened, and with settings that the services know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compose_spec
import pytest
import yaml

from freshet.settings import BadSetting
from tests.contract.dockerfile import ROOT, stages
from tests.contract.service_settings import check_environment, key_files

TEXT = (ROOT / "docker-compose.yml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)  # merge keys are resolved
CONTAINERS: dict[str, dict[str, Any]] = FILE["services"]
STAGES = stages((ROOT / "deploy" / "Dockerfile").read_text())
OURS = ("sessions", "embedding", "ranking", "gateway")


def validate(text: str) -> None:
    compose_spec.PyOptions(apply_merge=True).from_yaml(text).validate()


def test_the_file_follows_the_compose_specification() -> None:
    validate(TEXT)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('    user: "999:999"\n', '    usr: "999:999"\n'),
        ("condition: service_healthy", "condition: service_well"),
        ("      interval: 10s\n", "      interval: ten seconds\n"),
    ],
)
def test_the_validator_would_refuse_a_mistake(right: str, wrong: str) -> None:
    assert right in TEXT
    with pytest.raises(Exception, match=r"."):
        validate(TEXT.replace(right, wrong))


def test_kafka_redis_and_every_service_are_there() -> None:
    others = {"kafka", "redis", "keys", "tools", "training"}
    assert set(CONTAINERS) == others | set(OURS)


@pytest.mark.parametrize("name", CONTAINERS)
def test_each_container_is_hardened_and_bounded(name: str) -> None:
    container = CONTAINERS[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert set(container["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert "privileged" not in container
    if "build" not in container:
        assert int(container["user"].split(":")[0]) > 0


@pytest.mark.parametrize("name", CONTAINERS)
def test_ports_are_published_on_the_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in CONTAINERS[name].get("ports", []))


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_built_from_its_target_and_waits_for_healthy_servers(name: str) -> None:
    container = CONTAINERS[name]
    assert container["build"]["target"] == name
    assert container["depends_on"] == {
        "kafka": {"condition": "service_healthy"},
        "redis": {"condition": "service_healthy"},
        "keys": {"condition": "service_completed_successfully"},
    }
    exposed = STAGES[name].last("EXPOSE")
    assert exposed is not None
    assert sorted(exposed.split()) == sorted(p.split(":")[2] for p in container["ports"])


def test_whatever_others_wait_for_has_a_health_check() -> None:
    for name in ("kafka", "redis"):
        assert CONTAINERS[name]["healthcheck"]["test"]


def test_state_outlives_the_containers() -> None:
    mounted = [volume for each in CONTAINERS.values() for volume in each.get("volumes", [])]
    assert {volume.split(":")[0] for volume in mounted} == set(FILE["volumes"])
    assert CONTAINERS["kafka"]["volumes"] == ["kafka:/var/lib/kafka/data"]
    logs = CONTAINERS["kafka"]["environment"]["KAFKA_LOG_DIRS"]
    assert logs.startswith("/var/lib/kafka/data/")
    assert CONTAINERS["redis"]["volumes"] == ["redis:/data"]


def test_snapshots_are_written_by_embedding_and_only_read_by_the_others() -> None:
    folder = STAGES["runtime"].env()["FRESHET_SNAPSHOTS"]
    assert f"snapshots:{folder}" in CONTAINERS["embedding"]["volumes"]
    for name in ("sessions", "ranking"):
        assert f"snapshots:{folder}:ro" in CONTAINERS[name]["volumes"]


def test_bundles_are_published_by_the_command_to_where_embedding_and_ranking_read_them() -> None:
    environ = STAGES["runtime"].env()
    assert environ["FRESHET_BUNDLES"].startswith(f"{environ['FRESHET_SNAPSHOTS']}/")
    assert f"snapshots:{environ['FRESHET_SNAPSHOTS']}" in CONTAINERS["tools"]["volumes"]


def test_what_training_writes_is_published_by_the_command() -> None:
    assert CONTAINERS["training"]["build"]["target"] == "training"
    assert CONTAINERS["training"]["profiles"] == ["training"], "nothing else starts it"
    assert CONTAINERS["training"]["volumes"] == ["training:/var/lib/freshet/training"]
    assert "training:/var/lib/freshet/training:ro" in CONTAINERS["tools"]["volumes"]
    made = " ".join(text for keyword, text in STAGES["runtime"].instructions if keyword == "RUN")
    assert "/var/lib/freshet/training" in made, "a new volume belongs to the images' user"


@pytest.mark.parametrize("name", [*OURS, "tools"])
def test_certificates_and_tokens_are_where_the_keys_container_puts_them(name: str) -> None:
    maker, folder = CONTAINERS["keys"], "/var/lib/freshet/keys"
    assert maker["command"] == ["keys", folder]
    assert maker["volumes"] == [f"keys:{folder}"]
    assert maker["build"]["target"] == "tools"
    assert f"keys:{folder}:ro" in CONTAINERS[name]["volumes"]
    made = {Path(file).name for file in key_files().values()} | {"operator.token", "gateway.token"}
    named = {
        variable: value
        for variable, value in environment(name).items()
        if variable.startswith("FRESHET_T") and variable.endswith("_FILE")
    }
    assert {Path(value).name for value in named.values()} <= made
    assert {str(Path(value).parent) for value in named.values()} == {folder}


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_reached_by_tls_and_with_a_token_alone(name: str) -> None:
    given = environment(name)
    assert {"FRESHET_TLS_CERT_FILE", "FRESHET_TLS_KEY_FILE", "FRESHET_TOKENS_FILE"} <= set(given)
    assert "FRESHET_INSECURE" not in given
    asks_others = {"FRESHET_TLS_CA_FILE", "FRESHET_TOKEN_FILE"} <= set(given)
    assert asks_others == (name in ("ranking", "gateway"))


def test_redis_keeps_an_append_only_file_and_never_evicts() -> None:
    command = CONTAINERS["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


def test_containers_and_this_machine_are_each_told_an_address_of_kafka_that_they_reach() -> None:
    kafka = CONTAINERS["kafka"]
    advertised = kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert kafka["ports"] == ["127.0.0.1:9092:9092"]
    assert "OUTSIDE://127.0.0.1:9092" in advertised
    for name in OURS:
        assert (
            f"INSIDE://{CONTAINERS[name]['environment']['KAFKA_BOOTSTRAP_SERVERS']}" in advertised
        )


def environment(name: str) -> dict[str, str]:
    given: dict[str, str] = CONTAINERS[name]["environment"]
    return STAGES[name].env() | given


@pytest.mark.parametrize("name", [*OURS, "tools"])
def test_a_service_knows_every_variable_it_is_given_and_starts_with_it(name: str) -> None:
    check_environment(name, environment(name))


def test_a_mistyped_variable_or_value_would_be_seen() -> None:
    with pytest.raises(AssertionError):
        check_environment("ranking", environment("ranking") | {"FRESHET_EMBEDING_ADDRESS": "x"})
    with pytest.raises(BadSetting):
        check_environment("ranking", environment("ranking") | {"FRESHET_LOG_LEVEL": "info"})
