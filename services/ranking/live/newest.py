"""Keep the newest items ready as items come and go: no request sorts the catalogue. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.ranking.stages.float16 import to_float32
from shared.catalogue.catalogue import Applied, Catalogue

AT_MOST: Final = 250
NEVER: Final = int(np.iinfo(np.int64).min)


class Newest:
    """The rows of the newest living items, the newest first; listens to its catalogue."""

    def __init__(self, catalogue: Catalogue, at_most: int = AT_MOST) -> None:
        self._catalogue = catalogue
        self._at_most = at_most
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)
        self._vectors: NDArray[np.float32]
        self._since_ms = NEVER  # every living item that arrived after this is among the rows
        self._added: list[int] = []
        self._died = False
        self._choose_of_all()
        catalogue.listen(self._note)

    def _note(self, applied: Applied) -> None:
        self._added += applied.added
        self._died |= bool(applied.died)

    def vectors(self) -> NDArray[np.float32]:
        """Return the vectors of `rows()`, (m, d)."""
        self.rows()
        return self._vectors

    def rows(self) -> NDArray[np.int64]:
        """Return at most `at_most` rows, (m,); of equal arrivals the later row first."""
        if self._added or self._died:
            added = np.array(self._added, np.int64)
            added = added[self._catalogue.arrived_ms[added] > self._since_ms]
            rows = np.union1d(self._rows, added)
            rows = rows[self._catalogue.alive[rows]]
            if len(rows) < min(self._at_most // 2, self._catalogue.living):
                self._choose_of_all()
            else:
                self._choose(rows)
        return self._rows

    def _choose_of_all(self) -> None:
        self._since_ms = NEVER
        self._choose(np.flatnonzero(self._catalogue.alive))

    def _choose(self, rows: NDArray[np.int64]) -> None:
        """Keep the newest of some ascending rows."""
        arrived = self._catalogue.arrived_ms[rows]
        order = np.argsort(arrived, kind="stable")[::-1]
        if len(rows) > self._at_most:
            self._since_ms = int(arrived[order[self._at_most]])
            order = order[: self._at_most]
        self._rows = rows[order]
        self._vectors = to_float32(self._catalogue.vectors[self._rows])
        self._added.clear()
        self._died = False
