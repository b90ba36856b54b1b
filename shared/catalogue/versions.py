"""Order the records of one item, offer or user. Pure; as a table: services/embedding/README.md.

There are two clocks: the log's, which each record has, and the shop's (`updated_ms`), which some
state. Times of two clocks say nothing about each other, so the shop's is compared only among
records that state it, and only as far back as the last one that does not.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from freshet.contract.bounds import INT64_MAX
from freshet.contract.records import Origin
from freshet.contract.topics import ITEMS

UNSTATED: Final = -1
_PLACE: Final = np.dtype([("time_ms", "i8"), ("live", "?"), ("offset", "i8")])
# How an array holds versions: 42 bytes.
VERSION_DTYPE: Final[DTypeLike] = np.dtype(
    [("since", _PLACE), ("updated_ms", "i8"), ("place", _PLACE)]
)


class LogPlace(NamedTuple):
    """Where a record stands in the log.

    Equal times: `items` behind `items-backfill`, then by offset. Offsets of two partitions do not
    compare; a key stands on two only if its producers hash differently.
    """

    time_ms: int  # the record's
    live: bool  # in `items`
    offset: int


BEGINNING: Final = LogPlace(0, False, 0)


class RecordVersion(NamedTuple):
    """What orders the records of one thing; the greatest one counts."""

    since: LogPlace  # of the last record without `updated_ms` (a delete too), maybe this itself
    updated_ms: int  # never later than the record's time, lest a wrong clock lock the item
    place: LogPlace

    @classmethod
    def of(cls, row: Any) -> RecordVersion:
        """Return the version that an array of VERSION_DTYPE holds, given its `item()`."""
        since, updated_ms, place = row
        return cls(LogPlace(*since), updated_ms, LogPlace(*place))

    @classmethod
    def read(cls, written: bytes) -> RecordVersion:
        """Read what `written` gave, of a record that is no live item. Raises ValueError."""
        numbers = [int(digits) for digits in written.split(b":")]
        if not all(UNSTATED <= number <= INT64_MAX for number in numbers):
            raise ValueError(written)
        since_ms, since_offset, updated_ms, time_ms, offset = numbers
        return cls(
            LogPlace(since_ms, False, since_offset), updated_ms, LogPlace(time_ms, False, offset)
        )

    def written(self) -> bytes:
        """Write it for a header: `since_ms:since_offset:updated_ms:ms:offset`."""
        return b"%d:%d:%d:%d:%d" % (*self.since[::2], self.updated_ms, *self.place[::2])

    def is_behind(self, latest: RecordVersion) -> bool:
        """Say whether a record changes nothing beside what counts already.

        What states no time of its own goes by the log alone: also before what counts since it was
        not known yet that this one stands in between.
        """
        if self.updated_ms == UNSTATED:
            return self.place < latest.place
        return self < latest


def record_version(
    updated_ms: int | None, origin: Origin, latest: RecordVersion | None
) -> RecordVersion:
    """Return the version of a record with its `updated_ms`, if any; a delete has none.

    latest: what counts now, None if nothing is known of it.
    """
    place = LogPlace(origin.time_ms, origin.topic == ITEMS.name, origin.offset)
    if updated_ms is None:
        return RecordVersion(place, UNSTATED, place)
    since = BEGINNING if latest is None or place < latest.since else latest.since
    return RecordVersion(since, min(updated_ms, place.time_ms), place)
