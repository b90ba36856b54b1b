"""Exact search: every allowed row is scored. For small sets, narrow filters, and as the measure.

Legend: n rows; d numbers of the space; q queries; k hits; m rows looked at.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.ranking.index import Hits, hits
from services.ranking.stages.float16 import widened

BLOCK_ROWS: Final = 8_192  # scored, then the best of them kept, at a time
WIDE_ROWS: Final = 1_024  # converted to float32 at a time, to stay in the processor's cache


def search_rows(
    vectors: NDArray[Any], rows: NDArray[np.int64], queries: NDArray[np.float32], k: int
) -> Hits:
    """Return the k best of some rows for each query; vectors: (n, d), float16 or float32.

    About 0.06 µs a row at d = 64, most of it the conversion from float16.
    """
    found = hits.none(len(queries), k)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        scores = np.empty((len(queries), len(block)), np.float32)  # (q, m)
        for at in range(0, len(block), WIDE_ROWS):
            wide = widened(vectors.take(block[at : at + WIDE_ROWS], axis=0))
            scores[:, at : at + WIDE_ROWS] = (wide @ queries.T).T
        found = hits.merged(found, hits.best(scores, block, k), k)
    return found


def rows_under(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the rows that a mask allows; another thread may change it meanwhile.

    numpy counts them first and then notes them: a change in between would leave numbers that are
    no rows, so it gets a copy.
    """
    return np.flatnonzero(mask.copy())


class ExactIndex:
    """Scores every row; the vectors must not change. Also a Base, its labels the rows."""

    def __init__(self, vectors: NDArray[Any]) -> None:
        """vectors: (n, d), finite, float16 or float32."""
        self.vectors = vectors
        self.count, self.dim = vectors.shape

    def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """Search as Index.nearest promises."""
        queries, usable = hits.checked(vectors, self.dim, k)
        rows, scores = hits.none(len(queries), k)
        looked_at = np.arange(self.count) if allowed is None else rows_under(allowed)
        rows[usable], scores[usable] = search_rows(
            self.vectors, looked_at[looked_at < self.count], queries[usable], k
        )
        return rows, scores

    def fetch(self, vectors: NDArray[np.float32], k: int) -> Hits:
        """Return the k nearest labels."""
        return search_rows(self.vectors, np.arange(self.count), vectors, k)
