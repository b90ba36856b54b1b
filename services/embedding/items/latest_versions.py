"""Keep the latest version of each item, with its offset on `item-vectors`. Pure.

The truth is the topic; this is its summary, 71 bytes an item and 45 for the table of keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from freshet.contract.records import BadRecord
from services.embedding.items.versions import Stated
from shared.catalogue.columns import Column, KeyRows
from shared.catalogue.versions import VERSION_DTYPE, RecordVersion
from shared.users.keys import item_key

UNCONFIRMED: Final = -1  # sent, or about to be: not known where on the topic it stands
ITEM_KEY_COLLISION: Final = "item-key-collision"

_ROW = np.dtype(
    [
        ("version", VERSION_DTYPE),
        ("version_ms", "i8"),
        ("alive", "?"),
        ("arrived_ms", "i8"),
        ("log_offset", "i8"),
        ("check", "u4"),  # another hash of the id, which tells ids with one key apart
    ]
)


class ItemVersion(NamedTuple):
    """What counts for an item now."""

    version: RecordVersion
    version_ms: int  # what its record states to readers
    alive: bool  # False: deleted
    arrived_ms: int  # first arrival since it was last deleted
    log_offset: int  # on its partition of item-vectors, or UNCONFIRMED


class LatestVersions:
    """What counts for each item, deleted ones too."""

    def __init__(self, key_of: Callable[[str], int] = item_key) -> None:
        self._key_of = key_of
        self._rows = Column(_ROW)
        self._keys = Column(np.uint64)
        self._count = 0
        self._by_key = KeyRows()
        # Items of which a lower version was seen that may hide the highest from readers, with
        # its offset and what it states to them.
        self._suspects: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        """Count the items known."""
        return self._count

    def get(self, item_id: str) -> ItemVersion | None:
        """Return what counts for an item. Raises BadRecord if another has the same 8-byte key."""
        row = self._by_key.row(self._key_of(item_id))
        if row < 0:
            return None
        version, *rest, check = self._rows.data[row].item()
        if check != crc32(item_id.encode()):
            raise BadRecord(
                ITEM_KEY_COLLISION, "another item has the same 8-byte key: choose another item_id"
            )
        return ItemVersion(RecordVersion.of(version), *rest)

    def stated(self, item_id: str, version: RecordVersion) -> Stated:
        """Return what a record with this version is to state.

        Log time, so that readers who still know of a delete take what comes after it, and not
        below what stands, which they would hold on to.
        """
        latest = self.get(item_id)
        stands_ms = 0 if latest is None else latest.version_ms
        return Stated(version, max(version.place.time_ms, stands_ms))

    def claim(self, item_id: str, stated: Stated, alive: bool, arrived_ms: int) -> None:
        """Note what is about to be published; from now on only higher versions count."""
        self._put(item_id, ItemVersion(*stated, alive, arrived_ms, UNCONFIRMED))

    def confirm(self, item_id: str, stated: Stated, log_offset: int) -> None:
        """Note where a published version stands, unless a higher one has come since."""
        latest = self.get(item_id)
        if latest is None or latest.version != stated.version or log_offset < latest.log_offset:
            return
        self._put(item_id, latest._replace(version_ms=stated.version_ms, log_offset=log_offset))

    def observe(
        self, item_id: str, stated: Stated, alive: bool, arrived_ms: int, log_offset: int
    ) -> None:
        """Take in a record of `item-vectors`, whoever wrote it; called in the topic's order."""
        latest = self.get(item_id)
        observed = ItemVersion(*stated, alive, arrived_ms, log_offset)
        if latest is None:
            self._put(item_id, observed)
        elif stated.version < latest.version:
            self._suspect(item_id, observed, latest)
        else:
            if stated.version > latest.version:
                self._put(item_id, observed)
            else:
                self.confirm(item_id, stated, log_offset)
            self._suspect(item_id, latest, observed)

    def _suspect(self, item_id: str, other: ItemVersion, latest: ItemVersion) -> None:
        """Note a record that may hide what counts."""
        if _hides((other.log_offset, other.version_ms), latest):
            log_offset, version_ms = self._suspects.get(item_id, (UNCONFIRMED, 0))
            self._suspects[item_id] = (
                max(log_offset, other.log_offset),
                max(version_ms, other.version_ms),
            )

    def to_mend(self) -> dict[str, Stated]:
        """Return the items whose highest version a lower one hides, with what it is to state.

        An unconfirmed item may still turn out to stand well, so it waits.
        """
        wrong = {}
        for item_id, lower in list(self._suspects.items()):
            latest = self.get(item_id)
            if latest is None or not _hides(lower, latest):
                del self._suspects[item_id]
            elif latest.log_offset != UNCONFIRMED:
                wrong[item_id] = Stated(latest.version, max(latest.version_ms, lower[1]))
        return wrong

    def living(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return keys and stated versions, (n,) each, of the n items that are not deleted."""
        rows = self._rows.data[: self._count]
        alive = rows["alive"]
        return self._keys.data[: self._count][alive], rows["version_ms"][alive]

    def _put(self, item_id: str, latest: ItemVersion) -> None:
        key = self._key_of(item_id)
        row = self._by_key.row(key)
        if row < 0:
            row = self._count
            self._count += 1
            self._rows.reserve(self._count)
            self._keys.reserve(self._count)
            self._keys.data[row] = key
            self._by_key.put(key, row)
        self._rows.data[row] = (*latest, crc32(item_id.encode()))


def _hides(lower: tuple[int, int], latest: ItemVersion) -> bool:
    """Say whether a lower version's record (offset, stated) keeps readers from what counts.

    It stands behind it, or states more than it.
    """
    log_offset, version_ms = lower
    return log_offset > latest.log_offset or version_ms > latest.version_ms
