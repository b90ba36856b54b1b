"""Say how good ranks are, user by user: hit rate, recall, NDCG, MRR and MAP among the first k.

Legend: u users; t targets of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.training.data.histories import Ints
from services.training.evaluation.ranks import Ranks, hit_rate, ndcg


@dataclass(frozen=True, slots=True)
class RankedTargets:
    """Where each user's targets stand; a user may have several, or none."""

    ranks: Ranks  # (t,) from 0
    rows: Ints  # (t,) whose each is, below `users`
    users: int

    @classmethod
    def one_each(cls, ranks: Ranks) -> RankedTargets:
        """Return ranks of which every user has one."""
        return cls(ranks, np.arange(len(ranks)), len(ranks))

    def sums(self, values: Ranks) -> Ranks:
        """Return each user's sum of values of targets: (t,) → (u,)."""
        return np.bincount(self.rows, values, self.users).astype(np.float64)

    def counts(self) -> Ints:
        """Return how many targets each user has, (u,)."""
        return np.bincount(self.rows, minlength=self.users)


def hit_rates(ranked: RankedTargets, at: int) -> Ranks:
    """Return 1 for each user of whom any target is among the first, (u,)."""
    return np.minimum(ranked.sums(hit_rate(ranked.ranks, at)), 1)


def recalls(ranked: RankedTargets, at: int) -> Ranks:
    """Return which share of each user's targets is among the first, (u,); 0 of no targets."""
    return ranked.sums(hit_rate(ranked.ranks, at)) / np.maximum(ranked.counts(), 1)


def ndcgs(ranked: RankedTargets, at: int) -> Ranks:
    """Return each user's gain, discounted, against that of the best order, (u,)."""
    best = np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(at) + 2))])
    ideal = best[np.minimum(ranked.counts(), at)]
    return ranked.sums(ndcg(ranked.ranks, at)) / np.where(ideal > 0, ideal, 1)


def reciprocal_ranks(ranked: RankedTargets, at: int) -> Ranks:
    """Return 1 / (rank + 1) of each user's first target, 0 beyond the first, (u,)."""
    first = np.full(ranked.users, np.inf)
    np.minimum.at(first, ranked.rows, ranked.ranks)
    return np.where(first < at, 1 / (first + 1), 0)


def average_precisions(ranked: RankedTargets, at: int) -> Ranks:
    """Return each user's precision at its targets among the first, over all targets, (u,)."""
    order = np.lexsort((ranked.ranks, ranked.rows))
    rows, ranks = ranked.rows[order], ranked.ranks[order]
    nth = np.arange(len(rows)) - np.searchsorted(rows, rows) + 1  # of its user's targets
    precision = np.where(ranks < at, nth / (ranks + 1), 0)
    return np.bincount(rows, precision, ranked.users) / np.maximum(ranked.counts(), 1)
