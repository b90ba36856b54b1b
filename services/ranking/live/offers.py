"""Merge offers with the items' own terms, group by group. Pure.

Four groups (price, currency, stock, window) are merged each by itself, for each item:
- Among offers the newest that carries the group stands (shared/catalogue/versions.py). A null
  counts as an offer that carries every group with nothing in it: it takes back what came before.
- What stands there wins over the item's own value if it is not older, or if the item does not
  carry the group. Otherwise the item's own value holds, else the default. Offer and item are
  compared by the shop's clock where both state it, else by the log's.
- An offer for an unknown item waits; it is merged when the item comes, and again whenever the
  item comes anew.

The topic keeps only an item's last record once it is compacted. So where the last one does not
carry all that stands, the item is `unwhole`, until what stands was published as one record.

Offers are told apart by item key, as the catalogue does.

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
from shared.catalogue.offers import (
    GROUPS,
    NOTHING,
    OfferChange,
    OfferColumns,
    Versions,
    groups_of,
)
from shared.catalogue.versions import BEGINNING, UNSTATED, VERSION_DTYPE, RecordVersion
from shared.users import keys

TAKEN_BACK_KEPT_MS: Final = 7 * 86_400_000  # as long as the topic keeps the null itself


class WholeOffer(NamedTuple):
    """All that stands for an item, as one record."""

    item_id: str
    offer: Offer | None  # None: nothing
    versions: Versions
    partition: int  # of `offers`


Listener = Callable[[NDArray[np.int64]], None]


class Offers:
    """The terms that hold now, by row of the catalogue; listens to it.

    About 210 bytes for each item with an offer, and 28 for each row.
    """

    def __init__(
        self, catalogue: Catalogue, *, key_of: Callable[[str], int] = keys.item_key
    ) -> None:
        self.terms = OfferColumns(catalogue.currencies)  # (n, …) merged
        self.stale = 0  # records that changed nothing for their version, since the start
        self._unwhole: dict[str, int] = {}  # item id → partition
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
                slot = self._new_slot(key, change.origin.time_ms)
            if self._put(slot, change):
                touched[key] = None
            else:
                self.stale += 1
        rows = self._catalogue.rows(np.fromiter(touched, np.uint64, len(touched)))
        rows = rows[rows >= 0]
        self._merge(rows)
        self._tell(rows)
        return rows

    def unwhole(self) -> list[str]:
        """Return the items whose last record does not carry all that stands, or more."""
        return list(self._unwhole)

    def whole(self, item_id: str) -> WholeOffer | None:
        """Return all that stands for an item; None where its last record says so already."""
        partition = self._unwhole.get(item_id)
        if partition is None:
            return None
        slot = self._slot_of.row(self._key_of(item_id))
        fields = self._offered.fields(slot)
        versions = tuple(self._version(slot, column) for column in range(len(GROUPS)))
        offer = Offer(item_id=item_id, **fields) if fields else None
        return WholeOffer(item_id, offer, versions, partition)

    def _put(self, slot: int, change: OfferChange) -> int:
        """Take the groups that are not older than what stands; return them as bits."""
        record = NOTHING if change.offer is None else change.offer
        carried, taken, alone = groups_of(record), 0, 0
        for column, group in enumerate(GROUPS):
            stands = self._version(slot, column)
            version = change.replacing(column, stands)
            if version is not None:
                self._versions.data[slot, column] = version
                taken |= group
                alone |= group if version == change.version(column, None) else 0
        if taken:
            self._offered.put(slot, record, taken)
        # Whole: who knows this record alone knows all that stands, and nothing else.
        if carried & alone == carried == self._offered.carried[slot]:
            self._unwhole.pop(change.item_id, None)
        else:
            self._unwhole[change.item_id] = change.origin.partition
        return taken

    def _version(self, slot: int, column: int) -> RecordVersion | None:
        """Return which record's word stands for a group of a slot."""
        version = RecordVersion.of(self._versions.data[slot, column].item())
        return None if version.place == BEGINNING else version

    def _merge(self, rows: NDArray[np.int64]) -> None:
        """Work out some rows' terms anew. A currency without any price says nothing."""
        own = self._catalogue.terms
        for group in GROUPS:
            self.terms.copy_group(group, rows, own, rows)
        self._merge_offered(rows)
        self.terms.currency[rows] *= ~np.isnan(self.terms.price[rows])

    def _merge_offered(self, rows: NDArray[np.int64]) -> None:
        own = self._catalogue.terms
        slots = self._slot_of.rows(self._catalogue.keys[rows])
        rows, slots = rows[slots >= 0], slots[slots >= 0]
        if not len(rows):
            return
        versions = self._versions.data[slots]  # (m, 4)
        times, updated = versions["place"]["time_ms"], versions["updated_ms"]
        own_times = self._catalogue.versions[rows, None]
        own_updated = self._catalogue.updated_ms[rows, None]
        both_state = (updated != UNSTATED) & (own_updated != UNSTATED)
        older = np.where(both_state, updated < own_updated, times < own_times)  # (m, 4)
        for column, group in enumerate(GROUPS):
            own_holds = (own.carried[rows] & group != 0) & older[:, column]
            wins = (self._offered.carried[slots] & group != 0) & ~own_holds
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
        # (s, 4); zero, which is at the beginning: no offer ever carried the group
        self._versions = Column(VERSION_DTYPE, width=len(GROUPS))
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
        needed |= (self._versions.data["place"]["time_ms"][:size] >= before_ms).any(axis=1)
        # Their last record would bring back what was taken back, had nobody said so since.
        needed[[self._slot_of.row(self._key_of(item_id)) for item_id in self._unwhole]] = True
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
