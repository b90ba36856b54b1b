"""What a web shop does over HTTP shows in the lists that it gets over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession

from freshet.contract.items import Item
from tests.e2e.shop import of_kind, share
from tests.e2e.system import Up
from tests.servers import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture
async def web(up: Up, shop: list[Item]) -> AsyncIterator[ClientSession]:
    assert up.running is not None
    async with ClientSession(f"http://{up.running.addresses.gateway}") as session:
        yield session


async def ids(web: ClientSession, user_id: str, **more: str) -> list[str]:
    query = {"user_id": user_id, "k": "10", "timeout_ms": "5000", **more}
    async with web.get("/v1/recommendations", params=query) as reply:
        assert reply.status == 200, await reply.text()
        return [item["item_id"] for item in (await reply.json())["items"]]


async def test_a_click_over_http_changes_the_next_list(
    web: ClientSession, shop: list[Item]
) -> None:
    lamp = of_kind(shop, "lamp")[0]
    before = await ids(web, "http-ada")

    click = {"user_id": "http-ada", "item_id": lamp.item_id, "type": "click"}
    async with web.post("/v1/events", json=click) as reply:
        (position,) = (await reply.json())["positions"]
    after = await ids(web, "http-ada", after=position)

    assert share(after, "lamp") > share(before, "lamp")
    async with web.get(f"/v1/events/{position}") as reply:
        assert await reply.json() == {"position": position, "applied": True}
    explain = {"user_id": "http-ada", "item_id": after[0]}
    async with web.get("/v1/explain", params=explain) as reply:
        explained = (await reply.json())["item"]
    parts = sum(part["value"] for part in explained["contributions"])
    assert parts == pytest.approx(explained["score"], abs=1e-4)


async def test_an_item_over_http_is_found_by_words_and_by_its_picture_until_it_is_deleted(
    web: ClientSession, shop: list[Item]
) -> None:
    lamp = of_kind(shop, "lamp")[0]
    picture = lamp.image_bytes
    assert picture is not None

    async def found() -> bool:
        params = {"timeout_ms": "5000", "k": "500"}
        async with web.post(
            "/v1/search", params=params, data=picture, headers={"content-type": "image/png"}
        ) as reply:
            assert reply.status == 200, await reply.text()
            by_picture = {item["item_id"] for item in (await reply.json())["items"]}
        async with web.get("/v1/search", params={**params, "text": "quixotic"}) as reply:
            by_words = {item["item_id"] for item in (await reply.json())["items"][:1]}
        return "http/lamp" in by_picture & by_words

    async def gone() -> bool:
        return not await found()

    item = {"title": "A quixotic lamp", "price": 7, "currency": "EUR"}
    async with web.put("/v1/items/http%2Flamp", json=item) as reply:
        assert reply.status == 202, await reply.text()
    await eventually(found, within_s=60, what="the item in both searches")
    async with web.delete("/v1/items/http%2Flamp") as reply:
        assert reply.status == 202
    await eventually(gone, within_s=60, what="the end of the item")


async def test_a_forgotten_user_is_a_newcomer(web: ClientSession, shop: list[Item]) -> None:
    click = {"user_id": "http-bo", "item_id": shop[0].item_id, "type": "click"}
    async with web.post("/v1/events", json=click) as reply:
        (clicked,) = (await reply.json())["positions"]
    async with web.delete("/v1/users/http-bo") as reply:
        assert reply.status == 202
        forgotten = (await reply.json())["position"]
    params = {"after": forgotten, "timeout_ms": "5000"}
    async with web.get("/v1/users/http-bo", params=params) as reply:
        state = await reply.json()

    assert clicked != forgotten
    assert state["history"] == []
    assert state["forgotten_at_ms"]
