"""Keep a sorted set in memory as Redis keeps it: full, it takes a newcomer in place of its lowest.

Scores are log2 weights (shared/users/log2_weights.py).
"""

from __future__ import annotations

import heapq

import numpy as np

from services.ranking.stages.signals import Weighted
from shared.users import keys, log2_weights


class BoundedSet:
    """A set of items with log2 weights, of a size at most."""

    def __init__(self, at_most: int) -> None:
        self.scores: dict[int, float] = {}
        self._at_most = at_most
        self._lowest: list[tuple[float, int]] = []  # a heap; scores there may have risen since
        self._heaviest: Weighted | None = None

    def add(self, item: int, score: float) -> None:
        """Add a log2 weight."""
        self._heaviest = None
        if item in self.scores:
            self.scores[item] = log2_weights.add(self.scores[item], score)
            return
        if len(self.scores) >= self._at_most:
            score = log2_weights.add(self._pop_lowest(), score)
        self.scores[item] = score
        heapq.heappush(self._lowest, (score, item))

    def heaviest(self) -> Weighted:
        """Return the items, the heaviest first; of equals those that Redis has first."""
        if self._heaviest is None:
            ordered = sorted(
                self.scores.items(),
                key=lambda entry: (entry[1], keys.item_key_bytes(entry[0])),
                reverse=True,
            )
            items, scores = zip(*ordered, strict=True)
            self._heaviest = Weighted(np.array(items, np.uint64), np.array(scores))
        return self._heaviest

    def _pop_lowest(self) -> float:
        while True:
            score, item = self._lowest[0]
            now = self.scores[item]
            if now == score:
                heapq.heappop(self._lowest)
                return self.scores.pop(item)
            heapq.heapreplace(self._lowest, (now, item))
