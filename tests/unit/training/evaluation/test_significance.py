"""Intervals hold the truth as often as they say; tests tell models apart only where they differ."""

from __future__ import annotations

import numpy as np
import pytest

from services.training.evaluation.significance import (
    intervals,
    paired_bootstrap,
    randomisation,
)

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


@pytest.mark.parametrize("test", [paired_bootstrap, randomisation])
def test_a_difference_that_all_users_show_is_significant(test) -> None:  # type: ignore[no-untyped-def]
    noise = CHANCE.normal(0, 1, 500)
    assert test(noise + 0.1, noise, 0) < 0.01


@pytest.mark.parametrize("test", [paired_bootstrap, randomisation])
def test_a_model_does_not_differ_from_itself(test) -> None:  # type: ignore[no-untyped-def]
    values = CHANCE.random(100)
    assert test(values, values, 0) == 1


def test_chance_alone_is_seldom_significant() -> None:
    found = 0
    for seed in range(100):
        first, second = np.random.default_rng(seed).random((2, 200))
        found += randomisation(first, second, seed, draws=200) < 0.05
    assert found <= 12


def test_both_tests_agree_on_a_small_difference() -> None:
    first = CHANCE.binomial(1, 0.32, 2000).astype(np.float64)
    second = CHANCE.binomial(1, 0.30, 2000).astype(np.float64)
    assert paired_bootstrap(first, second, 0) == pytest.approx(
        randomisation(first, second, 0), abs=0.05
    )
