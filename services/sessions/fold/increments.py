"""Compute what events add to co-visits and trending, as log2 weights. Pure.

How weights are kept as log2 stands in shared/users/log2_weights.py.

Legend: m events of a batch that count; r items before an event at most (covisit_reach).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.sessions.fold.event_columns import EventColumns
from services.sessions.fold.settings import FoldSettings
from shared.users.event_types import EventWeights
from shared.users.keys import POPULAR_SCOPE
from shared.users.log2_weights import NEVER, HalfLives, add, scores_of
from shared.users.states import ENTRY, ENTRY_BYTES, LACKS_VECTOR, REPEATS_VISIT

_NEAR_BYTES: Final = 20 * ENTRY_BYTES  # nearly always 8 other items stand in so many entries

Covisits = dict[tuple[int, int], float]
"""(item key, key of an item that followed it) → log2 weight."""
Trends = dict[tuple[str, int], float]
"""(scope, item key) → log2 weight."""
Member = TypeVar("Member")


@dataclass(slots=True)
class Visits:
    """Events that came to an item of the catalogue; those that repeat no other have co-visits."""

    numbers: list[int] = field(default_factory=list)  # in the batch
    counted: list[float] = field(default_factory=list)  # weight of what it repeats; NEVER: nothing
    spans_s: list[float] = field(default_factory=list)  # of a full history; inf: it is not full
    firsts: list[int] = field(default_factory=list)  # numbers of those that repeat nothing
    histories: list[bytes] = field(default_factory=list)  # of each first, right after it
    byte_offsets: list[int] = field(default_factory=list)  # of its entry there


def covisits_of(
    events: EventColumns, parts: Sequence[Visits], settings: FoldSettings
) -> list[Covisits]:
    """Return what each part's events count for co-visits.

    The item b of a visit follows each item before it: a → b weighs 1 / √distance at the time of b,
    where a is the distance-th nearest other item visited before b. Visits that repeat another
    neither follow nor are followed: so one user weighs at most Σ 1 / √distance in what follows an
    item, once a half-life of trending.
    """
    numbers = [number for part in parts for number in part.firsts]  # (m,)
    reach = settings.covisit_reach
    if not numbers or not reach:
        return [{} for _ in parts]
    items = np.array(events.item_keys, np.uint64)[numbers]
    before = _items_before(
        items,
        [history for part in parts for history in part.histories],
        [byte_offset for part in parts for byte_offset in part.byte_offsets],
        reach,
        settings.vectors.weights,
    )
    some = before != 0  # (m, r)
    counts = some.sum(axis=1)
    times_ms = events.times_ms[numbers, None]
    near = 1 / np.sqrt(np.arange(1, reach + 1))
    scores = scores_of(near, times_ms, settings.half_lives.covisits_s)
    followed = before[some].tolist()
    following = _repeated([events.item_keys[number] for number in numbers], counts.tolist())
    values = scores[some].tolist()
    part_ends = np.cumsum([0, *(len(part.firsts) for part in parts)])
    ends = np.concatenate([[0], np.cumsum(counts)])[part_ends].tolist()
    return [
        _summed(zip(followed[begin:end], following[begin:end], strict=True), values[begin:end])
        for begin, end in pairwise(ends)
    ]


def trends_of(events: EventColumns, parts: Sequence[Visits], half_lives: HalfLives) -> list[Trends]:
    """Return what each part's visits count for their items in all scopes, and for popularity.

    A visit that repeats another counts what it weighs above that; one that speaks against its item,
    or not for it, leaves trending alone. A full history that spans less than a half-life may have
    lost visits that were counted: a visit then counts the share that the span is of the half-life,
    so within one a user never counts more than a full history of visits does.
    """
    numbers = [number for part in parts for number in part.numbers]  # (m,)
    counted = np.array([weight for part in parts for weight in part.counted])
    spans_s = np.array([span_s for part in parts for span_s in part.spans_s])
    shares = np.clip(spans_s, 1, half_lives.trending_s) / half_lives.trending_s
    times_ms = events.times_ms[numbers]
    gained = (events.weights[numbers] - np.maximum(counted, 0)) * shares
    scores = zip(
        numbers,
        scores_of(gained, times_ms, half_lives.trending_s).tolist(),
        scores_of(counted == NEVER, times_ms, half_lives.covisits_s).tolist(),
        strict=True,
    )
    return [_trends(events, islice(scores, len(part.numbers))) for part in parts]


def _trends(events: EventColumns, scores: Iterable[tuple[int, float, float]]) -> Trends:
    trends: Trends = {}
    for number, trending, popularity in scores:
        item = events.item_keys[number]
        if popularity != NEVER:
            member = (POPULAR_SCOPE, item)
            trends[member] = add(trends[member], popularity) if member in trends else popularity
        if trending != NEVER:
            for scope in events.scopes[number]:
                member = (scope, item)
                trends[member] = add(trends[member], trending) if member in trends else trending
    return trends


def merge(into: dict[Member, float], more: Mapping[Member, float]) -> None:
    """Add the log2 weights of one map to another's."""
    for member, score in more.items():
        into[member] = add(into[member], score) if member in into else score


def _summed(members: Iterable[Member], scores: Sequence[float]) -> dict[Member, float]:
    """Return each member's weights together."""
    sums: dict[Member, float] = {}
    for member, score in zip(members, scores, strict=True):
        if member in sums:
            sums[member] = add(sums[member], score)
        else:
            sums[member] = score
    return sums


def _repeated(values: Iterable[int], times: Iterable[int]) -> list[int]:
    """Repeat each value; as np.repeat does, but without making new integers of 8 bytes."""
    return [value for value, n in zip(values, times, strict=True) for _ in range(n)]


def _items_before(
    items: NDArray[np.uint64],
    histories: Sequence[bytes],
    byte_offsets: Sequence[int],
    reach: int,
    weights: EventWeights,
) -> NDArray[np.uint64]:
    """Return the nearest other items visited before each of m entries, nearest first.

    items: item keys of the entries (m,); byte_offsets: where they stand in their histories.
    An item that stands there several times counts once, at its nearest. Returns keys (m, reach), 0
    where there are no more.
    """
    ends = np.array(byte_offsets)
    begins = np.maximum(ends - _NEAR_BYTES, 0)
    near = [
        history[begin:end]
        for history, begin, end in zip(histories, begins.tolist(), ends.tolist(), strict=True)
    ]
    nearest = _nearest(items, near, reach, weights)
    short = np.flatnonzero((nearest[:, -1] == 0) & (begins > 0))
    if len(short):
        whole = [histories[n][: byte_offsets[n]] for n in short.tolist()]
        nearest[short] = _nearest(items[short], whole, reach, weights)
    return nearest


def _nearest(
    items: NDArray[np.uint64], pasts: Sequence[bytes], reach: int, weights: EventWeights
) -> NDArray[np.uint64]:
    width = max(map(len, pasts))
    padded = b"".join([past.rjust(width, b"\0") for past in pasts])
    entries = np.frombuffer(padded, ENTRY).reshape(len(pasts), -1)  # (m, w)
    counts_for_others = entries["flags"] & (LACKS_VECTOR | REPEATS_VISIT) == 0
    keys = np.where(weights.visits(entries) & counts_for_others, entries["item"], np.uint64(0))
    nearest = np.zeros((len(pasts), reach), np.uint64)
    counts = np.zeros(len(pasts), np.intp)
    searching = np.arange(len(pasts))
    for slot in range(keys.shape[1] - 1, -1, -1):
        key = keys[searching, slot]
        new = (key != 0) & (key != items[searching])
        new &= (nearest[searching] != key[:, None]).all(axis=1)
        hits = searching[new]
        nearest[hits, counts[hits]] = key[new]
        counts[hits] += 1
        searching = searching[counts[searching] < reach]
        if not len(searching):
            break
    return nearest
