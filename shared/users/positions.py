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


def unpack(value: bytes) -> Position:
    """Read a `pos:` value. Raises ValueError when it is none."""
    if len(value) != _LAYOUT.size:
        raise ValueError(f"a position has {_LAYOUT.size} bytes, not {len(value)}")
    return Position(*_LAYOUT.unpack(value))
