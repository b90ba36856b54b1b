"""No more bytes than allowed."""

from __future__ import annotations

import asyncio

from shared.runtime.byte_limit import ByteLimit


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
