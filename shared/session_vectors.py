"""Vectors of a user, computed from the history alone: session, long-term, interests.

Pure, and the same for each user whatever other users stand in the call: sums run entry by entry in
a fixed order, never through a matrix product whose rounding depends on its shape. So a state
folded in other batches, or recomputed by ranking for another space, has the same bytes.

Legend: u users, T entries of all of them, n entries of the longest history, d dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.event_types import EventWeights
from shared.settings import setting
from shared.states import ENTRY, INTERESTS_AT_MOST, STARTS_SESSION, Vectors

_USERS_AT_ONCE: Final = 256  # their gathered rows (256 x 50 x 64 float32, 3 MiB) stay in the cache
_CANCELLED: Final = 1e-6  # a sum this small beside its largest weight is rounding, no direction


class Items(Protocol):
    """What the fold and these vectors need of a catalogue; shared/catalogue.py is one."""

    @property
    def space(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def vectors(self) -> NDArray[np.floating]:
        """Unit vectors by row: (rows, dim) float16 or float32."""
        ...

    @property
    def categories(self) -> Sequence[tuple[str, ...]]:
        """Each row's categories."""
        ...

    def rows(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the row of each item key (n,), -1 for an unknown item or one without vector."""
        ...


@dataclass(frozen=True)
class VectorSettings:
    """Numbers that make vectors of histories; sessions and ranking must run with the same."""

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
    histories: Sequence[bytes | NDArray[np.void]], items: Items, settings: VectorSettings
) -> list[Vectors]:
    """Return the vectors of each history, in the space of `items`.

    histories: entries of states.ENTRY, oldest first, as bytes or arrays; any length.
    Session: unit vector of Σ w · 2^(−age / half-life) · v(item) over the entries since the session
    began, age counted from the last entry. Long-term: the same over all. Interests: of the positive
    entries, the weightiest (then the newest) leads and takes in all within the cosine; of the rest
    again, at most 3 times; what no leader takes is left to the long-term vector.
    Items without a vector count for nothing until they have one.
    """
    if not histories:
        return []
    entries = np.frombuffer(b"".join(histories), ENTRY)  # (T,)
    lengths = np.array(
        [len(h) // ENTRY.itemsize if isinstance(h, bytes) else len(h) for h in histories]
    )
    flat = _Weighted(entries, lengths, items, settings)
    found: list[Vectors] = []
    for start in range(0, len(histories), _USERS_AT_ONCE):
        found += _vectors_of(flat, slice(start, start + _USERS_AT_ONCE), items, settings)
    return found


class _Weighted:
    """All users' entries in one row, with catalogue rows and decayed weights."""

    def __init__(
        self,
        entries: NDArray[np.void],
        lengths: NDArray[np.int64],
        items: Items,
        settings: VectorSettings,
    ) -> None:
        self.lengths = lengths
        self.ends = np.cumsum(lengths)
        self.begins = self.ends - lengths
        rows = items.rows(np.ascontiguousarray(entries["item"]))
        known = rows >= 0
        self.rows = np.where(known, rows, 0)
        seconds = entries["seconds"].astype(np.int64)
        weights = np.where(known, settings.weights.of(entries), np.float32(0))
        filled = lengths > 0
        newest = np.zeros(len(lengths), np.int64)
        newest[filled] = seconds[self.ends[filled] - 1]
        age = (np.repeat(newest, lengths) - seconds).astype(np.float32)
        self.long_term = weights * np.exp2(age * np.float32(-1 / settings.long_term_half_life_s))
        session = weights * np.exp2(age * np.float32(-1 / settings.session_half_life_s))
        in_session = np.arange(len(entries)) >= np.repeat(
            self._session_begins(entries, seconds, filled, settings.session_gap_s), lengths
        )
        self.session = np.where(in_session, session, np.float32(0))

    def _session_begins(
        self,
        entries: NDArray[np.void],
        seconds: NDArray[np.int64],
        filled: NDArray[np.bool_],
        gap_s: int,
    ) -> NDArray[np.int64]:
        """Return where each user's present session begins, as a position in the row: (u,)."""
        starts = (entries["flags"] & STARTS_SESSION) != 0
        starts[1:] |= np.diff(seconds) > gap_s
        starts[self.begins[filled]] = True
        positions = np.flatnonzero(starts)
        begins = np.zeros(len(self.lengths), np.int64)
        begins[filled] = positions[np.searchsorted(positions, self.ends[filled]) - 1]
        return begins


def _vectors_of(
    flat: _Weighted, users: slice, items: Items, settings: VectorSettings
) -> list[Vectors]:
    lengths = flat.lengths[users]
    n, d = int(lengths.max()), items.dim
    slots = np.arange(n)
    filled = slots < lengths[:, None]  # (u, n)
    at = np.where(filled, flat.begins[users, None] + slots, 0)
    if not len(flat.rows) or not len(items.vectors):
        return [Vectors(items.space, d)] * len(lengths)
    gathered = items.vectors.take(flat.rows[at], axis=0).astype(np.float32)  # (u, n, d)
    long_term = np.where(filled, flat.long_term[at], np.float32(0))  # (u, n)
    session = np.where(filled, flat.session[at], np.float32(0))
    weights = np.empty((len(lengths), 2 + INTERESTS_AT_MOST, n), np.float32)  # (u, 5, n)
    weights[:, 0], weights[:, 1] = session, long_term
    weights[:, 2:] = _interests(np.maximum(long_term, 0), gathered, settings.interest_cosine)
    sums = np.einsum("ukn,und->ukd", weights, gathered)  # (u, 5, d)
    return _pack(sums, np.abs(weights).max(axis=2), items.space)


def _interests(
    weights: NDArray[np.float32], gathered: NDArray[np.float32], cosine: float
) -> NDArray[np.float32]:
    """Return each interest's weights: positive (u, n) and vectors (u, n, d) → (u, 3, n)."""
    u, n = weights.shape
    users = np.arange(u)
    found = np.zeros((u, INTERESTS_AT_MOST, n), np.float32)
    rest = weights.copy()
    for interest in range(INTERESTS_AT_MOST):
        leader = n - 1 - np.argmax(rest[:, ::-1], axis=1)  # the newest of the weightiest
        close = np.einsum("und,ud->un", gathered, gathered[users, leader]) >= cosine
        close[users, leader] = True
        found[:, interest] = np.where(close, rest, np.float32(0))
        rest[close] = 0
    return found


def _pack(sums: NDArray[np.float32], largest: NDArray[np.float32], space: str) -> list[Vectors]:
    """Return unit vectors of the sums (u, 5, d) as int8 with scale; `largest` weights (u, 5)."""
    u, kinds, d = sums.shape
    norms = np.sqrt(np.square(sums).sum(axis=2))  # (u, 5)
    present = norms > np.maximum(largest * np.float32(_CANCELLED), np.float32(1e-30))
    unit = sums / np.where(present, norms, np.float32(1))[:, :, None]
    scales = np.abs(unit).max(axis=2) / np.float32(127)
    block = np.empty((u, kinds, 4 + d), np.uint8)
    block[:, :, :4] = scales.astype("<f4")[:, :, None].view(np.uint8)
    levels = np.rint(unit / np.where(present, scales, np.float32(1))[:, :, None])
    block[:, :, 4:] = levels.astype(np.int8).view(np.uint8)
    data = block[present].tobytes()
    ends = (np.cumsum(present.sum(axis=1)) * (4 + d)).tolist()
    flags = (present[:, 0] + 2 * present[:, 1] + 4 * present[:, 2:].sum(axis=1)).tolist()
    found, begin = [], 0
    for end, flag in zip(ends, flags, strict=True):
        found.append(Vectors(space, d, flag, data[begin:end]))
        begin = end
    return found
