"""What events add to co-visits and trending, as log2 weights (shared/log2_weights.py). Pure.

Legend: m events of a batch that count; r items before an event at most (covisit_reach).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from services.sessions.columns import Columns
from services.sessions.history import items_before
from shared.event_types import EventWeights
from shared.log2_weights import HalfLives, add, scores_of

Covisits = dict[tuple[int, int], float]
"""(item key, key of an item that followed it) → log2 weight."""
Trends = dict[tuple[str, int], float]
"""(scope, item key) → log2 weight."""
Member = TypeVar("Member")


class Visits:
    """Positive events, with the histories that they were put into."""

    def __init__(self) -> None:
        self.numbers: list[int] = []  # in the batch
        self.histories: list[bytes] = []
        self.places: list[int] = []  # of the event's entry, in bytes

    def add(self, number: int, history: bytes, place: int) -> None:
        """Note an event right after it was put into a history."""
        self.numbers.append(number)
        self.histories.append(history)
        self.places.append(place)


def covisits_of(
    batch: Columns,
    visits: Visits,
    parts: Sequence[int],
    reach: int,
    weights: EventWeights,
    half_lives: HalfLives,
) -> list[Covisits]:
    """Return co-visits by part: the item b of each visit follows each item before it.

    a → b weighs 1 / distance at the time of b, where a is the distance-th nearest other item of a
    positive entry before b's. parts: at which visit each part begins, and the end of the last.
    """
    if not visits.numbers or not reach:
        return [{} for _ in parts[1:]]
    numbers = np.array(visits.numbers)
    items = np.array(batch.item_keys, np.uint64)[numbers]  # (m,)
    before = items_before(items, visits.histories, visits.places, reach, weights)  # (m, r)
    given = np.repeat(1.0 / np.arange(1, reach + 1)[None], len(numbers), axis=0)
    times = np.repeat(batch.times_ms[numbers], reach)
    scores = scores_of(given.ravel(), times, half_lives.covisits_s)
    some = before.ravel() != 0
    ends = np.concatenate([[0], np.cumsum((before != 0).sum(axis=1))])[list(parts)].tolist()
    pairs = list(
        zip(before.ravel()[some].tolist(), np.repeat(items, reach)[some].tolist(), strict=True)
    )
    values = scores[some].tolist()
    return [_summed(pairs[begin:end], values[begin:end]) for begin, end in pairwise(ends)]


def trends_of(batch: Columns, numbers: Iterable[int], scores: Sequence[float]) -> Trends:
    """Return what events count for their items in all of their scopes.

    scores: of every event of the batch, see `trend_scores`.
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


def trend_scores(batch: Columns, half_lives: HalfLives) -> list[float]:
    """Return each event's log2 weight for trending; it means something where `positive` is true."""
    return scores_of(batch.weights, batch.times_ms, half_lives.trending_s).tolist()


def merge(into: dict[Member, float], more: Mapping[Member, float]) -> None:
    """Add the log2 weights of one map to another's."""
    for member, score in more.items():
        held = into.get(member)
        into[member] = score if held is None else add(held, score)


def _summed(members: Sequence[Member], scores: Sequence[float]) -> dict[Member, float]:
    sums = dict(zip(members, scores, strict=True))
    if len(sums) == len(members):
        return sums
    sums = {}
    for member, score in zip(members, scores, strict=True):
        merge(sums, {member: score})
    return sums
