"""How `freshet up` lays out what it runs."""

from __future__ import annotations

from pathlib import Path

from services.cli.up.kafka import new_cluster_id, server_properties
from services.cli.up.ports import USUAL_PORTS
from services.cli.up.system import build_system, empty, service_environment


def test_ones_own_servers_are_not_started(tmp_path: Path) -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": "k:1", "REDIS_URL": "redis://r:2/0"}

    addresses, supervisor = build_system(tmp_path, USUAL_PORTS, environ, print)

    assert (addresses.kafka, addresses.redis) == ("k:1", "redis://r:2/0")
    assert supervisor.names() == ["embedding", "sessions", "ranking", "gateway"]


def test_what_guards_a_system_elsewhere_does_not_guard_this_one(tmp_path: Path) -> None:
    elsewhere = {
        "FRESHET_TLS_CA_FILE": "ca.pem",
        "FRESHET_TLS_CERT_FILE": "server.pem",
        "FRESHET_TLS_KEY_FILE": "server.key",
        "FRESHET_TOKEN": "t0",
        "FRESHET_TOKENS_FILE": "tokens",
        "FRESHET_LOG_LEVEL": "DEBUG",
    }

    addresses, _ = build_system(tmp_path, USUAL_PORTS, elsewhere, print)
    settings = service_environment(tmp_path, USUAL_PORTS, elsewhere, addresses)

    assert addresses.own
    assert set(elsewhere) & set(settings) == {"FRESHET_LOG_LEVEL"}


def test_servers_come_before_services(tmp_path: Path) -> None:
    _, supervisor = build_system(tmp_path, USUAL_PORTS, {}, print)

    assert supervisor.names() == ["kafka", "valkey", "embedding", "sessions", "ranking", "gateway"]


def test_emptying_leaves_what_is_not_freshets(tmp_path: Path) -> None:
    for name in ("kafka", "valkey", "snapshots", "logs", "photos"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()

    empty(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_the_broker_is_on_loopback_and_bounded() -> None:
    settings = server_properties(1, 2)

    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert int(settings["log.retention.bytes"]) < 2**30


def test_cluster_ids_never_look_like_options() -> None:
    assert not any(new_cluster_id().startswith("-") for _ in range(500))
