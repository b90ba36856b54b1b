"""Collect single pictures and texts into batches, because the models run on batches.

Two sessions that run at once doubled p99 on two cores at equal throughput, so one thread runs both
models.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Floats
from shared.bundles.picture import SIDE
from shared.faults import SystemFault
from shared.runtime import metrics

_Job = tuple[int, int, Any, "asyncio.Future[Floats]"]  # (priority, order of arrival, input, result)

MAX_WAIT_S = 0.010
_TEXT_COST = 64  # characters: what even an empty text costs, so that a batch has at most 16


class Priority(IntEnum):
    """Who goes first when more wait than one batch holds."""

    QUERY = 0  # somebody waits for a search
    LIVE = 1
    BACKFILL = 2


class Batcher:
    """Collects single pictures and texts into batches. Use it with `async with`.

    A batch starts when the encoders are free and either it is full or its first member has waited
    `max_wait_s`. Larger batches are no faster on CPUs, so `max_pictures` and `max_characters` are
    small: they bound how long a query stands behind a batch that already runs (about 20 ms).
    """

    def __init__(
        self,
        encoders: Encoders,
        *,
        max_wait_s: float = 0.002,
        max_pictures: int = 4,
        max_characters: int = 1024,
    ) -> None:
        if not 0 <= max_wait_s <= MAX_WAIT_S:
            raise ValueError(f"max_wait_s must be between 0 and {MAX_WAIT_S}, was {max_wait_s}")
        self._encoders = encoders
        self._max_wait_s = max_wait_s
        self._pictures = _Queue(max_pictures, lambda _: 1)
        self._texts = _Queue(max_characters, lambda text: _TEXT_COST + len(text))
        self._order = itertools.count()
        self._arrived = asyncio.Event()
        self._full = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="encoders")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="batcher")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop: a batch that runs is finished, callers who still wait get CancelledError."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._pictures.cancel()
        self._texts.cancel()
        await asyncio.to_thread(self._thread.shutdown)

    async def encode_image(
        self, picture: NDArray[np.uint8], priority: Priority = Priority.LIVE
    ) -> Floats:
        """Encode one (224, 224, 3) uint8 picture → (F,). Raises ValueError."""
        # Checked here, because there it would fail the whole batch.
        if picture.shape != (SIDE, SIDE, 3) or picture.dtype != np.uint8:
            raise ValueError(
                f"picture must be uint8 ({SIDE}, {SIDE}, 3), was {picture.dtype} {picture.shape}"
            )
        return await self._submit(self._pictures, picture, priority)

    async def encode_text(self, text: str, priority: Priority = Priority.LIVE) -> Floats:
        """Encode one text → (E,). Raises what the encoders raise."""
        return await self._submit(self._texts, text, priority)

    @property
    def waiting(self) -> int:
        """Count those that wait for their batch."""
        return len(self._pictures.jobs) + len(self._texts.jobs)

    def _submit(self, queue: _Queue, value: Any, priority: Priority) -> Awaitable[Floats]:
        result: asyncio.Future[Floats] = asyncio.get_running_loop().create_future()
        queue.put((int(priority), next(self._order), value, result))
        self._arrived.set()
        if queue.is_full:
            self._full.set()
        return result

    async def _run(self) -> None:
        while True:
            if not self.waiting:  # else: who came while the last batch ran has waited enough
                self._arrived.clear()
                self._full.clear()
                await self._arrived.wait()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._max_wait_s)
            # Texts first: one takes a millisecond, and a search is a text.
            await self._encode("text", self._texts.take(), self._encoders.encode_texts)
            await self._encode("image", self._pictures.take(), self._stack_and_encode)

    def _stack_and_encode(self, pictures: list[NDArray[np.uint8]]) -> Floats:
        return self._encoders.encode_images(np.stack(pictures))

    async def _encode(
        self, model: str, jobs: list[_Job], encode: Callable[[list[Any]], Floats]
    ) -> None:
        if not jobs:
            return
        metrics.ENCODE_BATCH.labels(model).observe(len(jobs))
        try:
            outcomes = await self._outcomes([value for _, _, value, _ in jobs], encode)
        except asyncio.CancelledError:
            for *_, result in jobs:
                result.cancel()
            raise
        for outcome, (*_, result) in zip(outcomes, jobs, strict=True):
            if result.done():  # its caller went away
                continue
            if isinstance(outcome, Exception):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)

    async def _outcomes(
        self, inputs: list[Any], encode: Callable[[list[Any]], Floats]
    ) -> list[Floats | Exception]:
        """Encode a batch; if it fails, each input alone, so that none fails with another's."""
        try:
            loop = asyncio.get_running_loop()
            return list(await loop.run_in_executor(self._thread, encode, inputs))
        except Exception as error:
            if len(inputs) == 1 or isinstance(error, SystemFault):
                return [error] * len(inputs)
            alone = [await self._outcomes([one], encode) for one in inputs]
            return [outcome for (outcome,) in alone]


class _Queue:
    """Jobs of one kind, the first priority and then the earliest first."""

    def __init__(self, batch_cost: int, cost: Callable[[Any], int]) -> None:
        self.jobs: list[_Job] = []
        self._batch_cost = batch_cost  # at most, of the jobs that run together
        self._cost = cost
        self._waiting_cost = 0

    @property
    def is_full(self) -> bool:
        return self._waiting_cost >= self._batch_cost

    def put(self, job: _Job) -> None:
        heapq.heappush(self.jobs, job)
        self._waiting_cost += self._cost(job[2])

    def take(self) -> list[_Job]:
        """Remove a batch of jobs whose callers still wait: within its cost, but at least one."""
        batch: list[_Job] = []
        left = self._batch_cost
        while self.jobs and (not batch or self._cost(self.jobs[0][2]) <= left):
            job = heapq.heappop(self.jobs)
            cost = self._cost(job[2])
            self._waiting_cost -= cost
            if not job[3].done():
                batch.append(job)
                left -= cost
        return batch

    def cancel(self) -> None:
        for *_, result in self.jobs:
            result.cancel()
        self.jobs.clear()
