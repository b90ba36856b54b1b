"""A history as the bytes of its entries, oldest first (shared/states.py: ENTRY). Pure.

Bytes, not an object an entry: a history is at most 1,000 bytes, so shifting it by an entry costs
less than touching one entry's object would.
"""

from __future__ import annotations

from struct import Struct
from typing import Final
from zlib import crc32

import numpy as np

from shared.event_types import RATE, EventWeights
from shared.states import ENTRY, ENTRY_BYTES, ENTRY_STRUCT, HAS_VALUE, HISTORY_AT_MOST

_FULL: Final = HISTORY_AT_MOST * ENTRY_BYTES
_SECONDS_AT: Final = 8
_EVENT_ID_AT: Final = 12
_TYPE_AT: Final = 18
_KEY: Final = Struct("<Q")
_UINT: Final = Struct("<I")


def hash_of(text: str | None) -> int:
    """Return 4 bytes for an event or session id, never 0; 0 for none.

    Two event ids within one history share them with p = 10^-8; the second is then taken for a
    repetition of the first.
    """
    return (crc32(text.encode()) or 1) if text else 0


def holds_event(history: bytes, event_hash: int) -> bool:
    """Say whether an entry carries this hash of an event id."""
    wanted = _UINT.pack(event_hash)
    at = history.find(wanted)
    while at >= 0 and at % ENTRY_BYTES != _EVENT_ID_AT:
        at = history.find(wanted, at + 1)
    return at >= 0


def last_second(history: bytes) -> int:
    """Return the newest entry's second; 0 for an empty history."""
    if not history:
        return 0
    second: int = _UINT.unpack_from(history, len(history) - ENTRY_BYTES + _SECONDS_AT)[0]
    return second


def insert(history: bytes, entry: bytes) -> tuple[bytes, int]:
    """Put an entry in its place by second, behind those of the same second; drop the oldest of 51.

    Returns the history and the entry's position in bytes, -ENTRY_BYTES when it is itself what was
    dropped, being older than a full history reaches.
    """
    seconds = _UINT.unpack_from(entry, _SECONDS_AT)[0]
    at = len(history)
    if seconds < last_second(history):
        entries = np.frombuffer(history, ENTRY)
        at = ENTRY_BYTES * int(entries["seconds"].searchsorted(seconds, side="right"))
        history = history[:at] + entry + history[at:]
    else:
        history += entry
    if len(history) > _FULL:
        return history[ENTRY_BYTES:], at - ENTRY_BYTES
    return history, at


def items_before(
    history: bytes, at: int, item: int, count: int, weights: EventWeights
) -> list[int]:
    """Return keys of the nearest other items of positive entries before a position, nearest first.

    An item that stands there several times counts once, at its nearest.
    """
    by_code = weights.by_code
    found: list[int] = []
    while at and len(found) < count:
        at -= ENTRY_BYTES
        code = history[at + _TYPE_AT]
        if by_code[code] > 0 or (code == RATE and _rated_well(history, at, weights)):
            key = _KEY.unpack_from(history, at)[0]
            if key != item and key not in found:
                found.append(key)
    return found


def _rated_well(history: bytes, at: int, weights: EventWeights) -> bool:
    _, _, _, value, _, flags = ENTRY_STRUCT.unpack_from(history, at)
    return bool(flags & HAS_VALUE) and weights.rating(value) > 0
