"""Search what arrived since the base was built: the fresh segment, exactly.

Legend: m rows of the segment; n rows of the catalogue; d numbers of the space; q queries; k hits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.ranking.index import hits
from services.ranking.index.hits import Hits

FIRST_ROOM: Final = 256
GONE: Final = -1
REBUILD_FROM: Final = 1_024  # removed rows; fewer are not worth it


class FreshSegment:
    """A contiguous float32 matrix that grows at its end.

    One thread changes it. Readers in others see it as it was after some change: matrix, rows and
    size are published as one tuple, and what a reader holds is only written beyond its size, or
    marked as gone.
    """

    def __init__(self, dim: int) -> None:
        self._published = (
            np.empty((FIRST_ROOM, dim), np.float32),  # (room, d)
            np.full(FIRST_ROOM, GONE, np.int64),  # (room,) row of the catalogue, or GONE
            0,
        )
        self._at: dict[int, int] = {}  # row of the catalogue → row of the matrix

    def __len__(self) -> int:
        """Count the rows that are searched."""
        return len(self._at)

    def add(self, rows: NDArray[np.int64], vectors: NDArray[Any]) -> None:
        """Append rows, each at most once and none of them in the segment; vectors: (m, d)."""
        matrix, rows_at, size = self._published
        end = size + len(rows)
        if end > len(rows_at):
            room = max(end, 2 * len(rows_at))
            matrix, rows_at = _grown(matrix, room, 0), _grown(rows_at, room, GONE)
        matrix[size:end] = vectors
        rows_at[size:end] = rows
        self._at.update(zip(rows.tolist(), range(size, end), strict=True))
        self._published = (matrix, rows_at, end)

    def remove(self, row: int) -> None:
        """Search a row no more; one that is not here changes nothing."""
        at = self._at.pop(row, None)
        if at is None:
            return
        matrix, rows_at, size = self._published
        rows_at[at] = GONE
        if size - len(self._at) > max(REBUILD_FROM, len(self._at)):
            present = np.flatnonzero(rows_at[:size] != GONE)
            rows = rows_at[present]
            self._at = {row: at for at, row in enumerate(rows.tolist())}
            self._published = (matrix[present], rows, len(present))

    def search(self, queries: NDArray[np.float32], k: int, mask: NDArray[np.bool_]) -> Hits:
        """Return the k best rows under a mask, none if the segment is empty; mask: (n,), n > 0."""
        matrix, rows_at, size = self._published
        if not size:
            return hits.none(len(queries), 0)
        rows = rows_at[:size].copy()  # (m,) so that a removal meanwhile does not tear the answer
        # The tall matrix first: BLAS needs half the time that it takes the other way round.
        scores = np.ascontiguousarray((matrix[:size] @ queries.T).T)  # (q, m)
        scores += np.where(hits.within(mask, rows), np.float32(0), np.float32(-np.inf))
        return hits.best(scores, rows, k)


def _grown(array: NDArray[Any], room: int, fill: int) -> NDArray[Any]:
    grown = np.full((room, *array.shape[1:]), fill, array.dtype)
    grown[: len(array)] = array
    return grown
