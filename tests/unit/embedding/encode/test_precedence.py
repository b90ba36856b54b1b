"""Live before backfill, and no more bytes than allowed."""

from __future__ import annotations

import asyncio

from services.embedding.encode.precedence import Precedence
from services.embedding.items.byte_limit import ByteLimit


async def test_backfill_waits_until_no_live_work_is_under_way() -> None:
    precedence = Precedence()
    with precedence.live():
        with precedence.live():
            turn = asyncio.create_task(precedence.backfill_turn())
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not turn.done()
    await asyncio.wait_for(turn, 1)


async def test_backfill_wakes_up_to_new_live_work_and_waits_on() -> None:
    precedence = Precedence()
    first = precedence.live()
    first.__enter__()
    turn = asyncio.create_task(precedence.backfill_turn())
    await asyncio.sleep(0)
    first.__exit__(None, None, None)
    with precedence.live():  # before the waiting task had its turn
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not turn.done()
    await asyncio.wait_for(turn, 1)


async def test_limit_lets_in_what_fits_and_holds_the_rest() -> None:
    limit = ByteLimit(10)
    await limit.acquire(6)
    more = asyncio.create_task(limit.acquire(5))
    await asyncio.sleep(0)
    assert not more.done()
    limit.release(6)
    await asyncio.wait_for(more, 1)
    assert limit.used_bytes == 5


async def test_what_is_larger_than_the_limit_goes_alone() -> None:
    limit = ByteLimit(10)
    await asyncio.wait_for(limit.acquire(50), 1)
    small = asyncio.create_task(limit.acquire(1))
    await asyncio.sleep(0)
    assert not small.done()
    limit.release(50)
    await asyncio.wait_for(small, 1)
