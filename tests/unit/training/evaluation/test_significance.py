"""Intervals hold the truth as often as they say; tests tell models apart only where they differ."""

from __future__ import annotations

import numpy as np
import pytest

from services.training.evaluation.significance import intervals, randomisation

CHANCE = np.random.default_rng(0)


def test_an_interval_is_that_of_the_normal_distribution_for_many_users() -> None:
    values = CHANCE.normal(3, 1, (2000, 1))

    low, high = intervals(values, seed=1)[:, 0]

    spread = 1.96 * values.std() / np.sqrt(2000)
    assert [low, high] == pytest.approx(
        [values.mean() - spread, values.mean() + spread], abs=spread / 5
    )


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    truth, holds = 0.3, 0
    for seed in range(100):
        values = np.random.default_rng(seed).binomial(1, truth, (300, 1)).astype(np.float64)
        low, high = intervals(values, seed, draws=300)[:, 0]
        holds += low <= truth <= high
    assert 88 <= holds <= 100


def test_an_interval_is_the_same_by_the_same_seed() -> None:
    values = CHANCE.random((50, 2))
    assert intervals(values, 7).tolist() == intervals(values, 7).tolist()


def test_a_difference_that_all_users_show_is_significant() -> None:
    noise = CHANCE.normal(0, 1, 500)
    assert randomisation(noise + 0.1, noise, 0) < 0.01


def test_a_model_does_not_differ_from_itself() -> None:
    values = CHANCE.random(100)
    assert randomisation(values, values, 0) == 1


def test_chance_alone_is_seldom_significant() -> None:
    found = 0
    for seed in range(100):
        first, second = np.random.default_rng(seed).random((2, 200))
        found += randomisation(first, second, seed, draws=200) < 0.05
    assert found <= 12
