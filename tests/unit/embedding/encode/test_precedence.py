"""Live before backfill."""

from __future__ import annotations

import asyncio

from services.embedding.encode.precedence import Precedence


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
