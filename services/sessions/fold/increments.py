"""What events add to co-visits and trending, as log2 weights (shared/users/log2_weights.py). Pure.

Legend: m events of a batch that count; r items before an event at most (covisit_reach).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np

from services.sessions.fold.event_columns import Columns
from services.sessions.fold.history import items_before
from services.sessions.fold.settings import FoldSettings
from shared.users.log2_weights import HalfLives, add, scores_of

Covisits = dict[tuple[int, int], float]
"""(item key, key of an item that followed it) → log2 weight."""
Trends = dict[tuple[str, int], float]
"""(scope, item key) → log2 weight."""
Member = TypeVar("Member")


@dataclass(slots=True)
class Visits:
    """Events of positive weight, each with the history as it stood right after it."""

    numbers: list[int] = field(default_factory=list)  # in the batch
    histories: list[bytes] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # of its entry, in bytes; negative: none


def covisits_of(batch: Columns, parts: Sequence[Visits], settings: FoldSettings) -> list[Covisits]:
    """Return what each part's visits count for co-visits.

    The item b of a visit follows each item before it: a → b weighs 1 / distance at the time of b,
    where a is the distance-th nearest other item of a positive entry before b's.
    """
    numbers = [number for part in parts for number in part.numbers]  # (m,)
    reach = settings.covisit_reach
    if not numbers or not reach:
        return [{} for _ in parts]
    items = np.array(batch.item_keys, np.uint64)[numbers]
    before = items_before(
        items,
        [history for part in parts for history in part.histories],
        [place for part in parts for place in part.places],
        reach,
        settings.vectors.weights,
    )
    some = before != 0  # (m, r)
    found = some.sum(axis=1)
    times_ms = batch.times_ms[numbers, None]
    scores = scores_of(1 / np.arange(1, reach + 1), times_ms, settings.half_lives.covisits_s)
    followed = before[some].tolist()
    following = _repeated([batch.item_keys[number] for number in numbers], found.tolist())
    values = scores[some].tolist()
    visits = np.cumsum([0, *(len(part.numbers) for part in parts)])
    ends = np.concatenate([[0], np.cumsum(found)])[visits].tolist()  # of the parts
    return [
        _summed(zip(followed[begin:end], following[begin:end], strict=True), values[begin:end])
        for begin, end in pairwise(ends)
    ]


def trend_scores(batch: Columns, half_lives: HalfLives) -> list[float]:
    """Return each event's log2 weight for trending, -inf for one that does not count."""
    scores: list[float] = scores_of(batch.weights, batch.times_ms, half_lives.trending_s).tolist()
    return scores


def trends_of(batch: Columns, numbers: Iterable[int], scores: Sequence[float]) -> Trends:
    """Return what events count for their items in all of their scopes.

    scores: of every event of the batch, as `trend_scores` gives them.
    """
    trends: Trends = {}
    for number in numbers:
        item, score = batch.item_keys[number], scores[number]
        for scope in batch.scopes[number]:
            member = (scope, item)
            held = trends.setdefault(member, score)
            if held is not score:
                trends[member] = add(held, score)
    return trends


def merge(into: dict[Member, float], more: Mapping[Member, float]) -> None:
    """Add the log2 weights of one map to another's."""
    for member, score in more.items():
        held = into.get(member)
        into[member] = score if held is None else add(held, score)


def _repeated(values: Iterable[int], times: Iterable[int]) -> list[int]:
    """Repeat each value; as np.repeat does, but without making new integers of 8 bytes."""
    return [value for value, n in zip(values, times, strict=True) for _ in range(n)]


def _summed(members: Iterable[Member], scores: Sequence[float]) -> dict[Member, float]:
    """Return each member's weights together."""
    sums: dict[Member, float] = {}
    for member, score in zip(members, scores, strict=True):
        held = sums.setdefault(member, score)
        if held is not score:
            sums[member] = add(held, score)
    return sums
