"""A history as the bytes of its entries, oldest first (shared/users/states.py: ENTRY). Pure.

Bytes, not an object an entry: a history is at most 1,000 bytes, so shifting it by an entry costs
less than touching one entry's object would.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.users.event_types import EventWeights
from shared.users.states import ENTRY, ENTRY_BYTES, HISTORY_AT_MOST

_FULL: Final = HISTORY_AT_MOST * ENTRY_BYTES
_NEAR: Final = 16 * ENTRY_BYTES  # within so many entries 5 other items are nearly always found
_EVENT_ID_AT: Final = 12  # of an entry's bytes
_UINT: Final = Struct("<I")
_NEWEST_SECOND: Final = -ENTRY_BYTES + 8


def newest_second(history: bytes) -> int:
    """Return the newest entry's second; 0 for an empty history."""
    if not history:
        return 0
    second: int = _UINT.unpack_from(history, len(history) + _NEWEST_SECOND)[0]
    return second


def holds_event(history: bytes, event_hash: int) -> bool:
    """Say whether an entry carries this hash of an event id."""
    if event_hash & 0xFF not in history[_EVENT_ID_AT::ENTRY_BYTES]:  # no entry shares even a byte
        return False
    wanted = _UINT.pack(event_hash)
    at = history.find(wanted)
    while at >= 0 and at % ENTRY_BYTES != _EVENT_ID_AT:
        at = history.find(wanted, at + 1)
    return at >= 0


def append(history: bytes, entry: bytes) -> tuple[bytes, int]:
    """Put an entry last, dropping the oldest of 51; return the history and the entry's position."""
    at = len(history)
    if at < _FULL:
        return history + entry, at
    return history[ENTRY_BYTES:] + entry, at - ENTRY_BYTES


def insert(history: bytes, entry: bytes, second: int) -> tuple[bytes, int]:
    """Put an entry behind all that are not later, dropping the oldest of 51.

    Returns the history and the entry's position, negative when it is itself what was dropped:
    older than a full history reaches.
    """
    seconds = np.frombuffer(history, ENTRY)["seconds"]
    at = ENTRY_BYTES * int(seconds.searchsorted(second, side="right"))
    longer = history[:at] + entry + history[at:]
    if len(longer) <= _FULL:
        return longer, at
    return longer[ENTRY_BYTES:], at - ENTRY_BYTES


def items_before(
    items: NDArray[np.uint64],
    histories: Sequence[bytes],
    places: Sequence[int],
    reach: int,
    weights: EventWeights,
) -> NDArray[np.uint64]:
    """Return the nearest other items of positive entries before each of m entries, nearest first.

    items: item keys of the entries (m,); places: where they stand in their histories, in bytes;
    negative for one that does not, which has nothing before it.
    An item that stands there several times counts once, at its nearest. Returns keys (m, reach), 0
    where there are no more.
    """
    ends = np.maximum(places, 0)
    begins = np.maximum(ends - _NEAR, 0)
    near = [
        history[begin:end]
        for history, begin, end in zip(histories, begins.tolist(), ends.tolist(), strict=True)
    ]
    found = _nearest(items, near, reach, weights)
    short = np.flatnonzero((found[:, -1] == 0) & (begins > 0))
    if len(short):
        whole = [histories[n][: places[n]] for n in short.tolist()]
        found[short] = _nearest(items[short], whole, reach, weights)
    return found


def _nearest(
    items: NDArray[np.uint64], pasts: Sequence[bytes], reach: int, weights: EventWeights
) -> NDArray[np.uint64]:
    width = max(map(len, pasts))
    padded = b"".join([past.rjust(width, b"\0") for past in pasts])
    entries = np.frombuffer(padded, ENTRY).reshape(len(pasts), -1)  # (m, w)
    keys = np.where(weights.of(entries) > 0, entries["item"], np.uint64(0))
    found = np.zeros((len(pasts), reach), np.uint64)
    counts = np.zeros(len(pasts), np.intp)
    searching = np.arange(len(pasts))
    for slot in range(keys.shape[1] - 1, -1, -1):
        key = keys[searching, slot]
        new = (key != 0) & (key != items[searching])
        new &= (found[searching] != key[:, None]).all(axis=1)
        hits = searching[new]
        found[hits, counts[hits]] = key[new]
        counts[hits] += 1
        searching = searching[counts[searching] < reach]
        if not len(searching):
            break
    return found
