"""What every index does alike: check queries, pick the best, put hits together.

Legend: q queries; d numbers of the space; k hits; m scored rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.ranking.index import Hits

SHORTEST: Final = 1e-6  # a query below this length points nowhere


def checked(
    vectors: NDArray[np.float32], dim: int, k: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return queries as (q, d) float32, and which of them can be searched for.

    Raises ValueError naming what was asked.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ValueError(f"vectors must be (queries, {dim}), were {vectors.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, was {k}")
    queries = np.ascontiguousarray(vectors, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        squared = np.einsum("qd,qd->q", queries, queries)
        return queries, np.isfinite(squared) & (squared > SHORTEST**2)


def none(queries: int, k: int) -> Hits:
    """Return hits that are all empty."""
    return np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32)


def best(scores: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> Hits:
    """Return the k best of scored rows; scores: (q, m), rows: (m,) or (q, m). Pads to k."""
    queries, scored = scores.shape
    if scored > k:
        part = np.argpartition(scores, scored - k, axis=1)[:, scored - k :]
        rows = rows[part] if rows.ndim == 1 else np.take_along_axis(rows, part, axis=1)
        scores = np.take_along_axis(scores, part, axis=1)
    elif rows.ndim == 1:
        rows = np.broadcast_to(rows, scores.shape)
    order = np.argsort(-scores, axis=1, kind="stable")
    found, by_score = none(queries, k)
    width = min(scored, k)
    by_score[:, :width] = np.take_along_axis(scores, order, axis=1)
    found[:, :width] = np.take_along_axis(rows, order, axis=1)
    found[by_score == -np.inf] = -1
    return found, by_score


def merged(one: Hits, other: Hits, k: int) -> Hits:
    """Return the k best of two sets of hits that share no row."""
    rows = np.concatenate((one[0], other[0]), axis=1)
    return best(np.concatenate((one[1], other[1]), axis=1), rows, k)


def within(mask: NDArray[np.bool_], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which rows, of any shape, a mask allows; not -1, and not rows that it does not reach."""
    inside: NDArray[np.bool_] = mask.take(rows, mode="clip") & (rows >= 0) & (rows < len(mask))
    return inside
