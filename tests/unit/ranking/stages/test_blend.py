from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from services.ranking.stages import blend
from shared.bundles.candidates import FeatureColumn

Floats = NDArray[np.float32]

PARTS = len(blend.PARTS)
features = arrays(np.float32, (5, PARTS), elements=st.floats(-1, 1, width=32))
weights = arrays(np.float32, PARTS, elements=st.floats(-8, 8, width=32))


@given(features, weights, st.permutations(range(PARTS)))
def test_contributions_sum_to_the_score_bit_for_bit_in_any_order(
    values: Floats, worth: Floats, order: list[int]
) -> None:
    parts = blend.contributions(values, worth)
    score = parts.sum(axis=1)
    total = np.zeros(5, np.float32)
    for column in order:
        total += parts[:, column]
    np.testing.assert_array_equal(total, score)


def test_a_dislike_takes_as_large_a_share_of_a_large_score_as_of_a_small_one() -> None:
    worth = blend.weights(blend.BlendSettings(session=1.0, dislike=-0.5, tower=96.0))
    values = np.zeros((4, PARTS), np.float32)
    values[0, FeatureColumn.SESSION] = 0.5
    values[1, FeatureColumn.TOWER] = 0.5
    values[2, FeatureColumn.SESSION] = -0.5
    values[:, FeatureColumn.DISLIKE] = 0.25
    taken = blend.contributions(values, worth)[:, FeatureColumn.DISLIKE]
    assert taken.tolist() == [-0.125 * 1.5, -0.125 * 49, -0.125, -0.125]


@given(features, weights, st.lists(st.floats(0, 100), max_size=4))
def test_rules_add_up_to_the_boosted_score_bit_for_bit(
    values: Floats, worth: Floats, factors: list[float]
) -> None:
    base = blend.contributions(values, worth).sum(axis=1)
    matches = np.array([True, False, True, True, False])
    score, added = blend.boosted(base, [(factor, matches) for factor in factors])
    total = base
    for part in added:
        total = total + part
    np.testing.assert_array_equal(total, score)
    np.testing.assert_array_equal(score[~matches], base[~matches])


def test_a_boost_raises_and_a_burial_lowers_whatever_the_sign() -> None:
    base = np.array([2.0, -2.0], np.float32)
    both = np.array([True, True])
    assert blend.boosted(base, [(1.5, both)])[0].tolist() == [3.0, -1.0]
    assert blend.boosted(base, [(0.5, both)])[0].tolist() == [1.0, -3.0]


def test_weights_follow_the_order_of_the_parts() -> None:
    worth = blend.weights(blend.BlendSettings(session=2.0, dislike=-3.0, tower=5.0))
    assert worth[0] == 2
    assert worth[-2:].tolist() == [-3, 5]
