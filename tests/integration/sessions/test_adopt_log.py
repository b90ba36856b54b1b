"""States go on with another log, exactly once, by `freshet adopt-log`, which says it first."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from freshet.contract.topics import CLICKS
from shared.users import keys, positions
from shared.users.positions import Position
from shared.users.states import unpack, with_guard
from tests.proofs.sessions import harness
from tests.proofs.sessions.harness import Shopped
from tests.servers import ROOT, Service, delete_all_topics, eventually

pytestmark = pytest.mark.integration

ITEMS = 40
START_MS = 1_750_000_000_000
PARTITION = 1
POSITION = keys.position(CLICKS.name, PARTITION)
Start = Callable[..., Service]


@pytest.fixture
async def environ(kafka: str, valkey: str) -> dict[str, str]:
    """Return the environment of workers, whose items are published."""
    await harness.publish_items(kafka, ITEMS)
    return harness.environ(kafka, valkey)


def clicks(first: int, count: int) -> list[Shopped]:
    return [Shopped("ann", n % ITEMS, START_MS + 1000 * n) for n in range(first, first + count)]


async def freshet(environ: dict[str, str], *arguments: str) -> Any:
    """Run the command with --json and return what it prints."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "services.cli", *arguments, "--json"],
        env={**os.environ, **environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def everything(redis: Redis) -> dict[bytes, Any]:
    names: list[Any] = await redis.keys()
    return {name: await redis.dump(name) for name in names}


async def history(redis: Redis) -> list[int]:
    """Return the second of each event in the visitor's history, from the first on."""
    value: Any = await redis.get(keys.user("ann"))
    return [int(s) - START_MS // 1000 for s in unpack(value).history["seconds"]]


async def refused(worker: Service) -> str:
    """Wait for a worker's end and return what it said."""
    await eventually(lambda: worker.process.poll() is not None, what="the worker's end")
    assert worker.process.poll() == 1
    return worker.process.log_tail(20)


async def twenty_applied(
    kafka: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    """Let a worker apply 20 clicks and end."""
    await harness.publish(kafka, clicks(0, 20), partition=PARTITION)
    worker = await start_service("sessions", environ).ready()
    await harness.caught_up(kafka, redis)
    worker.stop()


async def another_kafka(kafka: str, redis: Redis) -> None:
    """Let nothing that was be there, so that offsets that states have seen are given anew."""
    await redis.set(keys.log_of(CLICKS.name), "another-cluster")
    await delete_all_topics(kafka)
    await harness.publish_items(kafka, ITEMS)


async def test_states_of_another_cluster_go_on_and_what_is_new_there_counts_once(
    kafka: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    await twenty_applied(kafka, environ, redis, start_service)
    await another_kafka(kafka, redis)
    await harness.publish(kafka, clicks(20, 10), partition=PARTITION)
    assert "freshet adopt-log" in await refused(start_service("sessions", environ))

    before = await everything(redis)
    said = await freshet(environ, "adopt-log")
    assert await everything(redis) == before
    (adopted,) = said["adopted"]
    assert said["noted_cluster"] == "another-cluster"
    assert (adopted["noted"], adopted["goes_on_at"], adopted["to_apply"]) == (19, 0, 10)
    assert (said["states"], said["applied"]) == (1, False)

    assert await freshet(environ, "adopt-log", "--apply") == {**said, "applied": True}
    assert 0 < await redis.ttl(keys.user("ann")) <= keys.USER_TTL_S
    worker = await start_service("sessions", environ).ready()
    await harness.caught_up(kafka, redis)
    assert await history(redis) == list(range(30))

    worker.stop()
    assert await freshet(environ, "adopt-log", "--apply") == {
        "noted_cluster": said["cluster"],
        "cluster": said["cluster"],
        "adopted": [],
        "kept": [PARTITION],
        "gone": [],
        "states": 0,
        "applied": False,
    }


async def test_states_of_a_copied_log_go_on_behind_what_stands_in_the_copy(
    kafka: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    await twenty_applied(kafka, environ, redis, start_service)
    await another_kafka(kafka, redis)
    await harness.publish(kafka, clicks(5, 15), partition=PARTITION)  # retention took the first

    said = await freshet(environ, "adopt-log", "--skip", "--apply")
    assert [(each["partition"], each["goes_on_at"]) for each in said["adopted"]] == [
        *((0, 0), (1, 15), (2, 0), (3, 0)),
    ]
    await harness.publish(kafka, clicks(20, 5), partition=PARTITION)
    await start_service("sessions", environ).ready()
    await harness.caught_up(kafka, redis)
    assert await history(redis) == list(range(25))


async def test_states_of_records_that_the_log_lost_go_on_with_what_was_written_since(
    kafka: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    await harness.publish(kafka, clicks(0, 10), partition=PARTITION)
    worker = await start_service("sessions", environ).ready()
    await harness.caught_up(kafka, redis)
    worker.stop()
    # As if three more had been applied, which the log lost when its broker did.
    value: Any = await redis.get(POSITION)
    last = positions.unpack(value)
    await redis.set(POSITION, Position(12, last.time_ms + 1, last.stamp).pack())
    state: Any = await redis.get(keys.user("ann"))
    await redis.set(keys.user("ann"), with_guard(state, lambda guard: {PARTITION: 12}))
    await harness.publish(kafka, clicks(10, 5), partition=PARTITION)
    said = await refused(start_service("sessions", environ))
    assert "at offset 12, where Redis notes" in said

    (adopted,) = (await freshet(environ, "adopt-log", "--apply"))["adopted"]
    assert (adopted["noted"], adopted["goes_on_at"], adopted["to_apply"]) == (12, 10, 5)
    await start_service("sessions", environ).ready()
    await harness.caught_up(kafka, redis)
    assert await history(redis) == list(range(15))
