"""Readers at full speed while items arrive, change and go, and bases are swapped.

Two thirds of the items stay as they are all the while. Searching among those alone must always
give what it gives on a quiet index: exactly, where the base is exact, and with the graph's own
recall where it is a graph. Searching among all must never fail, and never return an item twice.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from services.ranking.index import layers
from services.ranking.index.layers import Base
from services.ranking.index.served import LoadedBase, ServedIndex
from shared.catalogue.catalogue import REUSE_AFTER_MS, Catalogue
from tests.unit.ranking.index.bases import ExactIndex, graph_of
from tests.unit.ranking.index.vectors import brute_force, catalogue_with, clustered, loaded, puts
from tests.unit.shared.catalogue.makers import delete

pytestmark = pytest.mark.proof

STEADY, CHANGING, K = 4_000, 2_000, 10
SECONDS = 5.0
SECONDS_AT_MOST = 40.0
READERS = 2
QUERIES = clustered(40, seed=21).astype(np.float32)
Makes = Callable[[NDArray[np.float16]], Base]


class Reader(threading.Thread):
    """Searches as fast as it can, and counts what it finds."""

    def __init__(self, served: ServedIndex, wanted: list[list[int]]) -> None:
        super().__init__(daemon=True)
        self.searches = self.hits = self.asked = 0
        self.failure: BaseException | None = None
        self.stop = threading.Event()
        self._served = served
        self._wanted = wanted
        self._steady = np.ones(STEADY, np.bool_)

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self._search()
        except BaseException as error:
            self.failure = error

    def _search(self) -> None:
        rows, scores = self._served.nearest(QUERIES, K)
        assert (np.diff(scores, axis=1) <= 0).all()
        for found in rows.tolist():
            assert len(set(found)) == K
        rows, _ = self._served.nearest(QUERIES, K, self._steady)
        for found, plain in zip(rows.tolist(), self._wanted, strict=True):
            self.hits += len(set(found) & set(plain))
            self.asked += K
        self.searches += 2


def changes_of_one_turn(catalogue: Catalogue, turn: int, now_ms: int) -> None:
    """Let some of the changing items come anew, go, and come back; their rows are used again."""
    rng = np.random.default_rng(turn)
    version = turn + 2
    chosen = rng.choice(CHANGING, 20, replace=False) + STEADY
    vectors = clustered(20, seed=1_000 + turn)
    moved = [
        change
        for n, vector in zip(chosen[:10].tolist(), vectors, strict=False)
        for change in puts(vector[None], first=n, version=version)
    ]
    gone = [delete(f"item-{n}", version) for n in chosen[10:].tolist()]
    catalogue.apply([*moved, *gone], now_ms=now_ms)


def building(catalogue: Catalogue, make: Makes, name: str) -> Callable[[], LoadedBase]:
    """Return what builds a base of the items of now, in the thread that calls it."""
    rows = np.flatnonzero(catalogue.alive)
    keys, vectors = catalogue.keys[rows], catalogue.vectors[rows]
    return lambda: LoadedBase(name, make(vectors), keys, vectors)


@pytest.mark.parametrize("always_layers", [False, True], ids=["estimated", "never row by row"])
@pytest.mark.parametrize("make", [ExactIndex, graph_of], ids=["exact base", "graph"])
async def test_swaps_and_changes_cost_readers_no_error_and_no_neighbour(
    make: Makes, always_layers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if always_layers:
        monkeypatch.setattr(layers, "EXACT_ROW_US", 1e9)
    catalogue = catalogue_with(puts(clustered(STEADY + CHANGING)))
    steady = np.ones(STEADY, np.bool_)
    wanted = [brute_force(catalogue, query, K, steady) for query in QUERIES]
    served = ServedIndex(catalogue, loaded(catalogue, make))
    quiet = served.nearest(QUERIES, K, steady)[0].tolist()
    of_its_own = sum(len(set(a) & set(b)) for a, b in zip(quiet, wanted, strict=True))
    readers = [Reader(served, wanted) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    swaps = turn = 0
    swapping: asyncio.Task[None] | None = None
    began = time.monotonic()
    while all(reader.failure is None for reader in readers):
        turn += 1
        changes_of_one_turn(catalogue, turn, turn * REUSE_AFTER_MS // 5)
        await asyncio.sleep(0.002)
        if swapping is None or swapping.done():
            if swapping is not None:
                await swapping
                swaps += 1
            took_s = time.monotonic() - began
            if (took_s > SECONDS and swaps >= 3) or took_s > SECONDS_AT_MOST:
                break
            swapping = asyncio.create_task(served.adopt(building(catalogue, make, f"base {turn}")))
    for reader in readers:
        reader.stop.set()
    for reader in readers:
        await asyncio.to_thread(reader.join, 20)
    assert [reader.failure for reader in readers] == [None] * READERS
    assert swaps >= 3
    assert turn >= 50
    assert len(catalogue) < STEADY + CHANGING + 20 * turn, "rows were used again meanwhile"
    hits, asked = sum(r.hits for r in readers), sum(r.asked for r in readers)
    assert asked >= 1_000
    if make is ExactIndex:
        assert hits == asked
    else:
        assert hits / asked >= of_its_own / (len(QUERIES) * K) - 0.01
