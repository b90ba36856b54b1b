"""Measure a fitted model by what it says to those asked: figures with their intervals.

Names of figures end in `@k`: what is among the first k counts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import Histories, Ints
from services.training.data.splits import Asked
from services.training.evaluation import lists, metrics, significance
from services.training.evaluation.metrics import RankedTargets
from services.training.evaluation.ranks import (
    Ranks,
    asked_in_parts,
    ndcg,
    ranked_scores,
    ranks,
    ranks_of,
)
from services.training.models.model import Scoring

FIRST: Final = 10  # what a list shows
AT: Final = (5, 10, 20, 50, 100)

Figures = dict[str, Any]  # by name; an interval is a pair


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said to each user who was asked."""

    asked: Asked
    ranks: Ranks  # (u,) of the target, from 0
    first: Ints  # (u, k) items, best first
    score_us: float  # microseconds a user that scoring took, many at once


def answers(score: Scoring, asked: Asked, k: int = FIRST, *, own_history: bool = False) -> Answers:
    """Ask a model, some users at a time. own_history: whether own items stay in the ranking."""
    all_ranks, first, seconds = [np.empty(0)], [], 0.0
    for part in asked_in_parts(asked):
        began = time.perf_counter()
        scores = score(part.histories)
        seconds += time.perf_counter() - began
        all_ranks.append(ranks_of(scores, part, own_history=own_history))
        ranked = ranked_scores(scores, part, own_history=own_history)
        rankable = ranked.shape[1] if part.among is None else int(np.count_nonzero(part.among))
        first.append(lists.first_items(ranked, min(k, rankable)))
    taken_us = seconds * 1e6 / max(len(asked), 1)
    shown = np.concatenate(first) if first else np.empty((0, k), np.int64)
    return Answers(asked, np.concatenate(all_ranks), shown, taken_us)


def validation_ndcg(score: Scoring, asked: Asked) -> float:
    """Return NDCG@10: what models are chosen by."""
    return float(ndcg(ranks(score, asked), FIRST).mean())


def accuracy(target_ranks: Ranks, seed: int) -> Figures:
    """Return hit rate, NDCG and MRR of ranks, (u,), those at 10 with their 95 % intervals.

    With one target a user, recall is the hit rate and MAP is MRR.
    """
    if not len(target_ranks):
        return {}
    ranked = RankedTargets.one_each(target_ranks)
    of_users = {
        "hr": metrics.hit_rates,
        "ndcg": metrics.ndcgs,
    }
    values = {f"{name}@{at}": make(ranked, at) for name, make in of_users.items() for at in AT}
    values[f"mrr@{FIRST}"] = metrics.reciprocal_ranks(ranked, FIRST)
    figures: Figures = {name: float(each.mean()) for name, each in values.items()}
    shown = [f"{name}@{FIRST}" for name in ("hr", "ndcg", "mrr")]
    bounds = significance.intervals(np.stack([values[name] for name in shown], axis=1), seed)
    for name, low, high in zip(shown, *bounds.tolist(), strict=True):
        figures[f"{name}_interval"] = (low, high)
    return figures


def brief_accuracy(target_ranks: Ranks, seed: int) -> Figures:
    """Return the main figures of some users, and how many they are."""
    figures = accuracy(target_ranks, seed)
    shown = (f"hr@{FIRST}", f"ndcg@{FIRST}", f"ndcg@{FIRST}_interval")
    return {"users": len(target_ranks), **{name: figures[name] for name in shown}}


class ListFigures:
    """Says what lists are like, against what was learnt from."""

    def __init__(self, learnt: Dataset) -> None:
        """learnt: the training events, by which items are popular or not."""
        self._n_items = learnt.n_items
        self._users = int(np.count_nonzero(learnt.events.lengths))
        self._chosen_by = lists.counts_of_users(learnt.events, learnt.n_items)
        self._flags = lists.category_flags(learnt)

    def of(self, first: Ints, histories: Histories) -> Figures:
        """Return coverage, novelty, popularity bias and, where items have categories, diversity."""
        if not len(first):
            return {}
        figures: Figures = {
            f"coverage@{FIRST}": lists.coverage(first, self._n_items),
            f"novelty@{FIRST}": lists.novelty(first, self._chosen_by, self._users),
        }
        bias = lists.popularity_bias(first, histories, self._chosen_by)
        if np.isfinite(bias):
            figures[f"popularity_bias@{FIRST}"] = bias
        if self._flags.shape[1]:
            figures[f"diversity@{FIRST}"] = lists.diversity(first, self._flags)
        return figures
