"""Who may download now: places by host and lane, and hosts that are left alone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from services.embedding.pictures.fetch_errors import Unreachable
from services.embedding.pictures.hosts import (
    FAILURES_AT_MOST,
    HOST_PLACES,
    LANE_PLACES,
    PAUSE_S,
    REMEMBERED,
    Hosts,
    Lane,
)


async def taken(hosts: Hosts, host: str, lane: Lane, count: int) -> AsyncExitStack:
    """Hold that many places, all of which are free."""
    held = AsyncExitStack()
    for _ in range(count):
        await asyncio.wait_for(held.enter_async_context(hosts.place(host, lane)), 5)
    return held


async def has_to_wait(hosts: Hosts, host: str, lane: Lane) -> bool:
    """Say whether one more has to."""
    waiting = asyncio.create_task(taken(hosts, host, lane, 1))
    for _ in range(5):
        await asyncio.sleep(0)
    if waiting.done():
        await waiting.result().aclose()
        return False
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return True


async def test_live_and_backfill_have_places_of_their_own() -> None:
    hosts = Hosts()
    async with await taken(hosts, "cdn", Lane.BACKFILL, HOST_PLACES):
        assert await has_to_wait(hosts, "cdn", Lane.BACKFILL)
        assert not await has_to_wait(hosts, "cdn", Lane.LIVE)


async def test_who_waits_for_one_host_takes_no_place_of_another() -> None:
    hosts = Hosts()
    async with await taken(hosts, "slow", Lane.LIVE, HOST_PLACES):
        waiting = [asyncio.create_task(taken(hosts, "slow", Lane.LIVE, 1)) for _ in range(50)]
        assert not await has_to_wait(hosts, "fast", Lane.LIVE)
    for held in await asyncio.gather(*waiting[:1]):
        await held.aclose()
    for task in waiting[1:]:
        task.cancel()


async def test_places_are_bounded_over_all_hosts() -> None:
    hosts = Hosts()
    async with AsyncExitStack() as stack:
        for number in range(LANE_PLACES // HOST_PLACES):
            held = await taken(hosts, f"host-{number}", Lane.LIVE, HOST_PLACES)
            stack.push_async_callback(held.aclose)
        assert await has_to_wait(hosts, "another", Lane.LIVE)
    assert not await has_to_wait(hosts, "another", Lane.LIVE)


def test_a_failing_host_is_asked_once_a_pause_until_it_answers() -> None:
    now_s = 0.0
    hosts = Hosts(lambda: now_s)
    for _ in range(FAILURES_AT_MOST):
        hosts.check("dead")
        hosts.failed("dead")
    with pytest.raises(Unreachable, match="dead did not answer lately"):
        hosts.check("dead")
    hosts.check("other")
    now_s = PAUSE_S
    hosts.check("dead")
    with pytest.raises(Unreachable):
        hosts.check("dead")
    hosts.answered("dead")
    hosts.check("dead")


def test_failing_hosts_are_remembered_within_bounds() -> None:
    hosts = Hosts(lambda: 0.0)
    for number in range(2 * REMEMBERED):
        hosts.failed(f"host-{number}")
    assert len(hosts._failing) == REMEMBERED
