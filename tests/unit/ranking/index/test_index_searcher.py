from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from freshet.errors import Overloaded
from services.ranking.index.hits import Hits
from services.ranking.index.served import BESIDE_AT_MOST, IndexSearcher, ServedIndex
from shared.runtime.deadline import COLD, Costs, Deadline
from tests.servers import eventually

WORK = "nearest"


class SlowIndex(ServedIndex):
    """An index whose searches take a while on a clock of its own, or until they are let go."""

    def __init__(self) -> None:
        self.name = ""
        self.seconds = 0.0
        self.worked_s = 0.0
        self.threads: list[int] = []
        self.free = threading.Event()
        self.free.set()

    def nearest(self, vectors: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Hits:
        """See ServedIndex.nearest."""
        self.threads.append(threading.get_ident())
        self.free.wait(10)
        self.worked_s += self.seconds
        return np.zeros((1, k), np.int64), np.zeros((1, k), np.float32)


@pytest.fixture
def index() -> SlowIndex:
    return SlowIndex()


@pytest.fixture
def searcher(index: SlowIndex) -> IndexSearcher:
    return IndexSearcher(index, worked_s=lambda: index.worked_s)


async def search(searcher: IndexSearcher, within_s: float | None = None) -> None:
    deadline = Deadline(time.monotonic() + 9, time.monotonic, Costs())
    query, allowed = np.zeros((1, 2), np.float32), np.ones(2, np.bool_)
    await searcher.nearest(query, 3, allowed, deadline, work=WORK, within_s=within_s)


async def test_searches_leave_the_loop_while_they_are_long_or_unknown(
    index: SlowIndex, searcher: IndexSearcher
) -> None:
    here = threading.get_ident()
    for _ in range(COLD):
        await search(searcher)
    assert here not in index.threads
    await search(searcher)
    assert index.threads[-1] == here
    index.seconds = 0.03
    await search(searcher)
    assert searcher.cost_of(WORK).recent_s > 0.002
    await search(searcher)
    assert index.threads[-1] != here
    index.seconds = 0.0
    for _ in range(60):
        await search(searcher)
    assert index.threads[-1] == here


async def test_a_search_that_takes_too_long_is_given_up_but_measured(
    index: SlowIndex, searcher: IndexSearcher
) -> None:
    index.seconds = 7.0
    index.free.clear()
    with pytest.raises(TimeoutError):
        await search(searcher, within_s=0.01)
    assert searcher.cost_of(WORK).recent_s == 0
    index.free.set()
    await eventually(lambda: searcher.cost_of(WORK).recent_s == 7.0)


async def test_searches_that_nobody_waits_for_are_bounded(
    index: SlowIndex, searcher: IndexSearcher
) -> None:
    index.free.clear()
    for _ in range(BESIDE_AT_MOST):
        with pytest.raises(TimeoutError):
            await search(searcher, within_s=0)
    with pytest.raises(Overloaded, match="64 searches are under way"):
        await search(searcher)
    index.free.set()
    await eventually(lambda: not searcher._running)
    await search(searcher)


async def test_a_new_base_is_measured_anew(index: SlowIndex, searcher: IndexSearcher) -> None:
    index.seconds = 0.034
    for _ in range(COLD):
        await search(searcher)
    assert not searcher.cost_of(WORK).fits(0.03)
    index.name = "snapshot-2"
    assert searcher.cost_of(WORK).fits(0.03)
