"""Merge offers with the items' own terms, group by group. Pure.

Three groups (price with currency, stock, window) are merged each by itself, for each item:
- Among offers the highest version that carries the group stands (equal: the later record). A null
  counts as an offer that carries every group with nothing in it: it takes back what is not newer.
- What stands there wins over the item's own value if its version is not below the item's, or if
  the item does not carry the group. Otherwise the item's own value holds, else the default.
- An offer for an unknown item waits; it is merged when the item comes, and again whenever the
  item comes anew.

Offers are told apart by item key, as the catalogue does. Weakness: the topic keeps only an item's
last record once it is compacted, so that after a restart a group which only an earlier offer
carried has the item's own value. Who publishes an offer should publish it whole.

Legend: n rows of the catalogue; s slots (items that ever had an offer here).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshet.contract.offers import Offer
from shared.catalogue.catalogue import Applied, Catalogue
from shared.catalogue.columns import Column, KeyRows
from shared.catalogue.offer_columns import ALL, GROUPS, OfferColumns, groups_of
from shared.users import keys

TAKEN_BACK_KEPT_MS: Final = 7 * 86_400_000  # as long as the topic keeps the null itself
_NEVER: Final = np.iinfo(np.int64).min
_NOTHING: Final = Offer(item_id="")


class OfferChange(NamedTuple):
    """One record of `offers`: an offer, or None where it was taken back; version in ms."""

    item_id: str
    version: int
    offer: Offer | None


Listener = Callable[[NDArray[np.int64]], None]


class Offers:
    """The terms that hold now, by row of the catalogue; listens to it.

    About 65 bytes for each item with an offer, and 28 for each row.
    """

    def __init__(
        self, catalogue: Catalogue, *, key_of: Callable[[str], int] = keys.item_key
    ) -> None:
        self.terms = OfferColumns(catalogue.currencies)  # (n, …) merged
        self.stale = 0  # records that changed nothing for their version, since the start
        self._catalogue = catalogue
        self._key_of = key_of
        self._listeners: list[Listener] = []
        self._start_slots(0)
        self.terms.reserve(len(catalogue))
        self._merge(np.arange(len(catalogue)))
        catalogue.listen(self._on_catalogue)

    def listen(self, listener: Listener) -> None:
        """Call a function with the rows whose terms or life changed, on the same thread."""
        self._listeners.append(listener)

    def __len__(self) -> int:
        """Count the items that ever had an offer here, less those forgotten."""
        return len(self._keys)

    def apply(self, changes: Iterable[OfferChange]) -> NDArray[np.int64]:
        """Take records in; return the rows whose terms they may have changed."""
        touched: dict[int, None] = {}
        for change in changes:
            key = self._key_of(change.item_id)
            slot = self._slot_of.row(key)
            if slot < 0:
                slot = self._new_slot(key, change.version)
            if self._put(slot, change):
                touched[key] = None
            else:
                self.stale += 1
        rows = self._catalogue.rows(np.fromiter(touched, np.uint64, len(touched)))
        rows = rows[rows >= 0]
        self._merge(rows)
        self._tell(rows)
        return rows

    def _put(self, slot: int, change: OfferChange) -> bool:
        """Take the groups that are not older than what stands; tell whether there were any."""
        record = _NOTHING if change.offer is None else change.offer
        carried = ALL if change.offer is None else groups_of(change.offer)
        versions = self._versions.data[slot]  # (3,)
        newer = 0
        for column, group in enumerate(GROUPS):
            if carried & group and change.version >= versions[column]:
                versions[column] = change.version
                newer |= group
        if newer:
            self._offered.put(slot, record, newer)
        return bool(newer)

    def _merge(self, rows: NDArray[np.int64]) -> None:
        """Work out some rows' terms anew."""
        own = self._catalogue.terms
        for group in GROUPS:
            self.terms.copy_group(group, rows, own, rows)
        slots = self._slot_of.rows(self._catalogue.keys[rows])
        rows, slots = rows[slots >= 0], slots[slots >= 0]
        if not len(rows):
            return
        versions = self._versions.data[slots]  # (m, 3)
        item_versions = self._catalogue.versions[rows]
        for column, group in enumerate(GROUPS):
            offered = self._offered.carried[slots] & group != 0
            own_holds = (own.carried[rows] & group != 0) & (versions[:, column] < item_versions)
            wins = offered & ~own_holds
            self.terms.copy_group(group, rows[wins], self._offered, slots[wins])

    def _on_catalogue(self, applied: Applied) -> None:
        self.terms.reserve(len(self._catalogue))
        self._merge(np.array(sorted({*applied.added, *applied.changed}), np.int64))
        self._tell(np.array(sorted({*applied.added, *applied.changed, *applied.died}), np.int64))

    def _tell(self, rows: NDArray[np.int64]) -> None:
        if len(rows):
            for listener in self._listeners:
                listener(rows)

    def _start_slots(self, room: int) -> None:
        self._slot_of = KeyRows()
        self._keys: list[int] = []  # (s,)
        self._versions = Column(np.int64, width=len(GROUPS), fill=_NEVER)  # (s, 3)
        self._offered = OfferColumns(self._catalogue.currencies)  # (s, …)
        self._versions.reserve(room)
        self._offered.reserve(room)

    def _new_slot(self, key: int, version: int) -> int:
        if len(self._keys) == len(self._versions.data):
            self._forget_taken_back(version - TAKEN_BACK_KEPT_MS)
        slot = len(self._keys)
        self._keys.append(key)
        self._versions.reserve(slot + 1)
        self._offered.reserve(slot + 1)
        self._slot_of.put(key, slot)
        return slot

    def _forget_taken_back(self, before_ms: int) -> None:
        """Drop the slots that have held nothing for long; the topic forgets those nulls too."""
        size = len(self._keys)
        needed = self._offered.carried[:size] != 0
        needed |= (self._versions.data[:size] >= before_ms).any(axis=1)
        old_slots = np.flatnonzero(needed)
        if len(old_slots) == size:
            return
        old_keys, versions, offered = self._keys, self._versions.data, self._offered
        self._start_slots(len(old_slots))
        self._keys = [old_keys[slot] for slot in old_slots.tolist()]
        slots = np.arange(len(old_slots))
        self._versions.data[slots] = versions[old_slots]
        for group in GROUPS:
            self._offered.copy_group(group, slots, offered, old_slots)
        self._slot_of.put_many(np.array(self._keys, np.uint64), slots)
