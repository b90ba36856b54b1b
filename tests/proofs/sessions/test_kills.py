"""Workers that are killed, stopped and cut off: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.cli.up.process import Guarded
from services.cli.up.valkey import EmbeddedValkey
from tests.proofs.sessions import harness
from tests.servers import ROOT, Service, eventually

pytestmark = pytest.mark.proof

Start = Callable[..., Service]


def partitions_of(worker: Service) -> int:
    """Count the partitions that a worker reads."""
    shown = worker.status().get("partitions", {})
    assert isinstance(shown, dict)
    return len(shown)


async def assert_everything_counts_once(log: str, redis: Redis, within_s: float = 60.0) -> None:
    await harness.caught_up(log, redis, within_s=within_s)
    harness.assert_same(await harness.content_of(redis), await harness.plain_fold(log))


@pytest.mark.timeout(300)
async def test_twenty_kills_while_twenty_thousand_events_flow(
    log: str, redis: Redis, worker: Start
) -> None:
    """SIGKILL at random instants, of two workers that keep their names over a restart."""
    rng = random.Random(20)
    names = ("a", "b")
    workers = {name: worker(FRESHET_INSTANCE_ID=name) for name in names}
    async with harness.flowing(log, list(harness.shopping(20_000, users=400)), per_second=300):
        for kill in range(20):
            name = names[kill % 2]
            await workers[name].ready()
            await asyncio.sleep(rng.uniform(0, 0.6))
            workers[name].kill()
            workers[name] = worker(FRESHET_INSTANCE_ID=name)
    await assert_everything_counts_once(log, redis)


@pytest.mark.timeout(180)
async def test_a_worker_that_stood_still_past_its_session_changes_nothing_twice(
    log: str, store: EmbeddedValkey, redis: Redis, worker: Start
) -> None:
    """It lost its partitions in the middle of a batch, and goes on with what it has in hand.

    Redis stands still while the worker writes, so that it is stopped with slices of its batch not
    written yet; all its users are in its memory, so that it reads nothing before it writes on.
    """
    timing = {
        "FRESHET_SESSIONS_SESSION_TIMEOUT_S": "6",
        "FRESHET_SESSIONS_HEARTBEAT_S": "1",
        "FRESHET_SESSIONS_REDIS_TIMEOUT_S": "60",  # it never gives up what it waits for
        "FRESHET_SESSIONS_ATTEMPT_TIMEOUT_S": "600",
        "FRESHET_SESSIONS_SLICE_EVENTS": "20",
    }
    one, two = worker(**timing), worker(**timing)
    await asyncio.gather(one.ready(), two.ready())
    await eventually(lambda: partitions_of(one) == partitions_of(two) == 2, what="two each")
    await harness.publish(log, harness.shopping(2_000, users=200))
    await harness.caught_up(log, redis)

    os.kill(store.pid, signal.SIGSTOP)
    await harness.publish(log, harness.shopping(4_000, users=200, seed=2))
    await asyncio.sleep(1)
    one.pause()
    os.kill(store.pid, signal.SIGCONT)
    await eventually(lambda: partitions_of(two) == 4, within_s=40, what="the other taking over")
    await harness.publish(log, harness.shopping(1_000, users=200, seed=3))
    await harness.caught_up(log, redis)
    one.resume()
    await eventually(lambda: partitions_of(one) == 2, within_s=40, what="its coming back")
    await harness.publish(log, harness.shopping(1_000, users=200, seed=4))
    await assert_everything_counts_once(log, redis)
    assert "freshet_writes_refused_total 0.0" not in one._get("metrics")[1].decode()


async def test_sigterm_ends_a_worker_whose_redis_hangs(
    log: str, store: EmbeddedValkey, redis: Redis, worker: Start
) -> None:
    one = await worker(FRESHET_SESSIONS_REDIS_TIMEOUT_S="60").ready()
    os.kill(store.pid, signal.SIGSTOP)
    await harness.publish(log, harness.shopping(500, users=40))
    await asyncio.sleep(1)  # it waits for a reply now
    started = time.monotonic()
    code = await asyncio.to_thread(one.stop)
    assert time.monotonic() - started < 15
    assert code == 0
    os.kill(store.pid, signal.SIGCONT)
    await worker().ready()
    await assert_everything_counts_once(log, redis)


async def test_sigterm_ends_a_worker_whose_fold_never_returns(
    log: str, store: EmbeddedValkey, redis: Redis, worker: Start, tmp_path: Path
) -> None:
    """The loop itself is busy for ever: no task can be cancelled, no handler of the loop runs."""
    program = (
        "import runpy\nimport services.sessions.effect.writer as writer\n"
        "def hang(*_):\n    while True: pass\n"
        "writer.fold_many = hang\n"
        "runpy.run_module('services.sessions', run_name='__main__')"
    )
    environ = {
        **os.environ,
        **harness.environ(log, store.url),
        "FRESHET_SESSIONS_HEALTH_PORT": "0",
        "PYTHONPATH": str(ROOT),
    }
    hung = Guarded([sys.executable, "-c", program], tmp_path / "hung.log", environ=environ)
    await harness.publish(log, harness.shopping(500, users=40))
    await eventually(lambda: redis.exists(b"log:clicks"), what="its start")
    await asyncio.sleep(1.5)  # the next batch is in its hands
    started = time.monotonic()
    code = await asyncio.to_thread(hung.stop)
    assert time.monotonic() - started < 15
    assert code == 1
    assert "in hang" in hung.log.read_text()  # it says where it stood
    await worker().ready()
    await assert_everything_counts_once(log, redis)
