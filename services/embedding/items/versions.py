"""Which record of an item counts: its version, and the order among records of one item. Pure.

An older record never changes what a newer one has done, in whatever order both are processed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from freshet.contract import records
from freshet.contract.topics import ITEMS


class Rank(NamedTuple):
    """A record's place among all records of its item; the greatest one counts.

    Equal versions: `items` before `items-backfill`, then the later offset. Offsets of two
    partitions do not compare; an item stands on two only if its producers hash differently.
    """

    version: int  # ms since 1970
    live: bool  # from `items`
    offset: int  # in its source topic


def rank(updated_ms: int | None, origin: records.Origin) -> Rank:
    """Return the rank of an item (its `updated_ms`, if any), or of a delete (None).

    An `updated_ms` later than the record's time is taken as the record's time, so that a wrong
    clock cannot lock an item for ever.
    """
    version = origin.time_ms if updated_ms is None else min(updated_ms, origin.time_ms)
    return Rank(version, origin.topic == ITEMS.name, origin.offset)


def headers(version: int, origin: records.Origin | None) -> list[tuple[str, bytes]]:
    """Return the headers of a record on `item-vectors`, from which `published_rank` reads again."""
    stated = [(records.VERSION, str(version).encode())]
    return stated if origin is None else [*stated, *records.origin_headers(origin)]


def published_rank(found: Iterable[tuple[str, bytes]]) -> Rank | None:
    """Return the rank that a record on `item-vectors` states, None if it states no version.

    Without an origin (written by something else) it ranks behind all records of its version.
    """
    pairs = list(found)
    version = _natural(records.header(pairs, records.VERSION))
    if version is None:
        return None
    topic, _, rest = (records.header(pairs, records.ORIGIN) or b"").partition(b":")
    offset = _natural(rest.rpartition(b":")[2])
    return Rank(version, offset is not None and topic == ITEMS.name.encode(), offset or 0)


def _natural(digits: bytes | None) -> int | None:
    return int(digits) if digits and digits.isdigit() and len(digits) <= 18 else None
