"""Keep decayed weights as log2, so that decay never rewrites what is stored.

A score is log2 Σ w · 2^(t / half_life), t in seconds since 2000-01-01 UTC: as time goes by all
weights of a set sink alike, so the order of scores is always that of the decayed weights. In log2
nothing over- or underflows, however old the set.

Half-lives over 30 days count from ANCHOR_MS on only: until then co-visits had 30 days, and what was
written with those goes on with the weight that it had come to.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from freshet.settings import setting

EPOCH_MS: Final = 946_684_800_000  # 2000-01-01T00:00:00Z
ANCHOR_MS: Final = 1_796_083_200_000  # 2026-12-01T00:00:00Z
ANCHORED_OVER_S: Final = 30 * 86_400.0
NEVER: Final = float("-inf")  # the score of no weight at all


@dataclass(frozen=True)
class HalfLives:
    """Half-lives of the scores in Redis; who writes and who reads them must have the same."""

    covisits_s: float = setting(
        "FRESHET_COVISIT_HALF_LIFE_S",
        365 * 86_400.0,
        at_least=60,
        help="s until a co-visit, or a visit for popularity, counts half: habits outlast a season",
    )
    trending_s: float = setting(
        "FRESHET_TRENDING_HALF_LIFE_S",
        6 * 3_600.0,
        at_least=60,
        help="s until an event counts half for trending: news of the day, not of the minute",
    )


def halvings(time_ms: Any, half_life_s: float) -> Any:
    """Return the score of a weight of 1 given at a time, or at each of an array of times."""
    before = (ANCHOR_MS - EPOCH_MS) / (1000.0 * min(half_life_s, ANCHORED_OVER_S))
    return before + (time_ms - ANCHOR_MS) / (1000.0 * half_life_s)


def score_of(weight: float, time_ms: int, half_life_s: float) -> float:
    """Return the score of one weight > 0 that was given at a time."""
    score: float = log2(weight) + halvings(time_ms, half_life_s)
    return score


def scores_of(
    weights: NDArray[Any], times_ms: NDArray[np.int64], half_life_s: float
) -> NDArray[np.float64]:
    """Return the score of each weight, NEVER where it is not above 0; shapes are broadcast."""
    wide = weights.astype(np.float64)  # float32 would lose the exact logarithm
    logs = np.full(wide.shape, NEVER)
    np.log2(wide, out=logs, where=wide > 0)
    scores: NDArray[np.float64] = logs + halvings(times_ms, half_life_s)
    return scores


def add(a: float, b: float) -> float:
    """Return the score of two scores' weights together."""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + log2(1.0 + 2.0 ** (b - a))


def weight_at(score: float, time_ms: int, half_life_s: float) -> float:
    """Return what a score's weight has decayed to at a time; inf where a float ends."""
    exponent = score - halvings(time_ms, half_life_s)
    return 2.0**exponent if exponent < 1024 else float("inf")
