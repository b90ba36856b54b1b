"""Keep the latest version of each item, with its offset on `item-vectors`. Pure.

The truth is the topic; this is its summary, 45 bytes an item and as many for the table of keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from freshet.contract.records import BadRecord
from services.embedding.items.versions import RecordVersion
from shared.catalogue.columns import Column, KeyRows
from shared.users.keys import item_key

UNCONFIRMED: Final = -1  # sent, or about to be: not known where on the topic it stands
ITEM_KEY_COLLISION: Final = "item-key-collision"

_ROW = np.dtype(
    [
        ("version", "i8"),
        ("live", "?"),
        ("offset", "i8"),
        ("alive", "?"),
        ("arrived_ms", "i8"),
        ("log_offset", "i8"),
        ("check", "u4"),  # another hash of the id, which tells ids with one key apart
    ]
)


class ItemVersion(NamedTuple):
    """What counts for an item now."""

    version: RecordVersion
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
        # Items of which a lower version was seen behind the highest, and its offset there.
        self._suspects: dict[str, int] = {}

    def __len__(self) -> int:
        """Count the items known."""
        return self._count

    def get(self, item_id: str) -> ItemVersion | None:
        """Return what counts for an item. Raises BadRecord if another has the same 8-byte key."""
        row = self._by_key.row(self._key_of(item_id))
        if row < 0:
            return None
        time_ms, live, offset, alive, arrived_ms, log_offset, check = self._rows.data[row].item()
        if check != crc32(item_id.encode()):
            raise BadRecord(
                ITEM_KEY_COLLISION, "another item has the same 8-byte key: choose another item_id"
            )
        return ItemVersion(RecordVersion(time_ms, live, offset), alive, arrived_ms, log_offset)

    def claim(self, item_id: str, version: RecordVersion, alive: bool, arrived_ms: int) -> None:
        """Note what is about to be published; from now on only higher versions count."""
        self._put(item_id, ItemVersion(version, alive, arrived_ms, UNCONFIRMED))

    def confirm(self, item_id: str, version: RecordVersion, log_offset: int) -> None:
        """Note where a published version stands, unless a higher one has come since."""
        latest = self.get(item_id)
        if latest is not None and latest.version == version:
            highest = max(latest.log_offset, log_offset)
            self._put(item_id, latest._replace(log_offset=highest))

    def observe(
        self, item_id: str, version: RecordVersion, alive: bool, arrived_ms: int, log_offset: int
    ) -> None:
        """Take in a record of `item-vectors`, whoever wrote it; called in the topic's order."""
        latest = self.get(item_id)
        if latest is None or version > latest.version:
            self._put(item_id, ItemVersion(version, alive, arrived_ms, log_offset))
        elif version == latest.version:
            self.confirm(item_id, version, log_offset)
        elif log_offset > latest.log_offset:
            self._suspects[item_id] = log_offset

    def to_mend(self) -> list[str]:
        """Return the items behind whose highest version a lower one stands last.

        An unconfirmed item may still turn out to stand behind it, so it waits.
        """
        wrong = []
        for item_id, lower_offset in list(self._suspects.items()):
            latest = self.get(item_id)
            if latest is None or latest.log_offset > lower_offset:
                del self._suspects[item_id]
            elif latest.log_offset != UNCONFIRMED:
                wrong.append(item_id)
        return wrong

    def living(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return keys and times of the versions, (n,) each, of the n items that are not deleted."""
        rows = self._rows.data[: self._count]
        alive = rows["alive"]
        return self._keys.data[: self._count][alive], rows["version"][alive]

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
        version, alive, arrived_ms, log_offset = latest
        check = crc32(item_id.encode())
        self._rows.data[row] = (*version, alive, arrived_ms, log_offset, check)
