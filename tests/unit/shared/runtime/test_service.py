"""What ends a service before it has begun."""

from __future__ import annotations

from typing import Any

import pytest

from services.cli.addresses import SERVICES
from shared.runtime.service import main
from tests.contract.service_settings import settings_class


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("REDIS_URL", "localhost:6379", "'localhost:6379'"),
        ("REDIS_URL", "", "''"),
        ("REDIS_URL", "valkey://shop:pa55@h", "'valkey://***@h'"),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost:abc", "'localhost:abc'"),
        ("KAFKA_BOOTSTRAP_SERVERS", "", "''"),
    ],
)
def test_a_bad_address_ends_each_service_with_one_line(
    service: str,
    variable: str,
    value: str,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def build(settings: Any) -> Any:
        pytest.fail("nothing should be built")

    monkeypatch.setenv(variable, value)

    assert main(service, settings_class(service), build) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{variable} must be ")
    assert line.endswith(f", was {shown}")


def test_ranking_refuses_a_bad_address_of_embedding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRESHET_EMBEDDING_ADDRESS", "http://embedding")

    assert main("ranking", settings_class("ranking"), pytest.fail) == 2
    assert capsys.readouterr().err.startswith("FRESHET_EMBEDDING_ADDRESS must be host:port")
