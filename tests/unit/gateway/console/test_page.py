"""The page's own routes: who may come, what its files may do, what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from freshet import Client, KafkaSettings
from freshet.contract.items import Item
from freshet.settings import BadSetting
from services.gateway.access.callers import Callers
from services.gateway.api.endpoint import Limits
from services.gateway.app import build_app
from services.gateway.console import page
from services.gateway.console.catalogue import ServedVectors
from services.gateway.console.kafka_pulse import KafkaPulse
from services.gateway.console.letters import DeadLetterDesk
from services.gateway.console.page import ConsolePage
from services.gateway.console.settings import ConsoleSettings
from services.gateway.console.shown_items import ShownItems
from services.gateway.console.watch import FiguresWatch
from services.gateway.http.server import HttpServer
from services.gateway.service import GatewayService
from services.gateway.settings import GatewaySettings
from shared.access.door import Door
from shared.access.settings import DoorSettings
from shared.access.tokens import Scope
from shared.promises import PROMISES
from tests.unit.gateway.console.test_shown_items import JPEG, record
from tests.unit.gateway.kit import token_of, write_keys

DATA = (
    *(f"/console/ask/{name}" for name in ("about", "cards", "tastes", "map", "letters")),
    "/console/figures",
    "/console/picture/a%2Flamp",
)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    """Call a gateway that has the page and lets everybody in."""
    async with serving(DoorSettings()) as made:
        yield made


@asynccontextmanager
async def serving(settings: DoorSettings) -> AsyncIterator[ClientSession]:
    """Serve the page, with one item on it."""
    kafka, client = KafkaSettings(), Client("127.0.0.1:1")
    items = ShownItems(kafka, 1000)
    lamp = Item(item_id="a/lamp", title="Lamp", image_bytes=JPEG)
    items.take([record(lamp.item_id, 1, lamp)])
    console = ConsolePage(
        items,
        ServedVectors(kafka, client),
        FiguresWatch((), KafkaPulse(kafka).answers),
        client,
        DeadLetterDesk(kafka),
        ranking="127.0.0.1:50051",
        writable=False,
    )
    door = Door(settings)
    callers, limits = Callers(door, None, 1.0, ()), Limits(8, 1000)
    app = build_app((), callers, limits, page.routes(console, callers, limits))
    server = HttpServer(app, door, ())
    port = await server.start(0)
    try:
        async with ClientSession(f"http://127.0.0.1:{port}") as made:
            yield made
    finally:
        await server.stop()


async def test_nothing_comes_from_another_host_and_no_text_becomes_a_script(
    session: ClientSession,
) -> None:
    async with session.get("/") as reply:
        assert reply.url.path == "/console"
        policy = reply.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "require-trusted-types-for 'script'" in policy


async def test_every_file_that_the_page_names_is_there(session: ClientSession) -> None:
    files = [file for file in page.OWN.rglob("*") if file.suffix in page.KINDS]

    assert len(files) > 20
    for file in files:
        async with session.get(f"/console/{file.relative_to(page.OWN)}") as reply:
            assert reply.status == 200
            assert reply.content_type == page.KINDS[file.suffix]


async def test_the_page_is_told_what_it_may_do(session: ClientSession) -> None:
    async with session.get("/console/ask/about") as reply:
        told = await reply.json()

    promises = told.pop("promises")
    assert told == {
        "writable": False,
        "key": "",
        "scopes": list(Scope),
        "items": 1,
        "ranking": "127.0.0.1:50051",
    }
    assert {name: each["within_ms"] for name, each in promises.items()} == {
        name: each.within_ms for name, each in PROMISES.items()
    }


async def test_cards_come_in_the_order_asked_for(session: ClientSession) -> None:
    async with session.get("/console/ask/cards?id=none&id=a/lamp") as reply:
        cards = (await reply.json())["cards"]

    assert [card["title"] for card in cards] == ["", "Lamp"]


async def test_a_picture_has_its_type_and_one_that_is_missing_is_named(
    session: ClientSession,
) -> None:
    async with session.get("/console/picture/a%2Flamp") as reply:
        assert (await reply.read(), reply.content_type) == (JPEG, "image/jpeg")
    async with session.get("/console/picture/none") as reply:
        assert reply.status == 404
        assert "no picture of item 'none'" in (await reply.json(content_type=None))["detail"]


async def test_a_page_of_another_host_reads_nothing(session: ClientSession) -> None:
    evil = {"Origin": "https://evil.example"}
    for path in ("/console/ask/about", "/console/picture/a%2Flamp", "/console/figures"):
        async with session.get(path, headers=evil) as reply:
            assert reply.status == 403
        async with session.get(path, headers={"Host": "evil.example"}) as reply:
            assert reply.status == 403


async def test_a_page_that_may_only_read_publishes_no_dead_letter_again(
    session: ClientSession,
) -> None:
    async with session.post("/console/ask/replay", json={"confirmed": 1}) as reply:
        assert reply.status == 403
        assert "FRESHET_CONSOLE" in (await reply.json(content_type=None))["detail"]


async def test_a_filter_of_dead_letters_that_is_none_is_refused(session: ClientSession) -> None:
    async with session.get("/console/ask/letters?topics=clicks") as reply:
        assert reply.status == 400


@pytest.mark.parametrize("door", [{"bind": "0.0.0.0", "insecure": True}])
async def test_beyond_the_loopback_the_page_is_refused(door: dict[str, Any]) -> None:
    settings = GatewaySettings(door=DoorSettings(**door), console=ConsoleSettings(mode="read"))

    with pytest.raises(BadSetting, match="FRESHET_CONSOLE must be off beyond the loopback"):
        GatewayService(settings)


async def test_beyond_the_loopback_the_page_is_there_with_keys(tmp_path: Path) -> None:
    door = DoorSettings(bind="0.0.0.0", insecure=True, tokens_file=str(write_keys(tmp_path)))

    GatewayService(GatewaySettings(door=door, console=ConsoleSettings(mode="read")))


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[ClientSession]:
    """Call a gateway that has the page and asks for keys."""
    async with serving(DoorSettings(tokens_file=str(write_keys(tmp_path)))) as made:
        yield made


async def ask(session: ClientSession, path: str, key: str = "", method: str = "GET") -> int:
    headers = {"Authorization": f"Bearer {token_of(key)}"} if key else {}
    async with session.request(method, path, headers=headers) as reply:
        return reply.status


async def test_with_keys_the_files_are_public_and_what_has_data_is_not(
    guarded: ClientSession,
) -> None:
    for path in ("/console", "/console/main.js", "/console/lib/key.js"):
        assert await ask(guarded, path) == 200
    for path in DATA:
        assert await ask(guarded, path) == 401
        assert await ask(guarded, path, "nobody's") == 401


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/console/ask/about", "reader", 200),
        ("/console/ask/cards?id=a/lamp", "reader", 200),
        ("/console/picture/a%2Flamp", "reader", 200),
        ("/console/ask/tastes?user_id=ada", "reader", 403),
        ("/console/ask/letters", "care", 403),
    ],
)
async def test_a_key_sees_what_its_scopes_allow(
    guarded: ClientSession, path: str, key: str, status: int
) -> None:
    assert await ask(guarded, path, key) == status


async def test_who_may_publish_events_publishes_no_dead_letters_again(
    guarded: ClientSession,
) -> None:
    assert await ask(guarded, "/console/ask/replay", "care", "POST") == 403


async def test_a_key_is_told_its_name_and_scopes(guarded: ClientSession) -> None:
    headers = {"Authorization": f"Bearer {token_of('reader')}"}
    async with guarded.get("/console/ask/about", headers=headers) as reply:
        told = await reply.json()

    assert (told["key"], told["scopes"]) == ("reader", ["read"])


async def test_a_kept_picture_is_for_the_key_that_fetched_it(guarded: ClientSession) -> None:
    headers = {"Authorization": f"Bearer {token_of('reader')}"}
    async with guarded.get("/console/picture/a%2Flamp", headers=headers) as reply:
        assert "authorization" in reply.headers["vary"].lower()


async def test_no_cookie_stands_for_a_key(guarded: ClientSession) -> None:
    for name in ("freshet-key", "key", "token", "authorization"):
        cookie = {"Cookie": f"{name}={token_of('reader')}"}
        async with guarded.get("/console/ask/about", headers=cookie) as reply:
            assert reply.status == 401
            assert "set-cookie" not in reply.headers
