"""Score candidates: what a ranker promises, and the one that needs no training. Pure.

The day-zero ranker is a fixed, additive blend of calibrated features. Scores and contributions lie
on a grid of 2^-15, on which float32 adds without rounding up to 512, so that an item's
contributions sum to its score bit for bit. What the grid makes equal is ordered by arrival, newest
first.

Legend: n candidates; p contributions of the ranker; f features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Attribute
from freshet.settings import setting
from shared.bundles.candidates import NAMES, FeatureColumn

Floats = NDArray[np.float32]
Attributes = Mapping[str, Attribute]  # of a user, by name
NO_ATTRIBUTES: Final[Attributes] = {}

GRID: Final = np.float32(2.0**15)
SCORE_AT_MOST: Final = np.float32(255)

PARTS: Final = NAMES[: FeatureColumn.TOWER + 1]  # the features that the blend reads


@dataclass(frozen=True, slots=True)
class BlendSettings:
    """What one full unit of each part is worth; every part lies in -1 to 1 (README: the blend)."""

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
        "FRESHET_BLEND_COVISITS", 12.0, at_least=0, at_most=16, help="what others did next"
    )
    trending: float = setting(
        "FRESHET_BLEND_TRENDING", 0.15, at_least=0, at_most=8, help="now, in the user's scopes"
    )
    content: float = setting(
        "FRESHET_BLEND_CONTENT", 0.4, at_least=0, at_most=8, help="like one of the last 3 items"
    )
    popularity: float = setting(
        "FRESHET_BLEND_POPULARITY", 0.3, at_least=0, at_most=8, help="log of the visits of months"
    )
    freshness: float = setting(
        "FRESHET_BLEND_FRESHNESS", 0.05, at_least=0, at_most=8, help="breaks ties on day zero"
    )
    dislike: float = setting(
        "FRESHET_BLEND_DISLIKE",
        -0.6,
        at_least=-8,
        at_most=0,
        help="like what was disliked: times 1 + what the other parts add up to",
    )
    # By validation (README): beyond it lists are as good, and boosts lose room below SCORE_AT_MOST.
    tower: float = setting(
        "FRESHET_BLEND_TOWER", 96.0, at_least=0, at_most=128, help="what a trained bundle expects"
    )


def weights(settings: BlendSettings) -> Floats:
    """Return the weights in the order of PARTS, float32 (p,)."""
    return np.array([getattr(settings, name) for name in PARTS], np.float32)


def on_grid(scores: Floats) -> Floats:
    """Round to the grid, within ±SCORE_AT_MOST."""
    steps = np.rint(scores * GRID)
    np.minimum(steps, SCORE_AT_MOST * GRID, out=steps)
    np.maximum(steps, -SCORE_AT_MOST * GRID, out=steps)
    rounded: Floats = steps / GRID
    return rounded


def contributions(
    features: Floats,  # (n, f), the first columns as PARTS
    weights: Floats,  # (p,)
) -> Floats:
    """Return what each part adds to each score: (n, p) on the grid; its row sums are the scores.

    A dislike takes the more away, the more the other parts speak for an item: a list's scores are
    hundredths where little is known and fifty with a tower, and no number is right for both.
    """
    parts = on_grid(features[:, : len(weights)] * weights)
    disliked = features[:, FeatureColumn.DISLIKE]
    if disliked.any():
        parts[:, FeatureColumn.DISLIKE] = 0
        others = np.maximum(parts.sum(axis=1), 0)
        parts[:, FeatureColumn.DISLIKE] = on_grid(
            disliked * weights[FeatureColumn.DISLIKE] * (1 + others)
        )
    return parts


def boosted(
    scores: Floats,  # (n,) on the grid
    factors: Sequence[tuple[float, NDArray[np.bool_]]],  # factor, which candidates match (n,)
) -> tuple[Floats, list[Floats]]:
    """Multiply the scores of matching items; returns the scores and what each rule added (n,).

    A factor over 1 raises and one under 1 lowers whatever the score's sign: the rule adds
    |score| · (factor - 1).
    """
    added = []
    for factor, matches in factors:
        raised: Floats = (scores + np.abs(scores) * (factor - 1)).astype(np.float32)
        added.append(np.where(matches, on_grid(raised) - scores, np.float32(0)))
        scores = scores + added[-1]
    return scores, added


class Ranker(Protocol):
    """Scores candidates by their features."""

    @property
    def name(self) -> str:
        """Its name, as the versions of a reply say it."""
        ...

    @property
    def parts(self) -> Sequence[str]:
        """Names of the contributions, (p,)."""
        ...

    def score(self, features: Floats, attributes: Attributes = NO_ATTRIBUTES) -> Floats:
        """Return the contributions, (n, p) on the blend's grid; their sums are the scores.

        A candidate's do not depend on which others stand beside it.
        features: (n, f) in the order of features.NAMES; attributes: the user's own, by name.
        Raises ValueError for scores that are not finite.
        """
        ...


class BlendRanker:
    """The day-zero ranker."""

    name = "blend"
    parts = PARTS

    def __init__(self, settings: BlendSettings) -> None:
        self.weights = weights(settings)  # (p,)

    def score(self, features: Floats, attributes: Attributes = NO_ATTRIBUTES) -> Floats:
        """See Ranker.score."""
        return contributions(features, self.weights)


class Ranked(NamedTuple):
    """Candidates with their scores, the best first."""

    rows: NDArray[np.int64]  # (n,) of the catalogue
    proposed: NDArray[np.int64]  # (n,) bits of sources.BIT
    scores: Floats  # (n,) on the blend's grid
    parts: Floats  # (n, p) contributions of the ranker
    part_names: Sequence[str]  # (p,)
    rules: list[tuple[str, Floats]]  # name, what the rule added (n,)
    features: Floats  # (n, f)

    def take(self, order: NDArray[np.int64] | list[int]) -> Ranked:
        """Return some of the candidates in another order."""
        return Ranked(
            self.rows[order],
            self.proposed[order],
            self.scores[order],
            self.parts[order],
            self.part_names,
            [(name, added[order]) for name, added in self.rules],
            self.features[order],
        )
