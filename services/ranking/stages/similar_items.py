"""Items ordered by likeness to one query: what Similar and Search share. Pure.

Legend: n items; p parts of a score; d, w numbers of a vector; k items of the list.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.ranking.index import exact
from services.ranking.stages import blend
from services.ranking.stages.float16 import widened
from shared.catalogue.catalogue import Catalogue

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


class Alike(NamedTuple):
    """Items with what their scores are made of, the best first."""

    rows: Rows  # (n,)
    names: tuple[str, ...]  # of the parts, (p,)
    parts: Floats  # (n, p) on the blend's grid; their sums are the scores

    @property
    def scores(self) -> Floats:
        """The scores, (n,)."""
        total: Floats = self.parts.sum(axis=1)
        return total


def ordered(rows: Rows, parts: dict[str, Floats], catalogue: Catalogue, k: int) -> Alike:
    """Return the k best by the sum of their parts, of equals the newest."""
    table = blend.on_grid(np.stack([values.astype(np.float32) for values in parts.values()], 1))
    best = np.lexsort((catalogue.arrived_ms[rows], table.sum(axis=1)))[::-1][:k]
    return Alike(rows[best], tuple(parts), table[best])


def nothing(*names: str) -> Alike:
    """Return an empty list."""
    return Alike(np.empty(0, np.int64), names, np.empty((0, len(names)), np.float32))


def by_own_vectors(
    name: str,
    table: NDArray[np.float16] | None,  # (c, w) by row, zero where an item has none
    query: Floats,  # (w,)
    mask: Mask,
    k: int,
    catalogue: Catalogue,
) -> Alike:
    """Return the k most alike by a modality's own vectors.

    Items without such a vector are left out, and ones that point the other way: they are not alike.
    """
    if table is None or table.shape[1] != len(query) or not query.any():
        return nothing(name)
    rows = np.flatnonzero(mask[: len(table)])
    found, scores = exact.search_rows(table, rows, query[None], k)
    kept = (found[0] >= 0) & (scores[0] > 0)
    return ordered(found[0][kept], {name: scores[0][kept]}, catalogue, k)


def cosines(rows: Rows, query: Floats, catalogue: Catalogue) -> Floats:
    """Return the cosines of items to a query of the serving space, (n,)."""
    return widened(catalogue.vectors.take(rows, axis=0)) @ query
