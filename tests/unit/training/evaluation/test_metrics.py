"""Metrics of several targets are what a person would count."""

from __future__ import annotations

import numpy as np
import pytest

from services.training.evaluation import metrics
from services.training.evaluation.metrics import RankedTargets

# Targets of the first user stand 1st, 3rd and 12th, of the second 2nd; the third has none.
RANKED = RankedTargets(np.array([0.0, 2, 11, 1]), np.array([0, 0, 0, 1]), 3)


def test_a_hit_is_any_target_among_the_first() -> None:
    assert metrics.hit_rates(RANKED, 1).tolist() == [1, 0, 0]
    assert metrics.hit_rates(RANKED, 10).tolist() == [1, 1, 0]


def test_recall_is_the_share_of_targets_among_the_first() -> None:
    assert metrics.recalls(RANKED, 10).tolist() == pytest.approx([2 / 3, 1, 0])


def test_gain_is_measured_by_the_best_order() -> None:
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    of_first = (1 + 1 / np.log2(4)) / ideal
    assert metrics.ndcgs(RANKED, 10).tolist() == pytest.approx([of_first, 1 / np.log2(3), 0])


def test_the_best_order_fills_no_more_places_than_there_are() -> None:
    assert metrics.ndcgs(RANKED, 1).tolist() == [1, 0, 0]


def test_the_reciprocal_rank_is_that_of_the_first_target() -> None:
    assert metrics.reciprocal_ranks(RANKED, 10).tolist() == [1, 1 / 2, 0]


def test_average_precision_is_taken_at_each_target() -> None:
    expected = [(1 / 1 + 2 / 3) / 3, 1 / 2, 0]
    assert metrics.average_precisions(RANKED, 10).tolist() == pytest.approx(expected)
    expected = [(1 / 1 + 2 / 3 + 3 / 12) / 3, 1 / 2, 0]
    assert metrics.average_precisions(RANKED, 12).tolist() == pytest.approx(expected)


def test_with_one_target_recall_is_the_hit_rate_and_average_precision_the_reciprocal_rank() -> None:
    ranked = RankedTargets.one_each(np.array([0.0, 3, 9.5, 50]))

    for at in (1, 5, 10, 100):
        assert metrics.recalls(ranked, at).tolist() == metrics.hit_rates(ranked, at).tolist()
        precisions = metrics.average_precisions(ranked, at).tolist()
        assert precisions == metrics.reciprocal_ranks(ranked, at).tolist()
