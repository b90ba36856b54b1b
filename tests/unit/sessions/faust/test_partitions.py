"""The minding of partitions ends when it is told to, whatever happens just then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.sessions.effect.double import MemoryStore
from services.sessions.faust.partitions import Partitions, WorkerProgress
from tests.unit.sessions.kit import TOPIC, writer


class NothingAssigned:
    """A consumer, and the log, of a worker that has no partition."""

    def waiting(self) -> set[Any]:
        return set()

    assignment = waiting

    async def reached(self, _: Any) -> dict[Any, int]:
        return {}

    async def bounds(self, _: Any) -> dict[int, Any]:
        return {}


async def test_a_partition_that_comes_just_then_keeps_no_minding_alive() -> None:
    store, nothing = MemoryStore(TOPIC), NothingAssigned()
    progress = WorkerProgress(60, lambda: 0)
    partitions = Partitions(
        TOPIC,
        "cluster",
        store,
        writer(store),
        nothing,  # type: ignore[arg-type]
        progress,
        lambda: nothing,  # type: ignore[arg-type, return-value]
    )
    reading = asyncio.Event()
    partitions.on_reading = reading.set
    minding = asyncio.create_task(partitions.run())
    await reading.wait()
    for _ in range(10):  # until it waits
        await asyncio.sleep(0)

    partitions.wake()
    minding.cancel()

    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await asyncio.shield(minding)
