"""Pack a user's state into its bytes, one Redis value with all that is kept of a user; unpack it.

A `UserState` keeps its parts as the bytes that Redis holds and decodes them when asked, because the
worker carries thousands of states a second through without looking into most of them. Two states
are equal exactly when their bytes are.

Layout, little-endian:

    bytes   what
    1       format: 1 wherever a state fits it, else 2
    2       n, partitions in the guard; then for each, ascending:
    12·n      partition (4), last offset applied (8)
            ... `guard_of` is everything up to here: a prefix, so a script compares it in place
    8       forgotten_at, ms since 1970; 0: never
    4       hash of the last session id; 0: none yet
    1       h, entries in the history (at most 200)
    1, 1    hidden, purchased: item keys in each list (at most 200)
            ... in format 2 instead 2, 2, 2, 2: hidden, disliked, purchased, then bytes of names
    1       s, bytes of the space's name
    1       vectors present: bit 0 session, bit 1 long-term, bits 2-3 number of interests
    2       d, dimensions
    20·h    history, oldest first: see ENTRY
    8·...   item keys hidden, disliked (format 2), purchased, newest last
    ...     format 2: names of event types that no setting knows, UTF-8, parted by line ends
    s       space, UTF-8
    4+d     for each vector: scale (float32), then int8; its value is scale · int8

Format 1 is what 0.1.0 wrote: it listed disliked items with the hidden ones and knew no names.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

FORMATS: Final = (1, 2)
FORMATS_TO_COME: Final = range(3, 32)  # any other first byte is damage
HISTORY_USUAL: Final = 50  # entries, where no setting says more; earlier releases read no more
HISTORY_AT_MOST: Final = 200
NAMES_AT_MOST: Final = 64  # of types that no setting knows
FORMAT_1_KEYS: Final = 200  # in each list at most
KEYS_AT_MOST: Final = 2**16 - 1  # in each list
INTERESTS_AT_MOST: Final = 3

STARTS_SESSION: Final = 1  # flag: the event brought another session id than the last seen
HAS_VALUE: Final = 2  # flag: the event carried a value
LACKS_VECTOR: Final = 4  # flag: the item had none when the state's vectors were computed
REPEATS_VISIT: Final = (
    8  # flag: another visit to the item within a half-life of trending was counted
)
NEVER_COUNTED: Final = 16  # flag: no catalogue had the item when its event came

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
_HEADS: Final = {1: struct.Struct("<qIBBBBBH"), 2: struct.Struct("<qIBHHHHBBH")}
_NAMES_END: Final = "\n"  # a control character: no type has one
_SCALE: Final = struct.Struct("<f")

Floats = NDArray[np.float32]


class NewerFormat(ValueError):
    """A state that a newer program wrote: nothing is wrong with it."""


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
    hidden_bytes: bytes = b""
    disliked_bytes: bytes = b""
    purchased_bytes: bytes = b""
    type_names: tuple[str, ...] = ()  # of types that only they name (event_types.py: UNKNOWN)
    vectors: UserVectors = NO_VECTORS

    @property
    def history(self) -> NDArray[np.void]:
        """The last events, oldest first: (n,) of ENTRY, read-only."""
        return np.frombuffer(self.history_bytes, ENTRY)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Item keys that the user hid, newest last."""
        return _keys(self.hidden_bytes)

    @property
    def disliked(self) -> tuple[int, ...]:
        """Item keys that the user disliked, newest last."""
        return _keys(self.disliked_bytes)

    @property
    def excluded(self) -> tuple[int, ...]:
        """Item keys that the user hid or disliked, each once."""
        return tuple(dict.fromkeys(self.hidden + self.disliked))

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
    return _pack_guard(state.guard, _format(state))


def _pack_guard(guard: dict[int, int], version: int) -> bytes:
    if len(guard) == 1:
        ((partition, offset),) = guard.items()
        return _ONE_GUARD.pack(version, 1, partition, offset)
    entries = [_GUARD_ENTRY.pack(*entry) for entry in sorted(guard.items())]
    return _GUARD_HEAD.pack(version, len(entries)) + b"".join(entries)


def pack(state: UserState) -> bytes:
    """Return the state's bytes, the same for equal states."""
    vectors = state.vectors
    space = vectors.space.encode()
    hidden, purchased = len(state.hidden_bytes) // 8, len(state.purchased_bytes) // 8
    names, version = b"", _format(state)
    lists: tuple[int, ...] = (hidden, purchased)
    if version == 2:
        names = _NAMES_END.join(state.type_names).encode()
        lists = (hidden, len(state.disliked_bytes) // 8, purchased, len(names))
    return b"".join(
        (
            _pack_guard(state.guard, version),
            _HEADS[version].pack(
                state.forgotten_at_ms,
                state.session_hash,
                len(state.history_bytes) // ENTRY_BYTES,
                *lists,
                len(space),
                vectors.present,
                vectors.dim,
            ),
            state.history_bytes,
            state.hidden_bytes,
            state.disliked_bytes,
            state.purchased_bytes,
            names,
            space,
            vectors.data,
        )
    )


def guard_of(value: bytes) -> bytes:
    """Return the part of a packed state that its guard takes; empty for an absent (empty) value.

    Raises ValueError if the value is no packed state.
    """
    return value[: _guard_end(value)] if value else b""


def with_guard(value: bytes, change: Callable[[dict[int, int]], dict[int, int]]) -> bytes:
    """Return a packed state with another guard: partition → last offset applied.

    Raises ValueError if the value is no packed state.
    """
    end = _guard_end(value)
    return _pack_guard(change(_guard(value[_GUARD_HEAD.size : end])), value[0]) + value[end:]


def unpack(value: bytes) -> UserState:
    """Read a packed state.

    Raises NewerFormat, or ValueError saying what is wrong with the bytes; no length in them is
    trusted.
    """
    at_head, version = _guard_end(value), value[0]
    guard = _guard(value[_GUARD_HEAD.size : at_head])
    at_history = at_head + _HEADS[version].size
    if len(value) < at_history:
        raise _damaged(f"{len(value)} bytes end before the head does, at {at_history}")
    head = _HEADS[version].unpack_from(value, at_head)
    forgotten_at_ms, session_hash, entries, *lists, named, present, dim = head
    hidden, disliked, purchased, names = lists if version == 2 else (lists[0], 0, lists[1], 0)
    at_hidden = at_history + ENTRY_BYTES * entries
    at_disliked = at_hidden + 8 * hidden
    at_purchased = at_disliked + 8 * disliked
    at_names = at_purchased + 8 * purchased
    at_space = at_names + names
    at_vectors = at_space + named
    end = at_vectors + ((present & 1) + (present >> 1 & 1) + (present >> 2)) * (4 + dim)
    if len(value) != end:
        raise _damaged(f"{len(value)} bytes where its counts need {end}")
    if (
        forgotten_at_ms < 0
        or entries > HISTORY_AT_MOST
        or (version == 1 and max(hidden, purchased) > FORMAT_1_KEYS)
        or present >= 4 * (INTERESTS_AT_MOST + 1)
    ):
        raise _damaged(f"its head is out of bounds: {head}")
    for at in range(at_vectors, end, 4 + dim):
        if not 0 <= _SCALE.unpack_from(value, at)[0] <= 1:  # NaN is not either
            raise _damaged("the scale of a vector is not between 0 and 1")
    state = UserState(
        guard,
        forgotten_at_ms,
        session_hash,
        value[at_history:at_hidden],
        value[at_hidden:at_disliked],
        value[at_disliked:at_purchased],
        value[at_purchased:at_names],
        _names(value[at_names:at_space]) if names else (),
        UserVectors(
            _text(value[at_space:at_vectors], "the space"), dim, present, value[at_vectors:]
        ),
    )
    if version == 2 and _format(state) == 1:  # guards of equal states would differ
        raise _damaged("it fits format 1 and stands in format 2")
    return state


def _format(state: UserState) -> int:
    """Return the first format that has room for a state: a function of it, so guards compare."""
    fits = len(state.hidden_bytes) <= 8 * FORMAT_1_KEYS >= len(state.purchased_bytes)
    return 1 if fits and not (state.disliked_bytes or state.type_names) else 2


def _names(data: bytes) -> tuple[str, ...]:
    names = tuple(_text(data, "a name").split(_NAMES_END))
    if len(names) > NAMES_AT_MOST:
        raise _damaged(f"it has {len(names)} names of types")
    return names


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _damaged(f"{what} is not UTF-8") from None


def _guard_end(value: bytes) -> int:
    if len(value) < _GUARD_HEAD.size:
        raise _damaged(f"{len(value)} bytes are no state")
    version, partitions = _GUARD_HEAD.unpack_from(value)
    if version not in FORMATS:
        kind = NewerFormat if version in FORMATS_TO_COME else ValueError
        raise kind(f"user state of format {version}: this program reads formats 1 and 2")
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
