"""Order a list by scores: pins, diversity (MMR), caps. Pure.

Legend: n candidates, best first; d dimensions of a vector; k positions of the list.
Diversity is maximal marginal relevance (Carbonell and Goldstein 1998): each position takes the item
with the largest (1 - diversity) · score - diversity · cosine to the most alike item chosen before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

DIVERSE_AT_MOST: Final = 50  # what a person sees; what follows goes by score, in time linear in k
POOL_AT_LEAST: Final = 50  # candidates that compete for the diverse positions
POOL_EACH: Final = 5  # for each diverse position
# Scores closer together than this are not stretched to the full range: where hardly anything
# tells the items apart, diversity decides.
SPREAD_AT_LEAST: Final = 0.125

Vectors = Callable[[NDArray[np.int64] | list[int]], NDArray[np.float32]]
"""Vectors of some candidates, (m, d), unit or zero."""


class Caps:
    """Counts a list's items by category and says which candidates no longer fit.

    limits: category → at most; the key "" holds for each category that has no limit of its own.
    """

    def __init__(self, limits: Mapping[str, int], categories: Sequence[Sequence[str]]) -> None:
        self.blocked = np.zeros(len(categories), dtype=bool)  # (n,)
        self._limits = limits
        self._categories = categories
        self._counts: Counter[str] = Counter()
        self._members: dict[str, list[int]] = {}
        for index, names in enumerate(categories):
            for name in names:
                self._members.setdefault(name, []).append(index)

    def take(self, index: int) -> None:
        """Count a chosen candidate; block the others of a category that is full now."""
        for name in set(self._categories[index]):
            limit = self._limits.get(name, self._limits.get(""))
            if limit is None:
                continue
            self._counts[name] += 1
            if self._counts[name] >= limit:
                self.blocked[self._members[name]] = True


def full_categories(limits: Mapping[str, int], listed: Sequence[Sequence[str]]) -> list[str]:
    """Return the categories of which a list holds all that it may; listed: categories by item."""
    counts = Counter(name for names in listed for name in set(names))
    return [name for name, n in counts.items() if n >= limits.get(name, limits.get("", n + 1))]


def arranged(
    scores: NDArray[np.float32],  # (n,) best first
    vectors: Vectors,
    k: int,
    diversity: float,
    pins: Mapping[int, int],  # position → candidate
    caps: Caps | None,
) -> list[int]:
    """Return the candidates of the list in order: k, or fewer where there are not enough.

    Pinned candidates stand on their positions whatever their score and count towards the caps;
    where the list is too short for a position, they follow at its end.
    """
    k = min(k, len(scores))
    free = np.ones(len(scores), dtype=bool)
    for index in pins.values():
        free[index] = False
        if caps is not None:
            caps.take(index)
    count = k - sum(1 for position in pins if position < k)
    chosen = _diverse(scores, vectors, count, diversity, free, caps, list(pins.values()))
    for index in np.flatnonzero(free).tolist():
        if len(chosen) >= count:
            break
        if caps is not None:
            if caps.blocked[index]:
                continue
            caps.take(index)
        chosen.append(index)
    return with_pins(chosen, pins, k)


def _diverse(
    scores: NDArray[np.float32],
    vectors: Vectors,
    count: int,
    diversity: float,
    free: NDArray[np.bool_],  # (n,) not chosen yet; updated
    caps: Caps | None,
    pinned: list[int],
) -> list[int]:
    """Choose the first of a list by marginal relevance."""
    count = min(count, DIVERSE_AT_MOST)
    if diversity == 0 or count == 0:
        return []
    size = max(POOL_AT_LEAST, POOL_EACH * count) * (1 if caps is None else 4)
    pool = np.flatnonzero(free)[:size]
    if len(pool) == 0:
        return []
    near, pooled = vectors(pool), scores[pool]
    spread = max(float(pooled[0] - pooled[-1]), SPREAD_AT_LEAST)
    worth = (1 - diversity) * (1 + (pooled - pooled[0]) / spread)
    alike = near @ near.T * diversity  # (pool, pool)
    nearest = np.zeros(len(pool), np.float32)
    if pinned:
        nearest = np.maximum(nearest, (near @ vectors(pinned).T).max(axis=1) * diversity)
    open_ = np.zeros(len(pool), np.float32)  # -inf once chosen or blocked
    chosen: list[int] = []
    for _ in range(count):
        if caps is not None:
            open_[caps.blocked[pool]] = -np.inf
        best = int((worth - nearest + open_).argmax())
        if open_[best] < 0:
            break
        open_[best] = -np.inf
        np.maximum(nearest, alike[best], out=nearest)
        index = int(pool[best])
        free[index] = False
        chosen.append(index)
        if caps is not None:
            caps.take(index)
    return chosen


def with_pins(chosen: Sequence[int], pins: Mapping[int, int], k: int) -> list[int]:
    """Put the pinned candidates on their positions among the chosen ones."""
    if not pins:
        return list(chosen)
    rest, listed = iter(chosen), []
    late = [pins[position] for position in sorted(pins)]
    for position in range(k):
        index = pins[position] if position in pins else next(rest, None)
        if index is None:
            break
        if position in pins:
            late.remove(index)
        listed.append(index)
    return (listed + late)[:k]
