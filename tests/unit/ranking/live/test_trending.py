from __future__ import annotations

import asyncio
import time

import pytest

from freshet.errors import Unavailable
from services.ranking.live import trending
from services.ranking.live.state_reader import MemoryReader
from services.ranking.live.trending import LocalTrending, TrendRows
from services.ranking.stages.features import NO_TREND
from services.ranking.stages.signals import NONE, SCOPE_AT_MOST
from tests.servers import eventually
from tests.unit.ranking.shop import NOW_MS, Shop, item_vector, near, weighted


@pytest.fixture
def reader() -> MemoryReader:
    reader = MemoryReader()
    reader.trending = {"all": weighted({"a": 2.0, "b": 1.0}, 1.0), "c:x": weighted({"a": 1.0}, 1.0)}
    return reader


async def test_scopes_in_use_are_renewed_with_all(reader: MemoryReader) -> None:
    copy = LocalTrending(reader)
    assert copy.missing(["c:x"], time.monotonic()) == [("c:x", SCOPE_AT_MOST)]
    await copy.renew()
    assert len(copy.scopes["all"].keys) == 2
    assert len(copy.scopes["c:x"].keys) == 1
    assert copy.missing(["c:x"], time.monotonic()) == []


async def test_a_scope_stays_the_same_object_until_it_changes(reader: MemoryReader) -> None:
    """So that what is looked up for it need not be looked up again."""
    copy = LocalTrending(reader)
    await copy.renew()
    before = copy.scopes["all"]
    await copy.renew()
    assert copy.scopes["all"] is before
    reader.trending["all"] = weighted({"a": 2.0, "b": 1.5}, 1.0)
    await copy.renew()
    assert copy.scopes["all"].scores.tolist() == reader.trending["all"].scores.tolist()


async def test_a_scope_that_a_request_read_need_not_be_read_again(reader: MemoryReader) -> None:
    copy = LocalTrending(reader)
    copy.missing(["c:x"], time.monotonic())
    copy.put("c:x", reader.trending["c:x"])
    assert copy.missing(["c:x"], time.monotonic()) == []


async def test_without_redis_the_copy_stays_and_grows_stale(reader: MemoryReader) -> None:
    copy = LocalTrending(reader)
    assert copy.stale(time.monotonic())
    await copy.renew()
    now_s = time.monotonic()
    reader.gone = True
    with pytest.raises(Unavailable):
        await copy.renew()
    assert len(copy.scopes["all"].keys) == 2
    assert not copy.stale(now_s)
    assert copy.stale(now_s + trending.STALE_AFTER_S + 1)


async def test_a_scope_nobody_asks_for_is_forgotten(reader: MemoryReader) -> None:
    copy = LocalTrending(reader)
    copy.missing(["c:x"], time.monotonic() - trending.FORGET_AFTER_S - 1)
    await copy.renew()
    assert set(copy.scopes) == {"all", "popular"}


async def test_scopes_are_bounded_whatever_is_asked_for(reader: MemoryReader) -> None:
    copy = LocalTrending(reader)
    for n in range(3 * trending.SCOPES_AT_MOST):
        now_s = time.monotonic()
        for scope, _ in copy.missing([f"s:{n}", "c:x"], now_s):
            copy.put(scope, reader.trending["c:x"])
    assert len(copy.scopes) == trending.SCOPES_AT_MOST
    assert "c:x" in copy.scopes
    assert "s:0" not in copy.scopes


async def test_the_background_task_renews_and_survives_redis_being_gone(
    reader: MemoryReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trending, "RENEW_EVERY_S", 0.01)
    reader.gone = True
    copy = LocalTrending(reader)
    running = asyncio.create_task(copy.run())
    await asyncio.sleep(0.03)
    assert not copy.loaded
    reader.gone = False
    await eventually(lambda: copy.loaded, what="a renewal")
    running.cancel()


async def test_the_first_event_is_not_waited_for_as_long_as_later_ones(
    reader: MemoryReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trending, "RENEW_EVERY_S", 3_600)
    first, reader.trending = reader.trending, {}
    copy = LocalTrending(reader)
    running = asyncio.create_task(copy.run())
    await eventually(lambda: copy.loaded, what="the empty copy")
    reader.trending = first
    await eventually(lambda: len(copy.scopes["all"].keys) == 2, what="the first items")
    running.cancel()


def test_a_scope_is_looked_up_again_when_it_or_the_rows_change() -> None:
    shop = Shop(each=3)
    trends = TrendRows(shop.catalogue)
    scopes = {"all": weighted({"lamp-1": 2.0, "later": 1.0}, 1.0), "empty": NONE}
    first = trends.of(scopes)("all")
    assert [shop.catalogue.ids[row] for row in first.rows] == ["lamp-1"]
    assert trends.of(scopes)("all") is first
    shop.put([item_vector("later", near(0, 1), arrived_ms=NOW_MS)])
    assert [shop.catalogue.ids[row] for row in trends.of(scopes)("all").strongest] == [
        "lamp-1",
        "later",
    ]
    scopes["all"] = weighted({"rug-1": 1.0}, 1.0)
    assert [shop.catalogue.ids[row] for row in trends.of(scopes)("all").rows] == ["rug-1"]
    assert trends.of(scopes)("empty") is NO_TREND
    assert trends.of(scopes)("none") is NO_TREND
