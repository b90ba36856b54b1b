"""Models are told apart where users tell them apart, and by chance as seldom as it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.training.evaluation.comparison import (
    comparisons,
    holm,
    of_lists,
    of_ratings,
)
from services.training.evaluation.ranks import ndcg
from services.training.evaluation.significance import randomisation

USERS = 600
CHANCE = np.random.default_rng(0)
RANKS = CHANCE.integers(0, 40, USERS).astype(np.float64)


def lists(ranks: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"of_users": of_lists(ranks), **more}


def test_the_difference_is_that_of_the_figures_and_within_its_interval() -> None:
    better = np.maximum(RANKS - 1.5, 0)  # halves are ties
    compared = comparisons({"one": lists(RANKS), "other": lists(better)}, "one", 0)

    assert compared.keys() == {"other"}
    one = compared["other"]
    gain = ndcg(better, 10).mean() - ndcg(RANKS, 10).mean()
    assert one.difference == pytest.approx(gain)
    assert 0 < one.low < one.difference < one.high
    assert one.is_significant


def test_intervals_are_of_pairs_not_of_two_samples() -> None:
    other = RANKS.copy()
    other[:30] = np.maximum(other[:30] - 3, 0)
    (one,) = comparisons({"one": lists(RANKS), "other": lists(other)}, "one", 0).values()

    spread = 1.96 * np.sqrt(2 * ndcg(RANKS, 10).var() / USERS)  # of two samples
    assert one.high - one.low < spread / 2


def test_a_model_does_not_differ_from_one_that_says_the_same() -> None:
    (one,) = comparisons({"one": lists(RANKS), "same": lists(RANKS)}, "one", 0).values()
    assert one == (0, 0, 0, 1)


def test_ratings_are_compared_by_rmse_where_users_rate_unlike_often() -> None:
    ratings = CHANCE.integers(1, 50, USERS).astype(np.float64)
    squared = ratings * CHANCE.uniform(0.8, 1.2, USERS)
    models = {
        "best": {"of_users": of_ratings(squared, ratings)},
        "worse": {"of_users": of_ratings(1.21 * squared, ratings)},
    }
    one = comparisons(models, "best", 0)["worse"]

    rmse = np.sqrt(squared.sum() / ratings.sum())
    assert one.difference == pytest.approx(0.1 * rmse, rel=1e-5)
    assert one.low < one.difference < one.high
    assert one.is_significant


def test_only_what_was_asked_alike_is_compared() -> None:
    models = {
        "one": lists(RANKS),
        "own too": lists(RANKS, own_history=True),
        "ratings": {"of_users": of_ratings(RANKS, RANKS)},
        "from before": {},
    }
    assert comparisons(models, "one", 0) == {}
    assert comparisons(models, "from before", 0) == {}


def test_chance_alone_is_seldom_significant_however_many_models_are_compared() -> None:
    false = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        models = {str(each): lists(random.permutation(RANKS)) for each in range(8)}
        false += any(one.is_significant for one in comparisons(models, "0", seed).values())
    assert false <= 5  # of 40; without Holm's it would be eleven


def test_p_values_of_several_comparisons_are_raised_as_holm_has_it() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


def test_what_is_kept_is_small() -> None:
    kept = of_lists(np.where(CHANCE.random(6040) < 0.3, CHANCE.integers(0, 10, 6040), 500))
    assert sum(map(len, kept.values())) < 4_000


def test_p_is_that_of_the_paired_test() -> None:
    other = np.roll(RANKS, 1)
    (one,) = comparisons({"one": lists(RANKS), "other": lists(other)}, "one", 3).values()
    assert one.p == randomisation(ndcg(other, 10), ndcg(RANKS, 10), 3)
