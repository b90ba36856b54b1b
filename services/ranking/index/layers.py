"""Search a base with what changed since: fresh rows, and labels whose item is gone.

Legend: n rows; d numbers of the space; q queries; k hits.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from services.ranking.index import hits
from services.ranking.index.fresh import FreshSegment
from services.ranking.index.hits import Hits
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.columns import Column

# One core, d = 64: what decides between graph and exact search. Both grow alike with d.
EXACT_ROW_US: Final = 0.05  # gather and convert one row
EXACT_SCORE_US: Final = 0.006  # score it for one query
GRAPH_HIT_US: Final = 0.5  # one hit of one query
GRAPH_HITS_AT_LEAST: Final = 96  # what the graph looks at for one hit, too
MARGIN: Final = 1.3  # of hits fetched over those expected to be allowed


class Base(Protocol):
    """Vectors by label, 0 to count - 1, that never change."""

    count: int

    def fetch(self, vectors: NDArray[np.float32], k: int) -> Hits:
        """Return about the k nearest labels of each query, best first; fewer or none if it cannot.

        vectors: (q, d), each finite and not zero.
        """
        ...


class Indexed(Protocol):
    """Vectors by row of a catalogue, none of which changes while its row lives."""

    @property
    def dim(self) -> int: ...

    def vectors(self) -> NDArray[np.float16]:
        """Return all of them as they are now, (n, d)."""
        ...


class ContentVectors:
    """The vectors of the catalogue's space, which every item has."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.dim = catalogue.dim
        self._catalogue = catalogue

    def vectors(self) -> NDArray[np.float16]:
        """See Indexed.vectors."""
        return self._catalogue.vectors


class TowerVectors:
    """What the bundle's item tower gives; zero, and so near to nothing, where that is nothing."""

    def __init__(self, catalogue: Catalogue, dim: int) -> None:
        self.dim = dim
        self._catalogue = catalogue

    def vectors(self) -> NDArray[np.float16]:
        """See Indexed.vectors."""
        towers = self._catalogue.tower_vectors
        if towers is None or towers.shape[1] != self.dim:
            return np.zeros((len(self._catalogue), self.dim), np.float16)
        return towers


class Layers:
    """One base and its changes. The catalogue's thread changes it, any thread may search."""

    def __init__(
        self,
        catalogue: Catalogue,
        indexed: Indexed,
        base: Base | None = None,
        row_of: NDArray[np.int64] | None = None,
    ) -> None:
        """row_of: (base.count,) row whose present vector a label holds, -1 for none.

        Living rows that no label holds go to the fresh segment.
        """
        self.base = base
        self.fresh = FreshSegment(indexed.dim)
        self._catalogue = catalogue
        self._indexed = indexed
        self._row_of = np.empty(0, np.int64) if row_of is None else row_of
        self._label_of = Column(np.int32, fill=-1)
        alive = catalogue.alive
        self._label_of.reserve(len(alive))
        labels = np.flatnonzero(self._row_of >= 0)
        self._label_of.data[self._row_of[labels]] = labels
        self.held_by_base = len(labels)
        self._add(np.flatnonzero(alive & (self._label_of.data[: len(alive)] < 0)))

    def refresh(self, rows: NDArray[np.int64]) -> None:
        """Take in that these rows have died, or live with a new vector; again changes nothing."""
        self._label_of.reserve(len(self._catalogue))
        for row in rows.tolist():
            self.fresh.remove(row)
            label = int(self._label_of.data[row])
            if label >= 0:
                self._row_of[label] = self._label_of.data[row] = -1
                self.held_by_base -= 1
        self._add(rows[self._catalogue.alive[rows]])

    def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """Search as ServedIndex.nearest promises."""
        queries, usable = hits.checked(vectors, self._indexed.dim, k)
        mask = self._catalogue.alive
        if allowed is not None:
            reach = min(len(mask), len(allowed))
            mask = mask[:reach] & allowed[:reach]
        count = int(np.count_nonzero(mask))
        if count and usable.all():
            return self._search(queries, k, mask, count)
        rows, scores = hits.none(len(queries), k)
        if count and usable.any():
            rows[usable], scores[usable] = self._search(queries[usable], k, mask, count)
        return rows, scores

    def _search(
        self, queries: NDArray[np.float32], k: int, mask: NDArray[np.bool_], count: int
    ) -> Hits:
        """Search by the way that is estimated to be faster; count: rows that the mask allows."""
        to_fetch = self._hits_to_fetch(k, count)
        look_us = EXACT_ROW_US + len(queries) * EXACT_SCORE_US
        graph_us = (
            len(queries) * max(to_fetch, GRAPH_HITS_AT_LEAST) * GRAPH_HIT_US if to_fetch else 0
        )
        fresh_us = len(self.fresh) * len(queries) * EXACT_SCORE_US
        if count * look_us <= graph_us + fresh_us:
            return self._search_each(queries, k, mask)
        best = self.fresh.search(queries, k, mask)
        if self.base is None or not to_fetch:
            return best
        labels, near = self.base.fetch(queries, to_fetch)
        rows = self._row_of.take(labels)  # (q, fetched)
        # What was not fetched is not nearer than the last that was.
        frontier = near[:, -1].copy() if near.size else np.full(len(queries), np.inf, np.float32)
        near[~hits.within(mask, rows)] = -np.inf
        best = hits.merged((rows, near), best, k)
        unsure = best[1][:, min(k, count) - 1] < frontier
        if unsure.any():  # few of what is near is allowed: look at each that is
            best[0][unsure], best[1][unsure] = self._search_each(queries[unsure], k, mask)
        return best

    def _search_each(self, queries: NDArray[np.float32], k: int, mask: NDArray[np.bool_]) -> Hits:
        return hits.search_rows(self._indexed.vectors(), hits.rows_under(mask), queries, k)

    def _hits_to_fetch(self, k: int, count: int) -> int:
        """Return how many hits of the base make k allowed ones likely; 0 if it holds nothing."""
        if self.base is None or not self.held_by_base:
            return 0
        living = max(1, self._catalogue.living)
        share = min(1.0, count / living) * self.held_by_base / self.base.count
        return math.ceil(k * (MARGIN / share if share < 1 else 1.0))

    def _add(self, rows: NDArray[np.int64]) -> None:
        if len(rows):
            self.fresh.add(rows, self._indexed.vectors()[rows])
