"""Ports are opened to other machines behind TLS, or by saying that it shall be without."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from freshet.settings import BadSetting, from_environment
from services.ranking.settings import RankingSettings
from shared.access.door import Door
from shared.access.settings import DoorSettings
from tests.certificates import Pki
from tests.servers import ROOT

BEYOND = ("0.0.0.0", "::", "10.0.0.7", "ranking.example.com", "")


def doors(**environ: str) -> DoorSettings:
    return from_environment(DoorSettings, environ)


def tls(folder: Path, **more: str) -> dict[str, str]:
    made = Pki(folder).issue("server")
    return {"FRESHET_TLS_CERT_FILE": made.cert_file, "FRESHET_TLS_KEY_FILE": made.key_file, **more}


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_the_loopback_asks_for_nothing(bind: str) -> None:
    door = Door(doors(FRESHET_BIND=bind))

    assert (door.tls, door.tokens, door.quotas, door.guards({})) == (None, None, None, [])
    assert door.reflects


@pytest.mark.parametrize("bind", BEYOND)
def test_any_other_address_is_refused_with_both_ways_to_open_it(bind: str) -> None:
    with pytest.raises(BadSetting) as refused:
        Door(doors(FRESHET_BIND=bind))

    for word in (
        f"FRESHET_BIND={bind} ",
        "FRESHET_TLS_CERT_FILE",
        "FRESHET_TLS_KEY_FILE",
        "FRESHET_INSECURE=1",
    ):
        assert word in str(refused.value)


@pytest.mark.parametrize("bind", BEYOND)
def test_tls_or_one_s_word_opens_it_and_methods_are_not_told(bind: str, tmp_path: Path) -> None:
    secured = Door(doors(FRESHET_BIND=bind, **tls(tmp_path)))
    assert secured.tls is not None
    assert secured.quotas is not None
    assert not secured.reflects

    insecure = Door(doors(FRESHET_BIND=bind, FRESHET_INSECURE="1"))
    assert insecure.tls is None
    assert not insecure.reflects
    assert Door(doors(FRESHET_BIND=bind, FRESHET_INSECURE="1", FRESHET_REFLECTION="on")).reflects


@pytest.mark.parametrize("name", ["embedding", "ranking", "sessions"])
async def test_a_service_that_would_be_open_ends_with_exit_code_2_and_one_line(name: str) -> None:
    environ = {"FRESHET_BIND": "0.0.0.0", "PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}

    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", f"services.{name}"],
        env=environ,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "FRESHET_INSECURE=1" in line


@pytest.mark.parametrize("missing", ["FRESHET_TLS_CERT_FILE", "FRESHET_TLS_KEY_FILE"])
def test_half_of_a_pair_is_refused(missing: str, tmp_path: Path) -> None:
    environ = tls(tmp_path)
    del environ[missing]

    with pytest.raises(BadSetting, match="FRESHET_TLS_CERT_FILE and FRESHET_TLS_KEY_FILE"):
        doors(**environ)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    environ = tls(tmp_path)
    environ["FRESHET_TLS_KEY_FILE"] = Pki(tmp_path / "other").issue("server").key_file

    with pytest.raises(BadSetting, match="FRESHET_TLS_KEY_FILE"):
        Door(doors(**environ))


def test_authorities_of_callers_need_a_certificate_of_one_s_own(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="FRESHET_TLS_CLIENT_CA_FILE needs"):
        Door(doors(FRESHET_TLS_CLIENT_CA_FILE=str(Pki(tmp_path).ca)))


def test_authorities_of_callers_may_be_described_in_any_script(tmp_path: Path) -> None:
    file = tmp_path / "bundle.pem"
    file.write_bytes("# Főtanúsítvány\n".encode() + Pki(tmp_path / "callers").ca.read_bytes())

    made = Door(doors(**tls(tmp_path), FRESHET_TLS_CLIENT_CA_FILE=str(file))).tls
    assert made is not None
    assert made.mutual


@pytest.mark.parametrize("variable", ["FRESHET_TLS_CLIENT_CA_FILE", "FRESHET_TLS_CA_FILE"])
def test_a_file_that_names_no_authority_is_refused_by_its_variable(
    tmp_path: Path, variable: str
) -> None:
    file = tmp_path / "cut.pem"
    file.write_text("-----BEGIN CERTIFICATE-----\n")

    with pytest.raises(BadSetting, match=f"{variable} must be a PEM file of certificates"):
        from_environment(RankingSettings, {**tls(tmp_path), variable: str(file)})


def test_a_token_in_place_of_its_hash_is_refused_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("shop serve freshet_a-plain-token\n")

    with pytest.raises(BadSetting, match="FRESHET_TOKENS_FILE must be") as refused:
        doors(FRESHET_TOKENS_FILE=str(file))
    assert "plain" not in str(refused.value)


def test_a_token_that_no_header_can_carry_is_refused_and_not_shown() -> None:
    with pytest.raises(BadSetting, match="FRESHET_TOKEN must be") as refused:
        from_environment(RankingSettings, {"FRESHET_TOKEN": "geheim\n"})
    assert "geheim" not in str(refused.value)


def test_a_token_of_ranking_s_travels_to_embedding_by_tls_alone(tmp_path: Path) -> None:
    elsewhere = {"FRESHET_EMBEDDING_ADDRESS": "embedding:50061", "FRESHET_TOKEN": "t0"}

    with pytest.raises(BadSetting, match="a token must travel by TLS"):
        from_environment(RankingSettings, elsewhere)

    secured = {**elsewhere, "FRESHET_TLS_CA_FILE": str(Pki(tmp_path).ca)}
    settings = from_environment(RankingSettings, secured)
    assert "t0" not in repr(settings)
    from_environment(RankingSettings, {**elsewhere, "FRESHET_INSECURE": "1"})
