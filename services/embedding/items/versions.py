"""State an item's version on `item-vectors`, and read it again. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from freshet.contract import records
from freshet.contract.topics import ITEMS
from shared.catalogue.versions import BEGINNING, UNSTATED, LogPlace, RecordVersion


class Stated(NamedTuple):
    """What a record on `item-vectors` states of its version."""

    version: RecordVersion
    version_ms: int  # the header `version`, by which readers go: log time, and it never falls


def deleted_unseen(version_ms: int) -> RecordVersion:
    """Return the version of a delete that no log holds any more: right after what was stated."""
    place = LogPlace(version_ms + 1, False, 0)
    return RecordVersion(place, UNSTATED, place)


def headers(stated: Stated, origin: records.Origin | None) -> list[tuple[str, bytes]]:
    """Return a record's headers on `item-vectors`, from which `read_stated` reads again."""
    version, version_ms = stated
    described = [(records.VERSION, b"%d" % version_ms)]
    if version.since not in (BEGINNING, version.place):
        described.append((records.SINCE, b"%d:%d:%d" % version.since))
    return described if origin is None else [*described, *records.origin_headers(origin)]


def read_stated(described: Iterable[tuple[str, bytes]], updated_ms: int | None) -> Stated | None:
    """Return what the headers of a record on `item-vectors` state, None if they state no version.

    updated_ms: its item's, if any. Without an origin (written by something else) it goes behind
    all records of its time.
    """
    pairs = list(described)
    version_ms = _natural(records.header(pairs, records.VERSION))
    if version_ms is None:
        return None
    place = _place(pairs, version_ms)
    if updated_ms is None:
        return Stated(RecordVersion(place, UNSTATED, place), version_ms)
    since = _since(records.header(pairs, records.SINCE))
    return Stated(RecordVersion(since, min(updated_ms, place.time_ms), place), version_ms)


def _place(pairs: list[tuple[str, bytes]], version_ms: int) -> LogPlace:
    topic, _, rest = (records.header(pairs, records.ORIGIN) or b"").partition(b":")
    offset = _natural(rest.rpartition(b":")[2])
    time_ms = _natural(records.header(pairs, records.ORIGIN_TIME_MS))
    if offset is None or time_ms is None:
        return LogPlace(version_ms, False, 0)
    return LogPlace(time_ms, topic == ITEMS.name.encode(), offset)


def _since(stated: bytes | None) -> LogPlace:
    parts = [_natural(digits) for digits in (stated or b"").split(b":")]
    if len(parts) != 3 or None in parts:
        return BEGINNING
    time_ms, live, offset = (part or 0 for part in parts)
    return LogPlace(time_ms, bool(live), offset)


def _natural(digits: bytes | None) -> int | None:
    return int(digits) if digits and digits.isdigit() and len(digits) <= 18 else None
