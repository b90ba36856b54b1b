"""Decayed weights kept as log2, so that decay never rewrites what is stored.

A score is log2 Σ w · 2^(t / half_life), t in seconds since 2000-01-01 UTC: as time goes by all
weights of a set sink alike, so the order of scores is always that of the decayed weights. In log2
nothing over- or underflows, however old the set.
"""

from __future__ import annotations

from math import log2
from typing import Final

EPOCH_MS: Final = 946_684_800_000  # 2000-01-01T00:00:00Z
NEVER: Final = float("-inf")  # the score of no weight at all


def score_of(weight: float, time_ms: int, half_life_s: float) -> float:
    """Return the score of one weight > 0 that was given at a time."""
    return log2(weight) + (time_ms - EPOCH_MS) / (1000.0 * half_life_s)


def add(a: float, b: float) -> float:
    """Return the score of two scores' weights together."""
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + log2(1.0 + 2.0 ** (b - a))


def weight_at(score: float, time_ms: int, half_life_s: float) -> float:
    """Return what a score's weight has decayed to at a time. Overflows to inf, never raises."""
    exponent = score - (time_ms - EPOCH_MS) / (1000.0 * half_life_s)
    return 2.0**exponent if exponent < 1024 else float("inf")
