"""A Redis that is gone, hangs, drops connections, or comes back with less than it had."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from shared.runtime.redis_client import RedisSettings, connect
from tests.conftest import REDIS_PROGRAM
from tests.proofs.sessions import harness
from tests.proofs.sessions.test_kills import Start, assert_everything_counts_once
from tests.servers import Service, eventually
from tests.watched_redis import WatchedRedis

pytestmark = pytest.mark.proof


@pytest.mark.timeout(150)
async def test_a_redis_that_is_gone_for_twenty_seconds_costs_no_event(
    log: str, store: EmbeddedValkey, redis: Redis, worker: Start
) -> None:
    one = await worker().ready()
    async with harness.flowing(log, list(harness.shopping(9_000, users=200)), per_second=300):
        await asyncio.sleep(3)
        store.kill()
        await asyncio.sleep(20)
        assert one._get("live")[0] == 200  # a restart would not help
        store.start()
    await assert_everything_counts_once(log, redis)
    assert one.process.poll() is None


@pytest.mark.timeout(150)
async def test_replies_lost_while_redis_hangs_count_once(
    log: str, store: EmbeddedValkey, redis: Redis, worker: Start
) -> None:
    """It stands still with scripts in its input, and runs them after the worker has given up."""
    await worker(FRESHET_SESSIONS_REDIS_TIMEOUT_S="0.5").ready()
    async with harness.flowing(log, list(harness.shopping(9_000, users=200)), per_second=900):
        for _ in range(4):
            await asyncio.sleep(1)
            os.kill(store.pid, signal.SIGSTOP)
            await asyncio.sleep(1.2)
            os.kill(store.pid, signal.SIGCONT)
    await assert_everything_counts_once(log, redis)


@pytest.mark.timeout(150)
async def test_connections_cut_at_random_instants_count_once(
    log: str, redis: Redis, worker: Start
) -> None:
    await worker().ready()
    rng = random.Random(7)
    async with harness.flowing(log, list(harness.shopping(9_000, users=200)), per_second=900):
        for _ in range(100):
            await asyncio.sleep(rng.uniform(0, 0.1))
            await redis.client_kill_filter(_type="normal", skipme=True)
    await assert_everything_counts_once(log, redis)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("lost_s", [1, 8])
async def test_a_redis_that_comes_back_older_is_mended_from_the_log(
    log: str, start_service: Callable[..., Service], tmp_path: Path, lost_s: float
) -> None:
    """Without its last second of writes, and from an old dump; then both while nothing happens."""
    settings = {"appendonly": "no"}  # what is saved is what SAVE saves, and a crash loses the rest
    store = EmbeddedValkey(
        tmp_path / "forgetful", free_port(), program=REDIS_PROGRAM, settings=settings
    )
    store.start()
    one = await start_service("sessions", harness.environ(log, store.url)).ready()
    try:
        async with (
            Redis.from_url(store.url) as redis,
            harness.flowing(log, list(harness.shopping(9_000, users=200)), per_second=500),
        ):
            await asyncio.sleep(2)
            await redis.save()
            await asyncio.sleep(lost_s)
            store.kill()
            store.start()
        async with Redis.from_url(store.url) as redis:
            await assert_everything_counts_once(log, redis)
            store.kill()
            store.start()  # from the same old dump, with no event to tell
        async with Redis.from_url(store.url) as redis:
            await assert_everything_counts_once(log, redis)
        rewinds = one.status()["rewinds"]
        assert isinstance(rewinds, int)
        assert rewinds >= 2
    finally:
        one.kill()
        store.kill()


@pytest.mark.timeout(150)
async def test_a_primary_that_sentinel_replaces_costs_no_event(
    log: str, start_service: Callable[..., Service], tmp_path: Path
) -> None:
    """Its replica may lack the last writes, which are then made again from the log."""
    watched = WatchedRedis(tmp_path)
    try:
        await watched.start()
        one = await start_service("sessions", harness.environ(log, watched.url)).ready()
        async with harness.flowing(log, list(harness.shopping(6_000, users=200)), per_second=500):
            await asyncio.sleep(4)
            watched.servers[0].kill()
        async with connect(RedisSettings(watched.url)) as redis:

            async def replaced() -> bool:
                try:
                    return bool(await redis.ping())
                except RedisError:
                    return False

            await eventually(replaced, within_s=30, what="a new primary")
            await assert_everything_counts_once(log, redis)
        assert one.process.poll() is None
    finally:
        watched.kill()
