"""Nearest items to query vectors: one contract, several ways to keep it.

`Index.nearest` is what the pipeline calls; tests/unit/ranking_index holds one suite over all that
implement it. `Base` is the smaller promise of an immutable graph that `ServedIndex` stands on.

Legend: n rows; d numbers of the space; q queries; k hits.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Hits = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows (q, k), -1 where there are fewer hits, and inner products (q, k), -inf there; best first."""


class Index(Protocol):
    """Items by rows of the catalogue, searched by inner product."""

    def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """Return the k nearest living rows of each query; vectors: (q, d).

        allowed: (n,) rows that may be hits; rows beyond its end may not; None allows all. Where
        fewer than k are allowed all of them are hits. A query with NaN or infinity, or of (nearly)
        no length, has no hits. Raises ValueError for vectors of another shape and for k below 1.
        """
        ...


class Base(Protocol):
    """Vectors by label, 0 to count - 1, that never change."""

    count: int

    def fetch(self, vectors: NDArray[np.float32], k: int) -> Hits:
        """Return about the k nearest labels of each query, best first; fewer or none if it cannot.

        vectors: (q, d), each finite and not zero.
        """
        ...
