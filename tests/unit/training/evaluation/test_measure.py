"""A gain over another model is that of the same users, with its interval."""

from __future__ import annotations

import numpy as np
import pytest

from services.training.evaluation.measure import gain


def test_a_gain_is_the_mean_difference_of_users() -> None:
    figures = gain(np.array([0.0, 0.0, 20.0]), np.array([1.0, 0.0, 20.0]), seed=0)

    assert figures["ndcg@10_gain"] == pytest.approx((1 - 1 / np.log2(3)) / 3)


def test_what_all_users_gain_is_certain_however_much_they_differ() -> None:
    ranks = np.tile([0.0, 8.0], 50)
    figures = gain(ranks, np.tile([1.0, 20.0], 50), seed=0)

    low, high = figures["ndcg@10_gain_interval"]
    assert 0 < low < figures["ndcg@10_gain"] < high
