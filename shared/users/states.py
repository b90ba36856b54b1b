"""Pack a user's state into its bytes, one Redis value with all that is kept of a user; unpack it.

A `UserState` keeps its parts as the bytes that Redis holds and decodes them when asked, because the
worker carries thousands of states a second through without looking into most of them. Two states
are equal exactly when their bytes are.

Layout, little-endian:

    bytes   what
    1       format
    2       n, partitions in the guard; then for each, ascending:
    12·n      partition (4), last offset applied (8)
            ... `guard_of` is everything up to here: a prefix, so a script compares it in place
    8       forgotten_at, ms since 1970; 0: never
    4       hash of the last session id; 0: none yet
    1       h, entries in the history (at most 50)
    1, 1    excluded, purchased: item keys in each list (at most 200)
    1       s, bytes of the space's name
    1       vectors present: bit 0 session, bit 1 long-term, bits 2-3 number of interests
    2       d, dimensions
    20·h    history, oldest first: see ENTRY
    8·...   item keys excluded (hide, dislike), then purchased, newest last
    s       space, UTF-8
    4+d     for each vector: scale (float32), then int8; its value is scale · int8
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

FORMAT: Final = 1
HISTORY_AT_MOST: Final = 50  # entries
EXCLUSIONS_AT_MOST: Final = 200  # item keys in each of the two lists
INTERESTS_AT_MOST: Final = 3

STARTS_SESSION: Final = 1  # flag: the event brought another session id than the last seen
HAS_VALUE: Final = 2  # flag: the event carried a value

ENTRY: Final = np.dtype(
    [
        ("item", "<u8"),  # item key
        ("seconds", "<u4"),  # since 1970 UTC
        ("event_id", "<u4"),  # hash of the event id; 0: none
        ("value", "<f2"),  # rating, dwell seconds, amount; 0 without HAS_VALUE
        ("type", "u1"),  # shared/users/event_types.py
        ("flags", "u1"),
    ]
)
ENTRY_STRUCT: Final = struct.Struct("<QIIeBB")  # the same, for one entry
ENTRY_BYTES: Final = ENTRY_STRUCT.size

_GUARD_HEAD: Final = struct.Struct("<BH")
_GUARD_ENTRY: Final = struct.Struct("<Iq")
_ONE_GUARD: Final = struct.Struct("<BHIq")  # nearly every user comes on one partition
_HEAD: Final = struct.Struct("<qIBBBBBH")
_SCALE: Final = struct.Struct("<f")

Floats = NDArray[np.float32]


class UserVectors(msgspec.Struct, frozen=True, gc=False):
    """A user's vectors in one space, as int8 with a scale each.

    `data` holds the vectors that `present` names (see the module), each 4 + dim bytes. Decoded they
    are float32 of unit length, give or take the rounding to int8.
    """

    space: str = ""
    dim: int = 0
    present: int = 0
    data: bytes = b""

    @property
    def session(self) -> Floats | None:
        """The present session's vector (dim,), None when nothing of it has a vector."""
        return self.decoded()[0]

    @property
    def long_term(self) -> Floats | None:
        """The whole history's vector (dim,), None when nothing of it has a vector."""
        return self.decoded()[1]

    @property
    def interests(self) -> Floats:
        """Up to 3 vectors (n, dim), the weightiest first."""
        return self.decoded()[2]

    def decoded(self) -> tuple[Floats | None, Floats | None, Floats]:
        """Return `session`, `long_term` and `interests` at the cost of one of them."""
        rows = np.frombuffer(self.data, np.uint8).reshape(-1, 4 + self.dim)
        scales = rows[:, :4].copy().view("<f4")  # (n, 1)
        vectors: Floats = rows[:, 4:].view(np.int8).astype(np.float32) * scales  # (n, dim)
        has_session, has_long_term = self.present & 1, self.present >> 1 & 1
        return (
            vectors[0] if has_session else None,
            vectors[has_session] if has_long_term else None,
            vectors[has_session + has_long_term :],
        )


NO_VECTORS: Final = UserVectors()


class UserState(msgspec.Struct, frozen=True, gc=False):
    """All that is kept of a user. Never change `guard` in place: states are shared."""

    guard: dict[int, int] = {}  # partition → last offset applied
    forgotten_at_ms: int = 0
    session_hash: int = 0
    history_bytes: bytes = b""
    excluded_bytes: bytes = b""
    purchased_bytes: bytes = b""
    vectors: UserVectors = NO_VECTORS

    @property
    def history(self) -> NDArray[np.void]:
        """The last events, oldest first: (n,) of ENTRY, read-only."""
        return np.frombuffer(self.history_bytes, ENTRY)

    @property
    def excluded(self) -> tuple[int, ...]:
        """Item keys that the user hid or disliked, newest last."""
        return _keys(self.excluded_bytes)

    @property
    def purchased(self) -> tuple[int, ...]:
        """Item keys that the user bought, newest last."""
        return _keys(self.purchased_bytes)

    @property
    def space(self) -> str:
        """The vectors' space; empty before the first vectors."""
        return self.vectors.space

    @property
    def session(self) -> Floats | None:
        """See UserVectors.session."""
        return self.vectors.session

    @property
    def long_term(self) -> Floats | None:
        """See UserVectors.long_term."""
        return self.vectors.long_term

    @property
    def interests(self) -> Floats:
        """See UserVectors.interests."""
        return self.vectors.interests


_EMPTY: Final = UserState()


def empty() -> UserState:
    """Return the state of a user of whom nothing is known."""
    return _EMPTY


def pack_guard(state: UserState) -> bytes:
    """Return the bytes that `guard_of` finds in the state's packed value."""
    guard = state.guard
    if len(guard) == 1:
        ((partition, offset),) = guard.items()
        return _ONE_GUARD.pack(FORMAT, 1, partition, offset)
    entries = [_GUARD_ENTRY.pack(*entry) for entry in sorted(guard.items())]
    return _GUARD_HEAD.pack(FORMAT, len(entries)) + b"".join(entries)


def pack(state: UserState) -> bytes:
    """Return the state's bytes, the same for equal states."""
    vectors = state.vectors
    space = vectors.space.encode()
    return b"".join(
        (
            pack_guard(state),
            _HEAD.pack(
                state.forgotten_at_ms,
                state.session_hash,
                len(state.history_bytes) // ENTRY_BYTES,
                len(state.excluded_bytes) // 8,
                len(state.purchased_bytes) // 8,
                len(space),
                vectors.present,
                vectors.dim,
            ),
            state.history_bytes,
            state.excluded_bytes,
            state.purchased_bytes,
            space,
            vectors.data,
        )
    )


def guard_of(value: bytes) -> bytes:
    """Return the part of a packed state that its guard takes; empty for an absent (empty) value.

    Raises ValueError if the value is no packed state.
    """
    return value[: _guard_end(value)] if value else b""


def unpack(value: bytes) -> UserState:
    """Read a packed state.

    Raises ValueError saying what is wrong with the bytes; no length in them is trusted.
    """
    at_head = _guard_end(value)
    guard = _guard(value[_GUARD_HEAD.size : at_head])
    at_history = at_head + _HEAD.size
    if len(value) < at_history:
        raise _damaged(f"{len(value)} bytes end before the head does, at {at_history}")
    head = _HEAD.unpack_from(value, at_head)
    forgotten_at_ms, session_hash, entries, excluded, purchased, named, present, dim = head
    at_excluded = at_history + ENTRY_BYTES * entries
    at_purchased = at_excluded + 8 * excluded
    at_space = at_purchased + 8 * purchased
    at_vectors = at_space + named
    end = at_vectors + ((present & 1) + (present >> 1 & 1) + (present >> 2)) * (4 + dim)
    if len(value) != end:
        raise _damaged(f"{len(value)} bytes where its counts need {end}")
    if (
        forgotten_at_ms < 0
        or entries > HISTORY_AT_MOST
        or max(excluded, purchased) > EXCLUSIONS_AT_MOST
        or present >= 4 * (INTERESTS_AT_MOST + 1)
    ):
        raise _damaged(f"its head is out of bounds: {head}")
    for at in range(at_vectors, end, 4 + dim):
        if not 0 <= _SCALE.unpack_from(value, at)[0] <= 1:  # NaN is not either
            raise _damaged("the scale of a vector is not between 0 and 1")
    try:
        space = value[at_space:at_vectors].decode()
    except UnicodeDecodeError:
        raise _damaged("the space is not UTF-8") from None
    return UserState(
        guard,
        forgotten_at_ms,
        session_hash,
        value[at_history:at_excluded],
        value[at_excluded:at_purchased],
        value[at_purchased:at_space],
        UserVectors(space, dim, present, value[at_vectors:]),
    )


def _guard_end(value: bytes) -> int:
    if len(value) < _GUARD_HEAD.size:
        raise _damaged(f"{len(value)} bytes are no state")
    version, partitions = _GUARD_HEAD.unpack_from(value)
    if version != FORMAT:
        raise ValueError(f"user state of format {version}: this program reads format {FORMAT}")
    end: int = _GUARD_HEAD.size + partitions * _GUARD_ENTRY.size
    if len(value) < end:
        raise _damaged(f"{len(value)} bytes end before the guard does, at {end}")
    return end


def _guard(entries: bytes) -> dict[int, int]:
    guard: dict[int, int] = {}
    last = -1
    for partition, offset in _GUARD_ENTRY.iter_unpack(entries):
        if partition <= last or offset < 0:
            raise _damaged(f"its guard says offset {offset} of partition {partition} after {last}")
        guard[partition] = offset
        last = partition
    return guard


def _damaged(what: str) -> ValueError:
    return ValueError(f"damaged user state: {what}")


def _keys(data: bytes) -> tuple[int, ...]:
    keys: tuple[int, ...] = struct.unpack(f"<{len(data) // 8}Q", data)
    return keys
