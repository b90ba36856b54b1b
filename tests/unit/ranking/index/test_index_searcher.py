from __future__ import annotations

import time

import numpy as np

from services.ranking.index.hits import Hits
from services.ranking.index.served import WORK, IndexSearcher, ServedIndex
from shared.runtime.deadline import Costs, Deadline


class SlowIndex(ServedIndex):
    """An index whose searches take a while, and which notes the threads that it is asked by."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def nearest(self, vectors: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Hits:
        """See ServedIndex.nearest."""
        end_s = time.thread_time() + self.seconds
        while time.thread_time() < end_s:
            pass
        return np.zeros((1, k), np.int64), np.zeros((1, k), np.float32)


async def test_searches_leave_the_loop_when_they_are_long_and_come_back() -> None:
    index, costs = SlowIndex(), Costs()
    searcher = IndexSearcher(index)

    async def search() -> float:
        deadline = Deadline(time.monotonic() + 9, time.monotonic, costs)
        await searcher.nearest(np.zeros((1, 2), np.float32), 3, np.ones(2, np.bool_), deadline)
        return deadline.waited_s

    assert await search() == 0  # on the loop: nothing was waited for
    index.seconds = 0.03
    await search()
    assert costs.of(WORK) > 0.002
    assert await search() > 0.02  # in a thread
    index.seconds = 0.0
    for _ in range(60):
        await search()
    assert await search() == 0
