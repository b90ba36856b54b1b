"""Order the records of one item by their versions. Pure.

An older record never changes what a newer one has done, in whatever order both are processed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from freshet.contract import records
from freshet.contract.topics import ITEMS


class RecordVersion(NamedTuple):
    """What orders the records of an item; the greatest one counts.

    Equal times: `items` before `items-backfill`, then the later offset. Offsets of two partitions
    do not compare; an item stands on two only if its producers hash differently.
    """

    time_ms: int  # since 1970; what the header `version` states
    live: bool  # from `items`
    offset: int  # in its source topic


def record_version(updated_ms: int | None, origin: records.Origin) -> RecordVersion:
    """Return the version of an item (its `updated_ms`, if any), or of a delete (None).

    An `updated_ms` later than the record's time is taken as the record's time, so that a wrong
    clock cannot lock an item for ever.
    """
    time_ms = origin.time_ms if updated_ms is None else min(updated_ms, origin.time_ms)
    return RecordVersion(time_ms, origin.topic == ITEMS.name, origin.offset)


def headers(time_ms: int, origin: records.Origin | None) -> list[tuple[str, bytes]]:
    """Return a record's headers on `item-vectors`, from which `published_version` reads again."""
    stated = [(records.VERSION, str(time_ms).encode())]
    return stated if origin is None else [*stated, *records.origin_headers(origin)]


def published_version(stated: Iterable[tuple[str, bytes]]) -> RecordVersion | None:
    """Return the version that a record on `item-vectors` states, None if it states none.

    Without an origin (written by something else) it goes behind all records of its time.
    """
    pairs = list(stated)
    time_ms = _natural(records.header(pairs, records.VERSION))
    if time_ms is None:
        return None
    topic, _, rest = (records.header(pairs, records.ORIGIN) or b"").partition(b":")
    offset = _natural(rest.rpartition(b":")[2])
    return RecordVersion(time_ms, offset is not None and topic == ITEMS.name.encode(), offset or 0)


def _natural(digits: bytes | None) -> int | None:
    return int(digits) if digits and digits.isdigit() and len(digits) <= 18 else None
