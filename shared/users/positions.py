"""Pack the value of `pos:TOPIC:PARTITION`: how far a partition's events are in Redis.

Sessions writes it with every script; ranking reads it to know whether a position token is reached.
32 bytes, big endian: offset (int64), record time of that offset in ms (int64), stamp (16 bytes).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

_LAYOUT: Final = struct.Struct(">qq16s")
UNKNOWN_TIME_MS: Final = -1  # nothing of the partition has been applied yet


class Position(NamedTuple):
    """Everything up to and including `offset` is applied."""

    offset: int  # -1 before the first record
    time_ms: int  # record time at `offset`, or UNKNOWN_TIME_MS
    stamp: bytes  # 16 bytes, of the last script for this partition, never used twice

    def pack(self) -> bytes:
        """Return the 32 bytes that stand in Redis."""
        return _LAYOUT.pack(self.offset, self.time_ms, self.stamp)


def misfit(position: Position, name: str, begin: int, end: int, time_ms: int | None) -> str | None:
    """Say how it shows that a position was reached in another log; None if it can be of this one.

    name: the partition's. begin, end: what the log holds of it. time_ms: of the record that is at
    the position's offset, None if there is none; asked only where `has_time` says so.
    """
    if position.offset >= end:
        return f"it is at offset {position.offset} of {name}, which ends before {end}"
    if not has_time(position, begin, end) or time_ms == position.time_ms:
        return None
    shown = "holds no record" if time_ms is None else f"has record time {time_ms} ms"
    return f"{name} {shown} at offset {position.offset}, where Redis notes {position.time_ms} ms"


def has_time(position: Position, begin: int, end: int) -> bool:
    """Say whether a position's time can be compared with that of a record which the log holds."""
    return position.time_ms != UNKNOWN_TIME_MS and begin <= position.offset < end


def unpack(value: bytes) -> Position:
    """Read a `pos:` value. Raises ValueError when it is none."""
    if len(value) != _LAYOUT.size:
        raise ValueError(f"a position has {_LAYOUT.size} bytes, not {len(value)}")
    return Position(*_LAYOUT.unpack(value))
