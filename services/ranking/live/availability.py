"""Which items may be recommended now: living, in stock, inside their window. Pure.

Kept up to date row by row as items and offers change; windows are looked at again when the next
edge of one is reached, so that a request only reads a mask.

Legend: n rows of the catalogue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.ranking.live.offers import Offers
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.columns import Column
from shared.catalogue.offer_columns import ALWAYS_UNTIL


class Availability:
    """Masks by row, as of the time they are asked for; listens to the offers."""

    def __init__(self, catalogue: Catalogue, offers: Offers) -> None:
        self._catalogue = catalogue
        self._terms = offers.terms
        self._open = Column(np.bool_)  # inside the window
        self._available = Column(np.bool_)  # and living and in stock
        self._as_of_ms = 0
        self._next_edge_ms = 0  # nothing opens or closes between the two times
        offers.listen(self._refresh)
        self._look_at_all(0)

    def mask(
        self, now_ms: int, *, out_of_stock: bool = False, outside_window: bool = False
    ) -> NDArray[np.bool_]:
        """Return the rows that may be recommended, (n,), read-only; true flags allow more."""
        if not self._as_of_ms <= now_ms < self._next_edge_ms:
            self._look_at_all(now_ms)
        rows = len(self._catalogue)
        if not out_of_stock and not outside_window:
            mask = self._available.data[:rows]
        else:
            mask = self._catalogue.alive.copy()
            if not out_of_stock:
                mask &= self._terms.in_stock[:rows]
            if not outside_window:
                mask &= self._open.data[:rows]
        mask.flags.writeable = False
        return mask

    def _look_at_all(self, now_ms: int) -> None:
        rows = len(self._catalogue)
        self._as_of_ms, self._next_edge_ms = now_ms, ALWAYS_UNTIL
        self._look_at(slice(0, rows))

    def _refresh(self, rows: NDArray[np.int64]) -> None:
        self._look_at(rows)

    def _look_at(self, rows: NDArray[np.int64] | slice) -> None:
        """Work out some rows as of the time of the last look."""
        self._open.reserve(len(self._catalogue))
        self._available.reserve(len(self._catalogue))
        start, end = self._terms.available_from[rows], self._terms.available_until[rows]
        opened, closed = start <= self._as_of_ms, end <= self._as_of_ms
        is_open = opened & ~closed
        self._open.data[rows] = is_open
        available = is_open & self._terms.in_stock[rows]
        self._available.data[rows] = available & self._catalogue.alive[rows]
        for edges in (start[~opened], end[~closed]):
            if len(edges):
                self._next_edge_ms = min(self._next_edge_ms, int(edges.min()))
