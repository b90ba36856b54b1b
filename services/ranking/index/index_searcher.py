"""Searches of the index, on the event loop while they are short and in a thread when they are not.

A thread costs some 0.1 ms; a search that keeps the loop for over 2 ms costs every other call more.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.ranking.budget import Budget
from services.ranking.index import Hits, Index

ON_LOOP_S: Final = 0.002
WORK: Final = "nearest"  # as budget.Costs calls it


class Searcher:
    """An index, searched where it disturbs least."""

    def __init__(self, index: Index, on_loop_s: float = ON_LOOP_S) -> None:
        self._index = index
        self._on_loop_s = on_loop_s

    async def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], spent: Budget
    ) -> Hits:
        """Search as Index.nearest promises, and note what it cost."""

        def search() -> tuple[Hits, float]:
            began_s = time.thread_time()
            return self._index.nearest(vectors, k, allowed), time.thread_time() - began_s

        if spent.costs.of(WORK) <= self._on_loop_s:
            found, took_s = search()
        else:
            found, took_s = await spent.waiting(asyncio.to_thread(search))
        spent.costs.note(WORK, took_s)
        return found
