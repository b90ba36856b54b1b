"""What an event adds to co-visits and trending, as log2 weights (shared/log2_weights.py). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import Final, TypeVar

from shared import keys, log2_weights

Covisits = dict[tuple[int, int], float]
"""(item key, key of an item that followed it) → log2 weight."""
Trends = dict[tuple[str, int], float]
"""(scope, item key) → log2 weight."""

SEGMENT: Final = "segment"  # the entry of an event's context that opens a trending scope
Member = TypeVar("Member")


def scopes_of(categories: Sequence[str]) -> tuple[str, ...]:
    """Return the trending scopes of an item of these categories."""
    return (keys.ALL_SCOPE, *(keys.category_scope(name) for name in dict.fromkeys(categories)))


def add_covisits(
    covisits: Covisits, item: int, before: Sequence[int], time_ms: int, half_life_s: float
) -> None:
    """Count that `item` followed the items before it, nearest first, with weight 1 / distance."""
    score = log2_weights.score_of(1.0, time_ms, half_life_s)
    for distance, other in enumerate(before, start=1):
        _add(covisits, (other, item), score - log2(distance))


def add_trends(
    trends: Trends,
    item: int,
    scopes: Sequence[str],
    weight: float,
    time_ms: int,
    half_life_s: float,
) -> None:
    """Count an event of positive weight for its item in each scope."""
    score = log2_weights.score_of(weight, time_ms, half_life_s)
    for scope in scopes:
        _add(trends, (scope, item), score)


def merge(into: dict[Member, float], more: Mapping[Member, float]) -> None:
    """Add the log2 weights of one map to another's."""
    for member, score in more.items():
        _add(into, member, score)


def _add(sums: dict[Member, float], member: Member, score: float) -> None:
    held = sums.get(member)
    sums[member] = score if held is None else log2_weights.add(held, score)
