"""Order items by likeness to one query, for Similar and for Search. Pure.

Legend: n items; p parts of a score; d, w numbers of a vector; k items of the list.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.ranking.index import hits
from services.ranking.stages import blend
from services.ranking.stages.float16 import to_float32
from shared.catalogue.catalogue import Catalogue

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

# Half of what has nothing to do with a text has a cosine below this to it; of things that show what
# it says and are known by their picture alone, an eighth has (day-zero bundle, demo shop).
ALIKE_FROM: Final = 0.1


class SimilarItems(NamedTuple):
    """Items with what their scores are made of, the best first."""

    rows: Rows  # (n,)
    names: tuple[str, ...]  # of the parts, (p,)
    parts: Floats  # (n, p) on the blend's grid; their sums are the scores

    @property
    def scores(self) -> Floats:
        """The scores, (n,)."""
        total: Floats = self.parts.sum(axis=1)
        return total


def ordered(
    rows: Rows, parts: dict[str, Floats], catalogue: Catalogue, k: int, *, above: float = 0.0
) -> SimilarItems:
    """Return the k best by the sum of their parts, if it is above a bound; of equals the newest."""
    table = blend.on_grid(np.stack([values.astype(np.float32) for values in parts.values()], 1))
    alike = table.sum(axis=1) > above
    rows, table = rows[alike], table[alike]
    best = np.lexsort((catalogue.arrived_ms[rows], table.sum(axis=1)))[::-1][:k]
    return SimilarItems(rows[best], tuple(parts), table[best])


def nothing(*names: str) -> SimilarItems:
    """Return an empty list."""
    return SimilarItems(np.empty(0, np.int64), names, np.empty((0, len(names)), np.float32))


def by_own_vectors(
    name: str,
    table: NDArray[np.float16] | None,  # (c, w) by row, zero where an item has none
    query: Floats,  # (w,)
    mask: Mask,
    k: int,
    catalogue: Catalogue,
) -> SimilarItems:
    """Return the k most alike by a modality's own vectors.

    Items without such a vector are left out, and ones that point the other way: they are not alike.
    """
    if table is None or table.shape[1] != len(query) or not query.any():
        return nothing(name)
    rows = np.flatnonzero(mask[: len(table)])
    (nearest,), (scores,) = hits.search_rows(table, rows, query[None], k)
    found = nearest >= 0
    return ordered(nearest[found], {name: scores[found]}, catalogue, k)


def cosines(rows: Rows, query: Floats, catalogue: Catalogue) -> Floats:
    """Return the cosines of items to a query of the serving space, (n,)."""
    return to_float32(catalogue.vectors.take(rows, axis=0)) @ query
