"""SHAP and LIME say of a score what its exact parts say, where a score has such parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from services.ranking.stages import blend
from services.ranking.stages.blend import PARTS, BlendSettings
from services.training.explanations.methods import METHODS, Method, by_lime, by_shap
from services.training.explanations.scoring import Score
from services.training.models.blended.ranker import AdditiveRanker, Example, RankerConfig
from shared.bundles.candidates import NAMES

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of shap's plots

Floats = NDArray[np.float32]
Parts = Callable[[Floats], Floats]


def candidates(seed: int = 0) -> tuple[Floats, Floats]:
    """Return an item's features and those of 60 others of a user who disliked nothing.

    What is of the user is alike for all.
    """
    table = np.random.default_rng(seed).random((61, len(NAMES)), np.float32)
    table[:, NAMES.index("events_share")] = 0.4
    table[:, NAMES.index("dislike")] = 0
    return table[0], table[1:]


def blend_parts(rows: Floats) -> Floats:
    return blend.contributions(rows[:, : len(PARTS)], blend.weights(BlendSettings()))


@pytest.fixture(scope="module")
def additive() -> AdditiveRanker:
    rng = np.random.default_rng(1)
    tables = [rng.random((20, len(NAMES)), np.float32) for _ in range(200)]
    ranker = AdditiveRanker(NAMES, RankerConfig(loyalty=1.0))
    ranker.fit(Example(table, int(np.abs(table[:, 3] - 0.5).argmin())) for table in tables)
    return ranker


def network() -> Parts:
    """Return a network whose score no sum of single features is, as one part."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(len(NAMES), 16), nn.Tanh(), nn.Linear(16, 1))

    def score(rows: Floats) -> Floats:
        with torch.inference_mode():
            found: Floats = layers(torch.from_numpy(rows)).numpy()
        return found

    return score


def summed(parts: Parts) -> Score:
    return lambda rows: parts(rows).sum(axis=1)


def check_shap_is_exact(parts: Parts) -> None:
    values, others = candidates()
    found = by_shap(summed(parts), values, others, seed=0)
    exact = parts(values[None])[0] - parts(others).mean(axis=0)
    expected = np.zeros(len(values))
    expected[: len(exact)] = exact
    np.testing.assert_allclose(found.contributions, expected, atol=2e-4)
    assert found.base == pytest.approx(parts(others).sum(axis=1).mean(), abs=1e-4)


def test_shap_of_the_blend_is_its_parts_less_those_of_an_ordinary_candidate() -> None:
    check_shap_is_exact(blend_parts)


def test_shap_of_an_additive_ranker_is_its_curves_less_those_of_an_ordinary_candidate(
    additive: AdditiveRanker,
) -> None:
    check_shap_is_exact(additive.contributions)


def test_shap_of_any_score_sums_to_it(additive: AdditiveRanker) -> None:
    values, others = candidates(2)
    values[NAMES.index("dislike")] = 0.5
    for parts in (blend_parts, additive.contributions, network()):
        found = by_shap(summed(parts), values, others, seed=0)
        score = parts(values[None]).sum()
        assert found.base + found.contributions.sum() == pytest.approx(score, abs=1e-4)


def test_lime_has_the_signs_the_order_and_about_the_weights_of_the_blend() -> None:
    values, others = candidates()
    found = by_lime(summed(blend_parts), values, others, seed=0)
    assert found.weights is not None
    weights, known = blend.weights(BlendSettings()), found.weights[: len(PARTS)]
    of_spread = others[:, : len(PARTS)].std(axis=0)  # what it fits its line by
    np.testing.assert_allclose(known * of_spread, weights * of_spread, atol=0.05)
    large = (np.abs(weights) >= 0.3) & (of_spread > 0)
    assert np.array_equal(np.sign(known[large]), np.sign(weights[large]))
    assert np.argmax(known) == np.argmax(weights) == PARTS.index("tower")
    assert np.abs(found.weights[len(PARTS) :]).max() < 0.1


@pytest.mark.parametrize("method", METHODS)
def test_what_is_alike_for_all_candidates_explains_nothing(method: Method) -> None:
    values, others = candidates()
    found = METHODS[method](summed(network()), values, others, 0)
    assert found.contributions[NAMES.index("events_share")] == 0
    alike = METHODS[method](summed(network()), values, np.stack([values] * 3), 0)
    assert not alike.contributions.any()
    assert alike.base == pytest.approx(network()(values[None])[0, 0], abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_one_explanation(method: Method) -> None:
    values, others = candidates()
    one, two = (METHODS[method](summed(network()), values, others, 3) for _ in range(2))
    assert one.contributions.tolist() == two.contributions.tolist()
