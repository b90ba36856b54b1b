"""Redis is asked by tasks that end when they are cancelled."""

from __future__ import annotations

import asyncio
import random

import pytest

from shared.runtime import redis_client
from shared.runtime.redis_client import RedisSettings

pytestmark = pytest.mark.integration


async def test_whoever_asks_redis_all_the_time_ends_when_cancelled(valkey: str) -> None:
    client = redis_client.connect(RedisSettings(url=valkey))

    async def ask() -> None:
        while True:
            await client.get("anything")

    moments_s = random.Random(0)
    for _ in range(50):
        asking = asyncio.create_task(ask())
        await asyncio.sleep(moments_s.random() * 0.01)
        asking.cancel()
        done, _ = await asyncio.wait({asking}, timeout=5)
        assert done, "it goes on"
    assert await client.get("anything") is None
    await client.aclose()
