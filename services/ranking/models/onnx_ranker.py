"""Score by a trained ranker: an ONNX model over the features, verified before it is loaded.

The model's input is float32 (n, f). Its output is float32 (n,) or (n, 1), the higher the better; or
(n, p), the contributions that a score is the sum of, whose names the metadata say: `parts`, a JSON
list. The metadata also say which features it was trained on: `features`, a JSON list of names in
order. They are picked from features.NAMES, so that further features do not break an older model,
and from the user's attributes: `user:NAME` is a number or a flag, `user:NAME=VALUE` whether it has
that value.

Legend: n candidates; f features of the model; p parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Attribute
from services.ranking.stages import blend, features
from services.ranking.stages.blend import NO_ATTRIBUTES, Attributes
from services.ranking.stages.products import BLOCK, padded
from shared.bundles.onnx_model import BadModel, open_model

BYTES_AT_MOST: Final = 256 * 1024 * 1024
OF_USER: Final = "user:"

Floats = NDArray[np.float32]


class BadRanker(ValueError):
    """A file that is no ranker for these features; the text says why."""


class OnnxRanker:
    """Scores candidates by a model; where it names no parts, its one is called `ranker`."""

    def __init__(self, model: bytes) -> None:
        """Load a model. Raises BadRanker."""
        self.name = f"onnx-{hashlib.sha256(model).hexdigest()[:12]}"
        try:
            self._session = open_model(model)
        except BadModel as error:
            raise BadRanker(f"it {error}") from None
        (self._input, *further), (self._output, *_) = (
            self._session.get_inputs(),
            self._session.get_outputs(),
        )
        if further or self._input.type != "tensor(float)":
            raise BadRanker("it must have one input, float32")
        metadata = self._session.get_modelmeta().custom_metadata_map
        names = _names(metadata, "features")
        self.parts: Sequence[str] = _names(metadata, "parts") if "parts" in metadata else ["ranker"]
        unknown = sorted({n for n in names if not n.startswith(OF_USER)} - set(features.NAMES))
        if unknown or not names:
            raise BadRanker(
                f"it wants features unknown here: {', '.join(unknown) or 'none at all'}"
            )
        own = [number for number, name in enumerate(names) if not name.startswith(OF_USER)]
        self._width = len(names)
        self._own = np.array(own, np.int64)  # columns of the model that are of the candidates
        self._columns = np.array([features.NAMES.index(names[n]) for n in own], np.int64)
        self._of_user = {n: names[n][len(OF_USER) :] for n in {*range(len(names))} - {*own}}
        self._check_isolation()

    def score(self, table: Floats, attributes: Attributes = NO_ATTRIBUTES) -> Floats:
        """Return the model's contributions, (n, p) on the blend's grid.

        table: (n, len(NAMES)); attributes: the user's own. Raises BadRanker where they are not
        finite or not p a candidate.
        """
        count = len(table)
        picked = np.zeros((padded(count), self._width), np.float32)  # as products.py says why
        picked[:count, self._own] = table[:, self._columns]
        for column, name in self._of_user.items():
            picked[:count, column] = _of_user(name, attributes)
        try:
            (given,) = self._session.run([self._output.name], {self._input.name: picked})
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise BadRanker(f"it cannot score {count} rows: {error}") from None
        given = np.asarray(given, np.float32)
        if given.shape == (len(picked),):
            given = given[:, None]
        if given.shape != (len(picked), len(self.parts)) or not np.isfinite(given[:count]).all():
            wanted = "one a row" if len(self.parts) == 1 else f"{len(self.parts)} parts a row"
            raise BadRanker(f"scores must be finite, {wanted}; were {given.shape}")
        return blend.on_grid(given[:count])

    def _check_isolation(self) -> None:
        """Refuse a model whose scores depend on which candidates stand beside each other."""
        random = np.random.default_rng(0)
        table = random.random((2 * BLOCK, len(features.NAMES)), np.float32)
        together = self.score(table)
        order = random.permutation(len(table))
        apart = np.concatenate([self.score(table[order[:7]]), self.score(table[order[7:]])])
        if not np.array_equal(together[order], apart):
            raise BadRanker("a candidate's score depends on which others stand beside it")


def load(path: Path) -> OnnxRanker:
    """Load a ranker from a file. Raises BadRanker."""
    try:
        with path.open("rb") as file:
            model = file.read(BYTES_AT_MOST + 1)
    except OSError as error:
        raise BadRanker(f"{path}: {error.strerror}") from None
    if len(model) > BYTES_AT_MOST:
        raise BadRanker(f"{path} has more than {BYTES_AT_MOST} bytes")
    return OnnxRanker(model)


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


def _names(metadata: Mapping[str, str], of: str) -> list[str]:
    try:
        names = msgspec.json.decode(metadata.get(of, ""), type=list[str])
    except msgspec.DecodeError:
        raise BadRanker(f"its metadata must name its {of}: a JSON list, `{of}`") from None
    if len(set(names)) < len(names):
        raise BadRanker(f"its metadata name one of its {of} twice")
    return names
