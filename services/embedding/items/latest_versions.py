"""What counts for each item: the highest rank known, and where on `item-vectors` it stands. Pure.

The truth is the topic; this is its summary, 45 bytes an item and as many for the table of keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from freshet.contract.records import BadRecord
from services.embedding.items.versions import Rank
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


class Standing(NamedTuple):
    """What counts for an item now."""

    rank: Rank
    alive: bool  # False: deleted
    arrived_ms: int  # first arrival since it was last deleted
    log_offset: int  # on its partition of item-vectors, or UNCONFIRMED


class Standings:
    """Standings by item id, deleted items too."""

    def __init__(self, key_of: Callable[[str], int] = item_key) -> None:
        self._key_of = key_of
        self._rows = Column(_ROW)
        self._keys = Column(np.uint64)
        self._count = 0
        self._by_key = KeyRows()
        # Items of which a lower rank was seen behind the highest, and the offset where it stands.
        self._suspects: dict[str, int] = {}

    def __len__(self) -> int:
        """Count the items known."""
        return self._count

    def get(self, item_id: str) -> Standing | None:
        """Return an item's standing. Raises BadRecord if another item has the same 8-byte key."""
        row = self._by_key.row(self._key_of(item_id))
        if row < 0:
            return None
        version, live, offset, alive, arrived_ms, log_offset, check = self._rows.data[row].item()
        if check != crc32(item_id.encode()):
            raise BadRecord(
                ITEM_KEY_COLLISION, "another item has the same 8-byte key: choose another item_id"
            )
        return Standing(Rank(version, live, offset), alive, arrived_ms, log_offset)

    def claim(self, item_id: str, rank: Rank, alive: bool, arrived_ms: int) -> None:
        """Note what is about to be published; from now on only higher ranks count."""
        self._put(item_id, Standing(rank, alive, arrived_ms, UNCONFIRMED))

    def confirm(self, item_id: str, rank: Rank, log_offset: int) -> None:
        """Note where a published rank stands, unless a higher one has come since."""
        standing = self.get(item_id)
        if standing is not None and standing.rank == rank:
            highest = max(standing.log_offset, log_offset)
            self._put(item_id, standing._replace(log_offset=highest))

    def observe(
        self, item_id: str, rank: Rank, alive: bool, arrived_ms: int, log_offset: int
    ) -> None:
        """Take in a record of `item-vectors`, whoever wrote it; called in the topic's order."""
        known = self.get(item_id)
        if known is None or rank > known.rank:
            self._put(item_id, Standing(rank, alive, arrived_ms, log_offset))
        elif rank == known.rank:
            self.confirm(item_id, rank, log_offset)
        elif log_offset > known.log_offset:
            self._suspects[item_id] = log_offset

    def to_mend(self) -> list[str]:
        """Return the items behind whose highest rank a lower one stands last.

        An unconfirmed item may still turn out to stand behind it, so it waits.
        """
        wrong = []
        for item_id, lower_at in list(self._suspects.items()):
            known = self.get(item_id)
            if known is None or known.log_offset > lower_at:
                del self._suspects[item_id]
            elif known.log_offset != UNCONFIRMED:
                wrong.append(item_id)
        return wrong

    def living(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return keys and versions, (n,) each, of the n items that are not deleted."""
        rows = self._rows.data[: self._count]
        alive = rows["alive"]
        return self._keys.data[: self._count][alive], rows["version"][alive]

    def _put(self, item_id: str, standing: Standing) -> None:
        key = self._key_of(item_id)
        row = self._by_key.row(key)
        if row < 0:
            row = self._count
            self._count += 1
            self._rows.reserve(self._count)
            self._keys.reserve(self._count)
            self._keys.data[row] = key
            self._by_key.put(key, row)
        rank, alive, arrived_ms, log_offset = standing
        check = crc32(item_id.encode())
        self._rows.data[row] = (*rank, alive, arrived_ms, log_offset, check)
