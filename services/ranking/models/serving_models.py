"""Load what a bundle brings for lists: a ranker and a session tower, either of which may be absent.

Encoders and item tower are embedding's; of a bundle's files only those that serve here are read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.ranking.models.onnx_ranker import BadRanker, OnnxRanker
from shared.bundles.bundle import RANKER, SESSION, BadBundle, Bundle
from shared.bundles.towers import OnnxSessionTower, check_session_tower


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
        ranker = tower = None
        if RANKER in bundle.files:
            try:
                ranker = OnnxRanker(bundle.files[RANKER])
            except BadRanker as error:
                raise BadBundle(f"{folder}/{RANKER}: {error}") from None
        if SESSION in bundle.files:
            tower = OnnxSessionTower(bundle)
            check_session_tower(bundle, tower)
        return cls(bundle.space, ranker, tower)
