from __future__ import annotations

import logging
import time
from typing import Any

import grpc
import numpy as np
import pytest

from services.ranking.admission import Admission
from services.ranking.budget import Budget, Costs
from services.ranking.calls import Calls
from services.ranking.engine import Engine
from services.ranking.index import Hits
from services.ranking.index.index_searcher import WORK, Searcher
from services.ranking.live.trend_rows import TrendRows
from services.ranking.stages.features import NO_TREND
from services.ranking.stages.signals import NONE
from tests.unit.ranking.shop import NOW_MS, Shop, item_vector, near, weighted
from tests.unit.ranking.test_server import ENGINE


class Aborted(Exception):
    """What a call is ended by."""


class Context:
    """The part of a servicer's context that is used."""

    def __init__(self, left_s: float | None = None) -> None:
        self._left_s = left_s
        self.ended: tuple[grpc.StatusCode, str] | None = None
        self.trailing: Any = ()

    def time_remaining(self) -> float | None:
        return self._left_s

    def set_trailing_metadata(self, metadata: Any) -> None:
        self.trailing = metadata

    async def abort(self, code: grpc.StatusCode, text: str) -> None:
        self.ended = (code, text)
        raise Aborted


def calls() -> Calls:
    made = Calls(Admission(4, time.monotonic))
    made.engine = ENGINE
    return made


async def test_a_fault_is_internal_says_nothing_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(request: object, engine: Engine, spent: Budget) -> None:
        raise ZeroDivisionError("secret of user ann")

    context: Any = Context()
    with caplog.at_level(logging.ERROR), pytest.raises(Aborted):
        await calls().answer("Recommend", None, context, fail, 1.0)
    assert context.ended == (
        grpc.StatusCode.INTERNAL,
        "a fault of the service; its log says more",
    )
    assert "Recommend failed" in caplog.text


async def test_the_callers_deadline_is_the_budget_and_the_default_where_there_is_none() -> None:
    left: list[float] = []

    async def note(request: object, engine: Engine, spent: Budget) -> str:
        left.append(spent.left_s())
        return "done"

    callers: Any = Context(left_s=3.0)
    nobodys: Any = Context()
    assert await calls().answer("Recommend", None, callers, note, 0.05) == "done"
    assert await calls().answer("Recommend", None, nobodys, note, 0.05) == "done"
    assert 2.5 < left[0] < 3.0
    assert left[1] < 0.05


class SlowIndex:
    """An Index whose searches take a while, and which notes the threads that it is asked by."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def nearest(self, vectors: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Hits:
        """See Index.nearest."""
        end_s = time.thread_time() + self.seconds
        while time.thread_time() < end_s:
            pass
        return np.zeros((1, k), np.int64), np.zeros((1, k), np.float32)


async def test_searches_leave_the_loop_when_they_are_long_and_come_back() -> None:
    index, costs = SlowIndex(), Costs()
    searcher = Searcher(index)

    async def search() -> float:
        spent = Budget(time.monotonic() + 9, time.monotonic, costs)
        await searcher.nearest(np.zeros((1, 2), np.float32), 3, np.ones(2, np.bool_), spent)
        return spent.waited_s

    assert await search() == 0  # on the loop: nothing was waited for
    index.seconds = 0.03
    await search()
    assert costs.of(WORK) > 0.002
    assert await search() > 0.02  # in a thread
    index.seconds = 0.0
    for _ in range(60):
        await search()
    assert await search() == 0


def test_a_scope_is_looked_up_again_when_it_or_the_rows_change() -> None:
    shop = Shop(each=3)
    trends = TrendRows(shop.catalogue)
    scopes = {"all": weighted({"lamp-1": 2.0, "later": 1.0}, 1.0), "empty": NONE}
    first = trends.of(scopes)("all")
    assert [shop.catalogue.ids[row] for row in first.rows] == ["lamp-1"]
    assert trends.of(scopes)("all") is first
    shop.put([item_vector("later", near(0, 1), arrived_ms=NOW_MS)])
    assert [shop.catalogue.ids[row] for row in trends.of(scopes)("all").strongest] == [
        "lamp-1",
        "later",
    ]
    scopes["all"] = weighted({"rug-1": 1.0}, 1.0)
    assert [shop.catalogue.ids[row] for row in trends.of(scopes)("all").rows] == ["rug-1"]
    assert trends.of(scopes)("empty") is NO_TREND
    assert trends.of(scopes)("none") is NO_TREND
