"""Score by a fixed, additive blend of calibrated features; nothing is trained. Pure.

Scores and contributions lie on a grid of 2^-15, on which float32 adds without rounding up to 512,
so that an item's contributions sum to its score bit for bit. What the grid makes equal is ordered
by arrival, newest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from freshet.settings import setting
from services.ranking.stages.features import NAMES, FeatureColumn

GRID: Final = np.float32(2.0**15)
SCORE_AT_MOST: Final = np.float32(255)

PARTS: Final = NAMES[: FeatureColumn.DISLIKE + 1]  # the features that the blend reads


@dataclass(frozen=True, slots=True)
class BlendSettings:
    """What one full unit of each part is worth; every part lies in -1 to 1 (README: reasons)."""

    session: float = setting(
        "FRESHET_BLEND_SESSION", 1.0, at_least=0, at_most=8, help="present interest: the unit"
    )
    interests: float = setting(
        "FRESHET_BLEND_INTERESTS", 0.4, at_least=0, at_most=8, help="the nearest of 3 interests"
    )
    long_term: float = setting(
        "FRESHET_BLEND_LONG_TERM", 0.3, at_least=0, at_most=8, help="taste over weeks"
    )
    covisits: float = setting(
        "FRESHET_BLEND_COVISITS", 4.0, at_least=0, at_most=8, help="what others did next"
    )
    trending: float = setting(
        "FRESHET_BLEND_TRENDING", 0.15, at_least=0, at_most=8, help="now, in the user's scopes"
    )
    new: float = setting(
        "FRESHET_BLEND_NEW",
        4.0,
        at_least=0,
        at_most=8,
        help="of a liked kind, too new for co-visits",
    )
    content: float = setting(
        "FRESHET_BLEND_CONTENT", 0.4, at_least=0, at_most=8, help="like one of the last 3 items"
    )
    popularity: float = setting(
        "FRESHET_BLEND_POPULARITY", 0.15, at_least=0, at_most=8, help="log of the decayed weight"
    )
    freshness: float = setting(
        "FRESHET_BLEND_FRESHNESS", 0.05, at_least=0, at_most=8, help="breaks ties on day zero"
    )
    dislike: float = setting(
        "FRESHET_BLEND_DISLIKE", -1.3, at_least=-8, at_most=0, help="like what was disliked"
    )


def weights(settings: BlendSettings) -> NDArray[np.float32]:
    """Return the weights in the order of PARTS, float32 (p,)."""
    return np.array([getattr(settings, name) for name in PARTS], np.float32)


def on_grid(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the grid, within ±SCORE_AT_MOST."""
    steps = np.rint(scores * GRID)
    np.minimum(steps, SCORE_AT_MOST * GRID, out=steps)
    np.maximum(steps, -SCORE_AT_MOST * GRID, out=steps)
    rounded: NDArray[np.float32] = steps / GRID
    return rounded


def contributions(
    features: NDArray[np.float32],  # (n, f), the first columns as PARTS
    weights: NDArray[np.float32],  # (p,)
) -> NDArray[np.float32]:
    """Return what each part adds to each score: (n, p) on the grid; its row sums are the scores."""
    return on_grid(features[:, : len(weights)] * weights)


def boosted(
    scores: NDArray[np.float32],  # (n,) on the grid
    factors: Sequence[tuple[float, NDArray[np.bool_]]],  # factor, which candidates match (n,)
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Multiply the scores of matching items; returns the scores and what each rule added (n,).

    A factor over 1 raises and one under 1 lowers whatever the score's sign: the rule adds
    |score| · (factor - 1).
    """
    added = []
    for factor, matches in factors:
        raised: NDArray[np.float32] = (scores + np.abs(scores) * (factor - 1)).astype(np.float32)
        added.append(np.where(matches, on_grid(raised) - scores, np.float32(0)))
        scores = scores + added[-1]
    return scores, added
