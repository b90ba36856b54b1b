from __future__ import annotations

import asyncio
import time

import pytest

from services.ranking.live import local_trending
from services.ranking.live.local_trending import LocalTrending
from services.ranking.live.state_reader import MemoryReader, Unavailable
from tests.servers import eventually
from tests.unit.ranking.shop import weighted


@pytest.fixture
def reader() -> MemoryReader:
    reader = MemoryReader()
    reader.trending = {"all": weighted({"a": 2.0, "b": 1.0}, 1.0), "c:x": weighted({"a": 1.0}, 1.0)}
    return reader


async def test_scopes_in_use_are_renewed_with_all(reader: MemoryReader) -> None:
    copy = LocalTrending(reader)
    assert copy.missing(["c:x"], time.monotonic()) == [("c:x", local_trending.SCOPE_AT_MOST)]
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
    assert copy.stale(now_s + local_trending.STALE_AFTER_S + 1)


async def test_a_scope_nobody_asks_for_is_forgotten(reader: MemoryReader) -> None:
    copy = LocalTrending(reader)
    copy.missing(["c:x"], time.monotonic() - local_trending.FORGET_AFTER_S - 1)
    await copy.renew()
    assert set(copy.scopes) == {"all"}


async def test_scopes_are_bounded_whatever_is_asked_for(reader: MemoryReader) -> None:
    copy = LocalTrending(reader)
    for n in range(3 * local_trending.SCOPES_AT_MOST):
        now_s = time.monotonic()
        for scope, _ in copy.missing([f"s:{n}", "c:x"], now_s):
            copy.put(scope, reader.trending["c:x"])
    assert len(copy.scopes) == local_trending.SCOPES_AT_MOST
    assert "c:x" in copy.scopes
    assert "s:0" not in copy.scopes


async def test_the_background_task_renews_and_survives_redis_being_gone(
    reader: MemoryReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_trending, "RENEW_EVERY_S", 0.01)
    reader.gone = True
    copy = LocalTrending(reader)
    running = asyncio.create_task(copy.run())
    await asyncio.sleep(0.03)
    assert not copy.loaded
    reader.gone = False
    await eventually(lambda: copy.loaded, what="a renewal")
    running.cancel()
