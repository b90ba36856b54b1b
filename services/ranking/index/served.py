"""Find the nearest items of a living catalogue, in layers that are swapped for a new base.

Legend: n rows; d numbers of the space; q queries; k hits; b labels of a base.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshet.errors import Overloaded
from services.ranking.index.hits import Hits
from services.ranking.index.layers import Base, ContentVectors, Indexed, Layers
from shared.catalogue.catalogue import Applied, Catalogue
from shared.runtime.deadline import Cost, Costs, Deadline

ON_LOOP_S: Final = 0.002  # a thread costs 0.1 ms; holding the loop longer costs other calls more
BESIDE_AT_MOST: Final = 64  # searches in threads, also those that nobody waits for any more
RETRY_AFTER_S: Final = 0.1
_BLOCK_ROWS: Final = 16_384  # compared at a time, so that Python's lock is never held for long


class LoadedBase(NamedTuple):
    """A base and the items that its labels stood for when it was built."""

    name: str  # of the snapshot
    base: Base
    keys: NDArray[np.uint64]  # (b,)
    vectors: NDArray[Any]  # (b, d) float16, as they were indexed


class ServedIndex:
    """Items by rows of the catalogue, searched by inner product, from their arrival on.

    Without a base everything is in the fresh segment, which is exact and fast enough for some
    20,000 items. A base is matched beside the readers and swapped by reference: a reader has the
    old layers or the new ones, and finds the same items in both.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        base: LoadedBase | None = None,
        indexed: Indexed | None = None,
    ) -> None:
        """base: to begin with; indexed: what is searched, None: the vectors of the space.

        Raises ValueError if the base is not of this catalogue's kind.
        """
        self.name = base.name if base else ""  # of the base; empty: none
        self.indexed = indexed or ContentVectors(catalogue)
        self._catalogue = catalogue
        self._layers = self._match(base) if base else Layers(catalogue, self.indexed)
        self._touched: set[int] | None = None  # rows that changed while a base is matched
        catalogue.listen(self._on_change)

    def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """Return the k nearest living rows of each query; vectors: (q, d).

        allowed: (n,) rows that may be hits; rows beyond its end may not; None allows all. Where
        fewer than k are allowed all of them are hits. A query with NaN or infinity, or of (nearly)
        no length, has no hits. Raises ValueError for vectors of another shape and for k below 1.
        """
        return self._layers.nearest(vectors, k, allowed)

    async def adopt(self, load: Callable[[], LoadedBase]) -> None:
        """Load a base in a thread, match it with the catalogue and serve from it.

        Raises what `load` raises, and ValueError for a base that is not of this catalogue's kind;
        then all stays as it is. One call at a time.
        """
        if self._touched is not None:
            raise RuntimeError("a base is being adopted already")
        self._touched = set()
        try:
            loaded, layers = await asyncio.to_thread(self._beside, load)
            # No await between here and the swap, so that no change falls between them.
            layers.refresh(np.array(sorted(self._touched), np.int64))
            self._layers, self.name = layers, loaded.name
        finally:
            self._touched = None

    def sizes(self) -> dict[str, int]:
        """Return how many living items are held by the base and by the fresh segment."""
        return {"base": self._layers.held_by_base, "fresh": len(self._layers.fresh)}

    def _on_change(self, applied: Applied) -> None:
        moved = applied.added + applied.died
        if moved:
            self._layers.refresh(np.array(sorted(set(moved)), np.int64))
            if self._touched is not None:
                self._touched.update(moved)

    def _beside(self, load: Callable[[], LoadedBase]) -> tuple[LoadedBase, Layers]:
        loaded = load()
        return loaded, self._match(loaded)

    def _match(self, loaded: LoadedBase) -> Layers:
        shape = (loaded.base.count, self.indexed.dim)
        if loaded.vectors.shape != shape or len(loaded.keys) != len(loaded.vectors):
            raise ValueError(
                f"base {loaded.name} must have vectors {shape}, has {loaded.vectors.shape}"
            )
        rows = rows_of(loaded, self._catalogue, self.indexed)
        return Layers(self._catalogue, self.indexed, loaded.base, rows)


class IndexSearcher:
    """Searches an index on the event loop while that is short, and in a thread when it is not."""

    def __init__(
        self,
        index: ServedIndex,
        on_loop_s: float = ON_LOOP_S,
        costs: Costs | None = None,
        worked_s: Callable[[], float] = time.thread_time,
    ) -> None:
        """worked_s: what the calling thread has worked, in seconds."""
        self._index = index
        self._on_loop_s = on_loop_s
        self._costs = costs or Costs()
        self._worked_s = worked_s
        self._base = index.name  # that the costs are of
        self._running: set[asyncio.Task[Hits]] = set()

    def cost_of(self, work: str) -> Cost:
        """Return what a kind of search costs with the present base."""
        if self._base != self._index.name:
            self._base = self._index.name
            self._costs.clear()
        return self._costs.of(work)

    async def nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.bool_],
        deadline: Deadline,
        *,
        work: str,
        within_s: float | None = None,
    ) -> Hits:
        """Search as ServedIndex.nearest promises, and note what it cost.

        work: the kind of search. Raises TimeoutError where it takes longer than within_s; then it
        goes on alone, so that its cost is known. Raises Overloaded where too many are under way.
        """
        cost = self.cost_of(work)

        def search() -> tuple[Hits, float]:
            began_s = self._worked_s()
            return self._index.nearest(vectors, k, allowed), self._worked_s() - began_s

        async def search_beside() -> Hits:
            hits, took_s = await asyncio.to_thread(search)
            cost.note(took_s)
            return hits

        if cost.known and cost.recent_s <= self._on_loop_s:
            hits, took_s = search()
            cost.note(took_s)
            return hits
        if len(self._running) >= BESIDE_AT_MOST:
            raise Overloaded(f"{len(self._running)} searches are under way", RETRY_AFTER_S)
        running = asyncio.create_task(search_beside())
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        async with asyncio.timeout(within_s):
            return await deadline.waiting(asyncio.shield(running))


def rows_of(loaded: LoadedBase, catalogue: Catalogue, indexed: Indexed) -> NDArray[np.int64]:
    """Return the row of each label, (b,): -1 where the item is gone or has another vector now.

    May run beside changes: rows that change meanwhile are refreshed before the result is used.
    """
    rows = catalogue.rows(loaded.keys)
    vectors = indexed.vectors()
    if not len(vectors):
        return np.full_like(rows, -1)
    rows[rows >= len(vectors)] = -1  # came after the line above
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
        present = vectors.take(block, axis=0, mode="clip")
        same = (present == loaded.vectors[start : start + _BLOCK_ROWS]).all(axis=1)
        block[~same] = -1
    return rows
