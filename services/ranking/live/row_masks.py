"""Keep masks of the whole catalogue by filter, so that the same filter is not worked out each time.

Legend: n rows of the catalogue; m rows asked about.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from freshet.v1 import recommender_pb2 as pb
from shared.catalogue.catalogue import Applied, Catalogue
from shared.runtime.deadline import Deadline

Rows = NDArray[np.int64] | slice
Mask = NDArray[np.bool_]
Conditions = Callable[[pb.Filters, Rows], Iterator[tuple[str, Mask]]]

BYTES_AT_MOST: Final = 64 * 1024 * 1024  # of all masks: a byte a row
CHANGES_KEPT: Final = 8_192  # a mask that missed more of them is worked out anew


@dataclass(slots=True)
class _Kept:
    mask: Mask
    seen: int  # changes that it knows of, of all since the start


class RowMasks:
    """Masks by filter, those asked for last; listens to its catalogue.

    A change ends none of them: the rows that changed since are looked at again when a mask is
    asked for, so that masks last beside a catalogue that changes all the time.
    """

    def __init__(
        self, catalogue: Catalogue, conditions: Conditions, bytes_at_most: int = BYTES_AT_MOST
    ) -> None:
        """conditions: of a filter about some rows, (m,) each; a row's stay until it changes."""
        self._catalogue = catalogue
        self._conditions = conditions
        self._bytes_at_most = bytes_at_most
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()  # the one asked for last at the end
        self._bytes = 0
        self._changed: list[int] = []  # rows, the latest changes
        self._dropped = 0  # changes before those
        catalogue.listen(self._note)

    async def of(self, filters: pb.Filters, deadline: Deadline) -> Mask:
        """Return the rows that fit, (n,), read-only, dead ones too. Raises TimeoutError.

        A filter that was not asked for of late is worked out condition by condition, with turns
        for other calls in between.
        """
        name = filters.SerializeToString(deterministic=True)
        kept = self._take(name)
        if kept is None or kept.seen < self._dropped:
            kept = await self._made(filters, deadline)
            self._take(name)  # another call's, made meanwhile
        self._refresh(kept, filters)
        self._keep(name, kept)
        return kept.mask

    async def _made(self, filters: pb.Filters, deadline: Deadline) -> _Kept:
        while True:
            made = _Kept(np.ones(len(self._catalogue), np.bool_), self._seen)
            for _, condition in self._conditions(filters, slice(0, len(made.mask))):
                made.mask &= condition
                await deadline.turn()
            if made.seen >= self._dropped:
                return made

    def _refresh(self, kept: _Kept, filters: pb.Filters) -> None:
        """Look again at the rows that changed since, and at new ones."""
        if kept.seen == self._seen:
            return
        rows = np.unique(np.array(self._changed[kept.seen - self._dropped :], np.int64))
        mask = np.zeros(len(self._catalogue), np.bool_)  # a copy: who got the one before keeps it
        mask[: len(kept.mask)] = kept.mask
        mask[rows] = True
        for _, condition in self._conditions(filters, rows):
            mask[rows] &= condition
        kept.mask, kept.seen = mask, self._seen

    def _take(self, name: bytes) -> _Kept | None:
        kept = self._kept.pop(name, None)
        self._bytes -= len(kept.mask) if kept else 0
        return kept

    def _keep(self, name: bytes, kept: _Kept) -> None:
        kept.mask.flags.writeable = False
        self._kept[name] = kept
        self._bytes += len(kept.mask)
        while self._bytes > self._bytes_at_most:
            self._take(next(iter(self._kept)))

    @property
    def _seen(self) -> int:
        return self._dropped + len(self._changed)

    def _note(self, applied: Applied) -> None:
        self._changed += applied.added
        self._changed += applied.changed
        if len(self._changed) > 2 * CHANGES_KEPT:
            self._dropped += len(self._changed) - CHANGES_KEPT
            del self._changed[:-CHANGES_KEPT]
