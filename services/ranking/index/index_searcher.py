"""Search the index on the event loop while that is short, and in a thread when it is not.

A thread costs some 0.1 ms; a search that keeps the loop for over 2 ms costs every other call more.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.ranking.index.hits import Hits
from services.ranking.index.served import ServedIndex
from shared.runtime.deadline import Deadline

ON_LOOP_S: Final = 0.002
WORK: Final = "nearest"  # as deadline.Costs calls it


class IndexSearcher:
    """An index, searched where it disturbs least."""

    def __init__(self, index: ServedIndex, on_loop_s: float = ON_LOOP_S) -> None:
        self._index = index
        self._on_loop_s = on_loop_s

    async def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], deadline: Deadline
    ) -> Hits:
        """Search as ServedIndex.nearest promises, and note what it cost."""

        def search() -> tuple[Hits, float]:
            began_s = time.thread_time()
            return self._index.nearest(vectors, k, allowed), time.thread_time() - began_s

        if deadline.costs.of(WORK) <= self._on_loop_s:
            hits, took_s = search()
        else:
            hits, took_s = await deadline.waiting(asyncio.to_thread(search))
        deadline.costs.note(WORK, took_s)
        return hits
