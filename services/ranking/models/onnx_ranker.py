"""Score by a trained ranker: pick its features from those of the candidates and the user.

Legend: n candidates; f features of the model; p parts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Attribute
from services.ranking.stages import blend
from services.ranking.stages.blend import NO_ATTRIBUTES, Attributes
from shared.bundles.candidates import NAMES, OF_USER, padded
from shared.bundles.ranker import BadRanker, RankerModel

BYTES_AT_MOST: Final = 256 * 1024 * 1024

Floats = NDArray[np.float32]


class OnnxRanker:
    """Scores candidates by a model."""

    def __init__(self, model: RankerModel) -> None:
        self.name = model.name
        self.parts = model.parts
        self._model = model
        of_user = {n: name for n, name in enumerate(model.features) if name.startswith(OF_USER)}
        own = [n for n in range(len(model.features)) if n not in of_user]
        self._own = np.array(own, np.int64)  # columns of the model that are of the candidates
        self._columns = np.array([NAMES.index(model.features[n]) for n in own], np.int64)
        self._of_user = {n: name[len(OF_USER) :] for n, name in of_user.items()}

    def score(self, table: Floats, attributes: Attributes = NO_ATTRIBUTES) -> Floats:
        """Return the model's contributions, (n, p) on the blend's grid.

        table: (n, len(NAMES)); attributes: the user's own. Raises BadRanker where they are not
        finite or not p a candidate.
        """
        count = len(table)
        picked = np.zeros((padded(count), len(self._model.features)), np.float32)
        picked[:count, self._own] = table[:, self._columns]
        for column, name in self._of_user.items():
            picked[:count, column] = _of_user(name, attributes)
        return blend.on_grid(self._model.contributions(picked, count))


def load(path: Path) -> OnnxRanker:
    """Load a ranker from a file. Raises BadRanker."""
    try:
        with path.open("rb") as file:
            model = file.read(BYTES_AT_MOST + 1)
    except OSError as error:
        raise BadRanker(f"{path}: {error.strerror}") from None
    if len(model) > BYTES_AT_MOST:
        raise BadRanker(f"{path} has more than {BYTES_AT_MOST} bytes")
    return OnnxRanker(RankerModel(model))


def _of_user(name: str, attributes: Attributes) -> float:
    """Return an attribute as a number: of `NAME=VALUE` whether it is that, else 0 for a text."""
    attribute, equals, value = name.partition("=")
    held = attributes.get(attribute)
    if equals:
        return float(held is not None and _written(held) == value)
    return 0.0 if held is None or isinstance(held, str) else float(held)


def _written(value: Attribute) -> str:
    """Return a value as names of features write it: `true`, `1`, `0.5`, or the text itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else f"{value:g}"
