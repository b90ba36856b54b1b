"""Compute a user's vectors from the history alone: session, long-term, interests.

Pure, and the same for each user whatever other users stand in the call, so that other batches give
the same bytes: no sum runs over users, and each user's matrix product is one of its own whose shape
depends on nothing but the length of its history (products of other shapes may round otherwise).

Legend: u users; n entries, the history padded in front with entries that weigh nothing;
d dimensions; 5 vectors: session, long-term, three interests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshet.settings import setting
from shared.catalogue.catalogue import Items
from shared.users.event_types import EventWeights
from shared.users.states import (
    ENTRY,
    HISTORY_AT_MOST,
    HISTORY_USUAL,
    INTERESTS_AT_MOST,
    LACKS_VECTOR,
    NO_VECTORS,
    STARTS_SESSION,
    Floats,
    UserVectors,
)

_ENTRIES_AT_ONCE: Final = 256 * 50  # their vectors (x 64 float32, 3 MiB) stay in the cache
_SHORT: Final = 10  # entries: newcomers' histories are padded to these, others to full ones
_CANCELLED: Final = 1e-12  # squared: a sum this small beside its weights is rounding, no direction
_VANISHED: Final = 1e-30  # squared: decayed to where float32 ends
_TAKEN_BACK: Final = 1e-5  # of an item's weight: what is left is rounding
_FLAGS: Final = np.array([1, 2, 4, 4, 4])  # of UserVectors.present


@dataclass(frozen=True)
class VectorSettings:
    """Numbers that make histories and vectors; sessions and ranking must run with the same."""

    history: int = setting(
        "FRESHET_HISTORY",
        HISTORY_USUAL,
        at_least=HISTORY_USUAL,
        at_most=HISTORY_AT_MOST,
        help="events that are kept of a user, 20 bytes of Redis each",
    )
    weights: EventWeights = field(default_factory=EventWeights)
    session_gap_s: int = setting(
        "FRESHET_SESSION_GAP_S",
        1_800,
        at_least=1,
        at_most=86_400,
        help="s without an event that end a session; half an hour is the custom of web analytics",
    )
    session_half_life_s: float = setting(
        "FRESHET_SESSION_HALF_LIFE_S",
        1_200.0,
        at_least=1,
        help="s until an event counts half for the session: interest drifts within a visit",
    )
    long_term_half_life_s: float = setting(
        "FRESHET_LONG_TERM_HALF_LIFE_S",
        14 * 86_400.0,
        at_least=1,
        help="s until an event counts half for long-term vector and interests: two weeks of habit",
    )
    interest_cosine: float = setting(
        "FRESHET_INTEREST_COSINE",
        0.5,
        at_least=0,
        at_most=1,
        help="items at least this close to an interest's leader belong to it",
    )


def session_vectors(
    histories: Sequence[bytes], items: Items, settings: VectorSettings
) -> list[UserVectors]:
    """Return the vectors of each history, in the space of `items`.

    histories: bytes of states.ENTRY, oldest first, of any length.
    Session: unit vector of Σ w · 2^(−age / half-life) · v(item) over the entries since the session
    began, age counted from the last entry. Long-term: the same over all. What speaks against an
    item takes from what speaks for it, and no more: away from something is no direction.
    Interests: of the entries, the weightiest (then the newest) leads and takes in all within the
    cosine; of the rest again, at most 3 times; what no leader takes stays in the long-term vector.
    Items without a vector count for nothing until they have one.
    """
    of_width: dict[int, list[int]] = {}
    for user, history in enumerate(histories):
        of_width.setdefault(_width(len(history)), []).append(user)
    blocks = [
        (users[at : at + at_once], width)
        for width, users in of_width.items()
        for at_once in (_ENTRIES_AT_ONCE // max(width, HISTORY_USUAL),)
        for at in range(0, len(users), at_once)
    ]
    weighed = [
        _weigh([histories[user] for user in users], width, items, settings)
        for users, width in blocks
    ]
    rows = _RowVectors(items, [block.rows for block in weighed])
    found: list[UserVectors] = [NO_VECTORS] * len(histories)
    for (users, _), block in zip(blocks, weighed, strict=True):
        for user, vectors in zip(users, _vectors(block, rows, items, settings), strict=True):
            found[user] = vectors
    return found


def marked(histories: Sequence[bytes], items: Items) -> list[bytes]:
    """Return histories in which the entries whose item has no vector are marked, and no others.

    So a reader sees that an item has come since the vectors were computed.
    """
    entries = np.frombuffer(b"".join(histories), ENTRY)
    lacking = np.where(items.rows(entries["item"]) < 0, np.uint8(LACKS_VECTOR), np.uint8(0))
    changed = entries["flags"] & LACKS_VECTOR != lacking
    if not changed.any():
        return list(histories)
    entries = entries.copy()
    entries["flags"][changed] ^= LACKS_VECTOR
    packed = entries.tobytes()
    ends = np.cumsum([len(history) for history in histories]).tolist()
    return [packed[begin:end] for begin, end in pairwise([0, *ends])]


def _width(history_bytes: int) -> int:
    """Return the number of entries that a history is padded to: few, so that users share a call."""
    entries = history_bytes // ENTRY.itemsize
    return _SHORT if entries <= _SHORT else -(-entries // HISTORY_USUAL) * HISTORY_USUAL


class _Block(NamedTuple):
    """Some users' entries, each (u, n): row in the catalogue and weights from 0 on."""

    rows: NDArray[np.int64]
    session: Floats
    long_term: Floats


def _weigh(
    histories: Sequence[bytes], width: int, items: Items, settings: VectorSettings
) -> _Block:
    size = width * ENTRY.itemsize
    padded = b"".join([history.rjust(size, b"\0") for history in histories])
    entries = np.frombuffer(padded, ENTRY).reshape(len(histories), width)  # (u, n)
    rows = items.rows(entries["item"].ravel()).reshape(entries.shape)
    seconds = entries["seconds"].astype(np.int64)
    weights = np.where(rows < 0, np.float32(0), settings.weights.of(entries))
    age = np.maximum(seconds[:, -1:] - seconds, 0).astype(np.float32)
    long_term = weights * np.exp2(age * np.float32(-1 / settings.long_term_half_life_s))
    session = weights * np.exp2(age * np.float32(-1 / settings.session_half_life_s))
    starts = (entries["flags"] & STARTS_SESSION) != 0
    starts[:, 1:] |= np.diff(seconds) > settings.session_gap_s
    # An entry is of the present session if none after it starts one.
    later = np.cumsum(starts[:, :0:-1], axis=1, dtype=np.int16)[:, ::-1]
    session[:, :-1][later > 0] = 0
    return _Block(np.maximum(rows, 0), _netted(session, rows), _netted(long_term, rows))


def _netted(weights: Floats, rows: NDArray[np.int64]) -> Floats:
    """Let the negative weights of each row take from its positive ones; all (u, n)."""
    users = np.flatnonzero((weights < 0).any(axis=1))  # few: the rest stays as it is
    if not len(users):
        return weights
    some, of = weights[users], rows[users]
    positive = np.maximum(some, 0)
    same = (of[:, :, None] == of[:, None, :]).astype(np.float32)  # (u, n, n)
    left, given = np.matmul(same, some[:, :, None]), np.matmul(same, positive[:, :, None])
    some_left = left > given * np.float32(_TAKEN_BACK)
    shares = np.divide(left, given, out=np.zeros_like(left), where=some_left)[:, :, 0]
    weights[users] = positive * shares
    return weights


class _RowVectors:
    """UserVectors of catalogue rows as float32.

    Turning float16 into float32 costs as much as the sums over them, so a call for many users does
    it once for each distinct row.
    """

    def __init__(self, items: Items, used: Sequence[NDArray[np.int64]]) -> None:
        self._vectors: NDArray[np.floating] = items.vectors
        self._slot_of: NDArray[np.int64] | None = None
        if not len(self._vectors):
            return  # an empty catalogue: its readers ask for no vector
        if 8 * sum(rows.size for rows in used) < len(self._vectors):
            return  # a large catalogue, few entries: even a byte for each row would cost more
        seen = np.zeros(len(self._vectors), np.bool_)
        for rows in used:
            seen[rows] = True
        distinct = np.flatnonzero(seen)
        self._slot_of = np.empty(len(seen), np.int64)
        self._slot_of[distinct] = np.arange(len(distinct))
        self._vectors = self._vectors.take(distinct, axis=0).astype(np.float32)

    def of(self, rows: NDArray[np.int64]) -> Floats:
        """Return the vectors of rows: (u, n) → (u, n, d)."""
        slots = rows if self._slot_of is None else self._slot_of.take(rows)
        return self._vectors.take(slots, axis=0).astype(np.float32, copy=False)


def _vectors(
    block: _Block, rows: _RowVectors, items: Items, settings: VectorSettings
) -> list[UserVectors]:
    if not len(items.vectors):
        return [UserVectors(items.space, items.dim)] * len(block.rows)
    vectors = rows.of(block.rows)  # (u, n, d)
    interests = _interests(block.long_term, vectors, settings.interest_cosine)
    weights = np.stack([block.session, block.long_term, *interests], axis=1)  # (u, 5, n)
    sums = np.matmul(weights, vectors)  # (u, 5, d); a product for each user, by its own shape
    return _quantized(sums, np.einsum("ukn,ukn->uk", weights, weights), items.space)


def _interests(weights: Floats, vectors: Floats, cosine: float) -> list[Floats]:
    """Share weights (u, n) of entries (u, n, d) out among interests: 3 times (u, n)."""
    users, last = np.arange(len(weights)), weights.shape[1] - 1
    found = []
    for _ in range(INTERESTS_AT_MOST):
        leader = last - weights[:, ::-1].argmax(axis=1)  # (u,) the newest of the weightiest
        close = np.einsum("und,ud->un", vectors, vectors[users, leader]) >= cosine
        close[users, leader] = True
        found.append(weights * close)
        weights = weights - found[-1]
    return found


def _quantized(sums: Floats, given: Floats, space: str) -> list[UserVectors]:
    """Return unit vectors of sums (u, 5, d); given: the sum of their weights' squares (u, 5)."""
    squares = np.einsum("ukd,ukd->uk", sums, sums)
    present = squares > np.maximum(given * np.float32(_CANCELLED), np.float32(_VANISHED))
    norms = np.sqrt(np.where(present, squares, np.float32(1)))
    # Of numbers above 0 the largest has the largest bits; integers are compared faster.
    peaks = np.abs(sums).view(np.uint32).max(axis=2).view(np.float32)
    peaks = np.where(present, peaks, np.float32(1))
    levels = np.rint(sums * (np.float32(127) / peaks)[:, :, None]).astype(np.int8)
    scales = (peaks / (norms * np.float32(127))).astype("<f4")
    packed = np.concatenate([scales[:, :, None].view(np.uint8), levels.view(np.uint8)], axis=2)
    data = packed[present].tobytes()  # those present, user by user
    flags = (present @ _FLAGS).tolist()
    ends = (np.cumsum(present.sum(axis=1)) * packed.shape[2]).tolist()
    begins = [0, *ends]
    dim = levels.shape[2]
    return [
        UserVectors(space, dim, flag, data[begin:end])
        for flag, begin, end in zip(flags, begins, ends, strict=False)
    ]
