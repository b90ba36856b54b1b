"""Measure probabilities that an item comes next, beside items drawn at random, user by user.

Legend: u users; c candidates: what came next, and what is drawn; p predictions of a user.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from services.training.data.splits import Asked
from services.training.evaluation.measure import Figures
from services.training.evaluation.probabilities import auc, calibration_error, log_loss
from services.training.evaluation.ranks import AT_ONCE, asked_in_parts
from services.training.evaluation.significance import Values, intervals
from services.training.models.model import ProbabilityModel

TIMES: Final = 25  # as many items are drawn as in training, so that chance has little say
OF_USERS: Final = ("auc", "log_loss")


class JudgedPairs(NamedTuple):
    """How good a model's probabilities are."""

    of_users: Values  # (u, 2) as OF_USERS
    calibration_error: float


def judged_pairs(model: ProbabilityModel, asked: Asked, n_items: int, seed: int) -> JudgedPairs:
    """Let a model judge what came next beside what is drawn, the same for all models of a seed.

    What came next counts once for every `negatives` items drawn, as where the model learnt.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, n_items, (len(asked), TIMES * model.negatives))
    candidates = np.concatenate([asked.targets[:, None], drawn], axis=1)  # (u, c)
    starts = range(0, len(asked), AT_ONCE)
    chances = [
        model.probabilities(part.histories, candidates[start : start + AT_ONCE])
        for start, part in zip(starts, asked_in_parts(asked), strict=True)
    ]
    weighed = [0] * (TIMES - 1) + list(range(candidates.shape[1]))  # columns, (p,)
    predictions = np.concatenate(chances).astype(np.float64)[:, weighed]
    came_next = (candidates == asked.targets[:, None]).astype(np.int64)[:, weighed]
    return JudgedPairs(
        np.array(
            [
                (auc(*of_user), log_loss(*of_user))
                for of_user in zip(predictions, came_next, strict=True)
            ]
        ),
        calibration_error(predictions.ravel(), came_next.ravel()),
    )


def pair_figures(judged: JudgedPairs, seed: int) -> Figures:
    """Return AUC and log-loss, the means of users with intervals, and the calibration error."""
    error = {"calibration_error": judged.calibration_error}
    return error | _means(judged.of_users, OF_USERS, seed)


def pair_gains(judged: JudgedPairs, other: JudgedPairs, seed: int) -> Figures:
    """Return how much larger they are than another model's for the same users."""
    names = tuple(f"{name}_gain" for name in OF_USERS)
    return _means(judged.of_users - other.of_users, names, seed)


def _means(values: Values, names: tuple[str, ...], seed: int) -> Figures:
    figures: Figures = {}
    bounds = intervals(values, seed).T.tolist()
    for name, mean, (low, high) in zip(names, values.mean(axis=0).tolist(), bounds, strict=True):
        figures |= {name: mean, f"{name}_interval": (low, high)}
    return figures
