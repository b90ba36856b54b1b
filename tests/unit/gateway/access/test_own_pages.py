"""What the gateway's own page may send where it may only read: nothing that changes anything."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from freshet import Client
from freshet.publisher import Publisher
from services.gateway.access.callers import writes
from services.gateway.app import endpoints
from tests.unit.gateway.kit import GatewayKit, running

WRITES = {
    ("POST", "/v1/events"),
    ("PUT", "/v1/items/{item_id:id}"),
    ("DELETE", "/v1/items/{item_id:id}"),
    ("PATCH", "/v1/offers/{item_id:id}"),
    ("DELETE", "/v1/offers/{item_id:id}"),
    ("PUT", "/v1/users/{user_id:id}"),
    ("DELETE", "/v1/users/{user_id:id}"),
}


@pytest.fixture
async def reader() -> AsyncIterator[GatewayKit]:
    """Run a gateway whose own pages may only read; neither ranking nor Kafka answers."""
    async with running("127.0.0.1:1", own_pages_write=False) as gateway:
        yield gateway


def own(gateway: GatewayKit) -> dict[str, str]:
    return {"Origin": f"http://127.0.0.1:{gateway.port}"}


def test_these_are_all_calls_that_change_anything() -> None:
    api = endpoints(Publisher("127.0.0.1:1"), Client("127.0.0.1:1"), 1)

    assert {(e.method, e.path) for e in api if writes(e.method, e.scope)} == WRITES


@pytest.mark.parametrize(("method", "path"), sorted(WRITES), ids=lambda part: part)
async def test_a_page_that_may_only_read_changes_nothing(
    reader: GatewayKit, method: str, path: str
) -> None:
    path = path.partition("{")[0] + ("mug" if "{" in path else "")

    refused = await reader(method, path, headers=own(reader), data=b"[]")

    assert refused.status == 403
    assert "FRESHET_CONSOLE" in refused.body["detail"]


async def test_the_shops_programs_write_beside_such_a_page(reader: GatewayKit) -> None:
    got = await reader("POST", "/v1/events", json={})

    assert got.status == 400  # it was let in, and says nothing


async def test_such_a_page_asks_by_post(reader: GatewayKit) -> None:
    got = await reader("POST", "/v1/recommendations", json={}, headers=own(reader))

    assert got.status == 400


async def test_a_page_that_may_write_is_let_in() -> None:
    async with running("127.0.0.1:1") as gateway:
        got = await gateway("POST", "/v1/events", json={}, headers=own(gateway))

    assert got.status == 400
