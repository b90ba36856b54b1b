"""Events wait for items that are on their way, and never for long."""

from __future__ import annotations

import asyncio

import pytest

from services.sessions import active_items
from services.sessions.active_items import ActiveItems
from services.sessions.settings import SessionsSettings
from shared.runtime.redis_client import RedisSettings, connect


class Feed:
    """Is caught up when told."""

    def __init__(self) -> None:
        self.asked = 0
        self.there = asyncio.Event()

    async def caught_up(self) -> None:
        self.asked += 1
        await self.there.wait()


def items_of(feed: Feed) -> ActiveItems:
    items = ActiveItems(SessionsSettings(), connect(RedisSettings()))
    items._feed = feed  # type: ignore[assignment]
    return items


async def test_events_wait_until_their_items_are_read() -> None:
    feed = Feed()
    waiting = asyncio.create_task(items_of(feed).caught_up())
    await asyncio.sleep(0)
    assert not waiting.done()
    feed.there.set()
    await waiting


async def test_after_a_wait_in_vain_events_get_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_items, "CATCH_UP_AT_MOST_S", 0.001)
    feed = Feed()
    items = items_of(feed)
    for _ in range(3):
        await items.caught_up()
    assert feed.asked == 1


async def test_an_attempt_that_is_cut_off_while_it_waits_does_not_wait_again() -> None:
    feed = Feed()
    items = items_of(feed)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):  # as the settings may have it
            await items.caught_up()
    await items.caught_up()
    assert feed.asked == 1
