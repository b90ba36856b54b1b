"""What scores candidates: one contract, the blend as its first keeper. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.ranking.stages import blend


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

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
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
        self._weights = blend.weights(settings)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """See Ranker.score."""
        return blend.contributions(features, self._weights)
