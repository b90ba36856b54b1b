"""Rank what came next among all items: the whole catalogue, ties at the middle.

Legend: u users; i items of the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from services.training.data.histories import Floats, Histories
from services.training.data.splits import Asked
from services.training.models.model import FitFailed

AT_ONCE = 512  # users whose scores stand in memory together

Ranks = NDArray[np.float64]


def asked_in_parts(asked: Asked, at_once: int = AT_ONCE) -> Iterator[Asked]:
    """Yield the users in parts."""
    for start in range(0, len(asked), at_once):
        rows = np.arange(start, min(start + at_once, len(asked)))
        yield asked.take(rows)


def without_history(scores: Floats, histories: Histories) -> Floats:
    """Return the scores with each user's own items at minus infinity."""
    scores = scores.copy()
    scores[histories.rows(), histories.items] = -np.inf
    return scores


def ranked_scores(scores: Floats, asked: Asked, *, own_history: bool = False) -> Floats:
    """Return the scores with what is not ranked at minus infinity: (u, i).

    own_history: whether a user's own items stay in the ranking. Raises FitFailed for scores that
    are not a number.
    """
    if np.isnan(scores).any():
        row = int(np.flatnonzero(np.isnan(scores).any(axis=1))[0])
        raise FitFailed(f"scores must be numbers; those of row {row} are not")
    if not own_history:
        scores = without_history(scores, asked.histories)
    if asked.among is not None:
        scores = np.where(asked.among, scores, -np.inf)
    return scores


def ranks_of(
    scores: Floats,  # (u, i) higher is better
    asked: Asked,
    *,
    own_history: bool = False,
) -> Ranks:
    """Return how many items stand before each target, (u,) from 0; of equals, half of them.

    A target is ranked although it stands in the history, as it was chosen again. Raises FitFailed
    for scores that are not a number.
    """
    rows = np.arange(len(asked))
    of_target = scores[rows, asked.targets][:, None]
    scores = ranked_scores(scores, asked, own_history=own_history)
    above = np.count_nonzero(scores > of_target, axis=1)
    equal = np.count_nonzero(scores == of_target, axis=1)
    equal -= scores[rows, asked.targets] == of_target[:, 0]  # the target itself, if it is ranked
    ranks: Ranks = above + equal / 2
    return ranks


def ranks(
    score: Callable[[Histories], Floats], asked: Asked, *, own_history: bool = False
) -> Ranks:
    """Return the rank of each target, (u,), scoring some users at a time."""
    parts = [
        ranks_of(score(part.histories), part, own_history=own_history)
        for part in asked_in_parts(asked)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def hit_rate(ranks: Ranks, at: int) -> Ranks:
    """Return 1 for each user whose target is among the first, (u,)."""
    return (ranks < at).astype(np.float64)


def ndcg(ranks: Ranks, at: int) -> Ranks:
    """Return 1 / log2(rank + 2) for each target among the first, (u,); ranks from 0."""
    return np.where(ranks < at, 1 / np.log2(ranks + 2), 0)
