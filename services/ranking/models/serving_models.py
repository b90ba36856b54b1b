"""Load what a bundle brings for lists: a ranker and a session tower, either of which may be absent.

Encoders and item tower are embedding's; of a bundle's files only those that serve here are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.ranking.models.onnx_ranker import OnnxRanker
from shared.bundles.bundle import RANKER, SESSION, Bundle
from shared.bundles.ranker import ranker_of
from shared.bundles.towers import OnnxSessionTower, session_tower_of


@dataclass(frozen=True, slots=True)
class ServingModels:
    """What serves beside the catalogue of one space."""

    space: str
    ranker: OnnxRanker | None = None  # None: the blend
    tower: OnnxSessionTower | None = None

    @classmethod
    def load(cls, folder: Path) -> ServingModels:
        """Load and check a bundle's. Raises BadBundle."""
        bundle = Bundle.load(folder, (SESSION, RANKER))
        ranker = ranker_of(bundle)
        return cls(
            bundle.space,
            None if ranker is None else OnnxRanker(ranker),
            session_tower_of(bundle),
        )
