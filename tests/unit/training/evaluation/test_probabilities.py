"""Figures of probabilities are what a person would count."""

from __future__ import annotations

import numpy as np
import pytest

from services.training.evaluation.probabilities import auc, calibration_error, log_loss

OUTCOMES = np.array([1, 0, 1, 0])


def test_auc_counts_pairs_in_the_right_order_and_ties_half() -> None:
    # pairs (1, 0): .9 > .5, .9 > .2, .5 = .5, .5 > .2
    assert auc(np.array([0.9, 0.5, 0.5, 0.2]), OUTCOMES) == (1 + 1 + 0.5 + 1) / 4


def test_auc_is_unknown_where_all_outcomes_are_the_same() -> None:
    assert np.isnan(auc(np.array([0.1, 0.2]), np.array([1, 1])))


def test_log_loss_is_the_mean_surprise() -> None:
    expected = -(np.log(0.9) + np.log(0.5) + np.log(0.5) + np.log(0.8)) / 4
    assert log_loss(np.array([0.9, 0.5, 0.5, 0.2]), OUTCOMES) == pytest.approx(expected)


def test_a_false_certainty_costs_much_and_not_infinity() -> None:
    assert log_loss(np.array([0.0]), np.array([1])) == pytest.approx(-np.log(1e-7))


def test_calibration_error_is_the_gap_between_said_and_true_by_bin() -> None:
    predictions = np.array([0.91, 0.95, 0.12, 0.18])
    outcomes = np.array([1, 0, 0, 0])
    expected = 2 / 4 * abs(0.93 - 0.5) + 2 / 4 * abs(0.15 - 0)
    assert calibration_error(predictions, outcomes) == pytest.approx(expected)


def test_what_comes_true_as_often_as_said_is_calibrated() -> None:
    assert calibration_error(np.full(4, 0.5), OUTCOMES) == 0
    assert calibration_error(np.array([1.0, 0.0]), np.array([1, 0])) == 0
