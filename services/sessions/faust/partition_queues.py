"""Apply one partition's batches one after the other, partitions beside each other.

A batch mostly waits for Redis, and partitions share no position, so that one need not wait for
another. Users who come on two partitions are told apart by their guards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from services.sessions.faust.batches import Batch


class PartitionQueues:
    """A queue and a task for each partition."""

    def __init__(self, apply: Callable[[Batch], Awaitable[None]]) -> None:
        """apply: never raises."""
        self._apply = apply
        self._queues: dict[int, asyncio.Queue[Batch]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def put(self, batch: Batch) -> None:
        """Add a batch to its partition's queue, whose length is bounded by who fetches."""
        queue = self._queues.get(batch.partition)
        if queue is None:
            queue = self._queues[batch.partition] = asyncio.Queue()
            self._tasks.append(asyncio.create_task(self._run(queue)))
        queue.put_nowait(batch)

    async def _run(self, queue: asyncio.Queue[Batch]) -> None:
        while True:
            await self._apply(await queue.get())

    async def stop(self) -> None:
        """Cut off what is in hand, and forget what waits."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
