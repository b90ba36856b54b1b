"""Split a score among features by looking at the scoring function from outside: SHAP and LIME.

Both compare with other candidates of the same list. What all of them have in common with the item
explains no difference and gets nothing.

Legend: n candidates; m others; f features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.training.data.histories import Floats
from services.training.explanations.scoring import Score

PERMUTATIONS: Final = 10  # orders, and their reverses, in which SHAP lets features come in
SAMPLES: Final = 2_000  # points around the item that LIME fits its line to

Method = Literal["shap", "lime"]
Doubles = NDArray[np.float64]


class Explained(NamedTuple):
    """What each feature adds to what is expected of one of the others."""

    base: float
    contributions: Doubles  # (f,) SHAP: with the base they sum to the score
    weights: Doubles | None = None  # (f,) LIME: by how much the score rises with a unit, hereabouts


def by_shap(score: Score, values: Floats, others: Floats, seed: int) -> Explained:
    """Return Shapley values (Lundberg & Lee 2017) for an item (f,) beside others (m, f).

    The base is the others' mean score. Where a score is a sum of functions of single features, a
    value is what the item's feature adds less the mean of what the others' add.
    """
    import shap

    varies, of_varying = _varying(score, values, others)
    if not varies.any():
        return Explained(float(score(others).mean()), np.zeros(len(values)))
    masker = shap.maskers.Independent(others[:, varies], max_samples=len(others))
    explainer = shap.PermutationExplainer(of_varying, masker, seed=seed)
    evaluations = PERMUTATIONS * (2 * np.count_nonzero(varies) + 1)
    found = explainer(values[None, varies], max_evals=evaluations, silent=True)
    contributions = np.zeros(len(values))
    contributions[varies] = found.values[0]
    return Explained(float(found.base_values[0]), contributions)


def by_lime(score: Score, values: Floats, others: Floats, seed: int) -> Explained:
    """Fit a line to the scores around an item (Ribeiro et al. 2016), as far as the others lie.

    A contribution is the line's weight times the distance from the others' mean, where its base is.
    """
    from lime.lime_tabular import LimeTabularExplainer

    varies, of_varying = _varying(score, values, others)
    contributions, weights = np.zeros((2, len(values)))
    if not varies.any():
        return Explained(float(score(others).mean()), contributions, weights)
    explainer = LimeTabularExplainer(
        others[:, varies],
        mode="regression",
        feature_selection="none",
        discretize_continuous=False,
        sample_around_instance=True,
        random_state=seed,
    )
    found = explainer.explain_instance(values[varies], of_varying, num_samples=SAMPLES)
    slopes = np.array([slope for _, slope in sorted(found.local_exp[1])])  # by deviations
    scaler = explainer.scaler
    contributions[varies] = slopes * (values[varies] - scaler.mean_) / scaler.scale_
    weights[varies] = slopes / scaler.scale_
    return Explained(float(found.intercept[1]), contributions, weights)


METHODS: Final[dict[Method, Callable[[Score, Floats, Floats, int], Explained]]] = {
    "shap": by_shap,
    "lime": by_lime,
}


def _varying(score: Score, values: Floats, others: Floats) -> tuple[NDArray[np.bool_], Score]:
    """Return in which features others differ from the item, and what scores rows of these alone."""
    varies = (others != values).any(axis=0)

    def of_varying(rows: Floats) -> Floats:
        table = np.tile(values, (len(rows), 1))
        table[:, varies] = rows
        return score(table)

    return varies, of_varying
