"""Say how good probabilities are: whether they order outcomes (AUC), and whether they come true.

Legend: n predictions, each with its outcome, 0 or 1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Predictions = NDArray[np.float64]
Outcomes = NDArray[np.int64]

LEAST: Final = 1e-7  # what a certainty counts as, so that one mistake does not cost infinity
BINS: Final = 10


def auc(predictions: Predictions, outcomes: Outcomes) -> float:
    """Return how often a 1 is predicted above a 0; equal ones count half. NaN without both."""
    ones = np.count_nonzero(outcomes)
    zeros = len(outcomes) - ones
    if not ones or not zeros:
        return float("nan")
    _, which, counts = np.unique(predictions, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle_ranks = (ends - (counts - 1) / 2)[which]  # from 1
    of_ones = middle_ranks[outcomes == 1].sum()
    return float((of_ones - ones * (ones + 1) / 2) / (ones * zeros))


def log_loss(predictions: Predictions, outcomes: Outcomes) -> float:
    """Return the mean surprise at the outcomes, in nats."""
    of_outcome = np.where(outcomes == 1, predictions, 1 - predictions)
    return float(-np.log(np.clip(of_outcome, LEAST, 1)).mean())


def calibration_error(predictions: Predictions, outcomes: Outcomes, bins: int = BINS) -> float:
    """Return how far predictions are from what comes true, the mean over bins of equal width.

    Weighted by how many predictions a bin holds: the expected calibration error
    (Naeini, Cooper, Hauskrecht 2015).
    """
    of = np.minimum((predictions * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(of, predictions - outcomes, minlength=bins)
    return float(np.abs(gaps).sum() / len(predictions))
