"""Say how far figures can be trusted: bootstrap intervals, and a paired test of two models.

Legend: u users, who are what varies; m metrics; d draws.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.training.data.histories import Floats

DRAWS: Final = 1000
AT_ONCE: Final = 50  # draws whose weights stand in memory together
TAILS: Final = (0.025, 0.975)  # of 95 % intervals

Values = NDArray[np.float64]


def intervals(values: Values | Floats, seed: int, draws: int = DRAWS) -> Values:
    """Return the 95 % bootstrap interval of each column's mean: (u, m) → (2, m), low and high."""
    return np.quantile(drawn_means(values, seed, draws), TAILS, axis=0)


def interval(drawn: Values) -> tuple[float, float]:
    """Return what 95 % of drawn figures lie between, (d,)."""
    low, high = np.quantile(drawn, TAILS).tolist()
    return low, high


def randomisation(first: Values, second: Values, seed: int, draws: int = DRAWS) -> float:
    """Return how often as large a difference comes of models swapped by a coin for each user.

    first, second: (u,) of the same users. p of both sides, at least 1 / (draws + 1).
    """
    difference = first - second
    random = np.random.default_rng(seed)
    reached = 0
    for start in range(0, draws, AT_ONCE):
        size = (min(AT_ONCE, draws - start), len(difference))
        signs = random.integers(0, 2, size, np.int8) * 2 - 1
        # as large up to rounding: a difference of the very same users comes out in another order
        least = abs(difference.sum()) - 1e-9
        reached += int(np.count_nonzero(np.abs(signs @ difference) >= least))
    return float((reached + 1) / (draws + 1))


def drawn_means(values: Values | Floats, seed: int, draws: int = DRAWS) -> Values:
    """Return the means of users drawn with replacement, (d, m)."""
    users = len(values)
    random = np.random.default_rng(seed)
    means = [
        random.multinomial(users, np.full(users, 1 / users), min(AT_ONCE, draws - start)) @ values
        for start in range(0, draws, AT_ONCE)
    ]
    return np.concatenate(means) / users
