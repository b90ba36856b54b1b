from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.users.log2_weights import EPOCH_MS, NEVER, add, score_of, scores_of, weight_at
from tests.unit.sessions.kit import NOW_MS

scores = st.floats(-60_000, 60_000)


def test_scores_add_like_their_weights() -> None:
    assert add(log2(3), log2(5)) == pytest.approx(3)
    assert add(10, NEVER) == add(NEVER, 10) == 10
    assert add(NEVER, NEVER) == NEVER


@settings(deadline=None)
@given(scores, scores)
def test_adding_does_not_mind_the_order_nor_overflow(a: float, b: float) -> None:
    assert add(a, b) == add(b, a)
    assert max(a, b) <= add(a, b) <= max(a, b) + 1


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30))
def test_a_sum_of_scores_is_the_score_of_the_sum(weights: list[float]) -> None:
    total = NEVER
    for weight in weights:
        total = add(total, score_of(weight, NOW_MS, 21_600))
    assert weight_at(total, NOW_MS, 21_600) == pytest.approx(sum(weights), rel=1e-9)


def test_a_weight_halves_each_half_life() -> None:
    score = score_of(3.0, NOW_MS, 21_600)
    assert weight_at(score, NOW_MS, 21_600) == pytest.approx(3, rel=1e-9)
    assert weight_at(score, NOW_MS + 21_600_000, 21_600) == pytest.approx(1.5, rel=1e-9)
    assert weight_at(score, 10**18, 21_600) == 0
    assert weight_at(score, 0, 21_600) == float("inf")


def test_a_later_event_of_equal_weight_scores_higher_however_old_both_are() -> None:
    assert score_of(1, EPOCH_MS + 1, 60) > score_of(1, EPOCH_MS, 60) == 0
    assert score_of(1, 1, 21_600) < 0


def test_arrays_score_as_numbers_do() -> None:
    weights, times = np.array([0.5, 3, 0, -1], np.float32), np.array([NOW_MS, 0, 1, 2])
    found = scores_of(weights, times, 600)
    assert found[:2] == pytest.approx([score_of(0.5, NOW_MS, 600), score_of(3, 0, 600)], abs=1e-9)
    assert found[2:].tolist() == [NEVER, NEVER]
