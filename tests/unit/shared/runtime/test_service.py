"""What ends a service before it has begun."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from services.cli.addresses import SERVICES
from shared.access.settings import DoorSettings
from shared.faults import SystemFault
from shared.runtime.service import Service, main
from tests.contract.service_settings import settings_class, variables


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

    if variable not in variables(settings_class(service)):
        return  # the gateway asks no Redis
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


class Reading(Service):
    """A service in a group, as far as faults go."""

    def __init__(self, *, ends_with_background: bool) -> None:
        super().__init__("reading", DoorSettings(), ends_with_background=ends_with_background)
        self.health.ready = True
        self.left = 0

    async def start(self) -> None:
        pass

    async def leave(self) -> None:
        self.left += 1

    def status(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("ends_with_background", [False, True])
async def test_after_a_fault_a_service_leaves_its_group_and_stays_to_say_why(
    ends_with_background: bool,
) -> None:
    service = Reading(ends_with_background=ends_with_background)
    for _ in range(3):
        service.background.fail("items", SystemFault("a model fails"))
    await service.stop()
    assert (service.left, service.health.ready, service.broken.is_set()) == (1, False, False)
    assert "a model fails" in str(service.fault())


async def test_after_any_other_end_of_its_work_a_service_ends_where_it_is_told_to() -> None:
    service = Reading(ends_with_background=True)
    service.background.fail("items", KeyError("a bug"))
    assert (service.left, service.broken.is_set()) == (0, True)


async def test_pages_say_why_a_service_is_not_ready() -> None:
    service = Reading(ends_with_background=True)
    port = await service.health.start(0)
    service.background.fail("items", SystemFault("a model fails"))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        async with client.get("/ready") as ready, client.get("/live") as live:
            assert (ready.status, live.status) == (503, 503)
            assert "ready: False, items ended: " in await ready.text()
            assert "a model fails" in await live.text()
        async with client.get("/status") as status:
            assert "a model fails" in (await status.json())["fault"]
    await service.stop()
    await service.health.stop()
