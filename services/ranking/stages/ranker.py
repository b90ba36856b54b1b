"""Score candidates: one contract, which the blend keeps first, and what scoring gives. Pure.

Legend: n candidates; p contributions of the ranker; f features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from services.ranking.stages import blend

Floats = NDArray[np.float32]


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

    def score(self, features: Floats) -> Floats:
        """Return the contributions, (n, p) on the blend's grid; their sums are the scores.

        features: (n, f) in the order of features.NAMES. Raises ValueError for scores that are
        not finite.
        """
        ...


class BlendRanker:
    """The day-zero blend (services/ranking/stages/blend.py)."""

    name = "blend"
    parts = blend.PARTS

    def __init__(self, settings: blend.BlendSettings) -> None:
        self.weights = blend.weights(settings)  # (p,)

    def score(self, features: Floats) -> Floats:
        """See Ranker.score."""
        return blend.contributions(features, self.weights)


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
