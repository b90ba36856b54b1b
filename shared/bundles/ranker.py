"""Run a trained ranker: an ONNX model over features by name, checked before anything is scored.

The model's input is float32 (n, f). Its output is float32 (n,) or (n, 1), the higher the better; or
(n, p), the contributions that a score is the sum of, whose names the metadata say: `parts`, a JSON
list. The metadata also say which features it was trained on: `features`, a JSON list of names in
order. They are of candidates.NAMES, picked by name so that further ones do not break an older
model, and of the user's attributes: `user:NAME` is a number or a flag, `user:NAME=VALUE` whether it
has that value.

Legend: n candidates; m rows that fill their blocks; f features of the model; p parts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.bundles.bundle import RANKER, BadBundle, Bundle
from shared.bundles.candidates import BLOCK, NAMES, OF_USER, padded
from shared.bundles.onnx_model import BadModel, open_model

GOLDEN_ROWS: Final = 6
DIFFERS_AT_MOST: Final = 0.05  # of the largest contribution, between machines; on one it is 0
ROUNDED_BY: Final = 1e-5  # in the manifest

Floats = NDArray[np.float32]


class BadRanker(ValueError):
    """A model that is no ranker; the text says why, and goes on from its name."""


class RankerModel:
    """Gives contributions; where a model names no parts, its one is called `ranker`."""

    def __init__(self, model: bytes) -> None:
        """Load a model and try it. Raises BadRanker."""
        self.name = f"onnx-{hashlib.sha256(model).hexdigest()[:12]}"  # tells versions apart
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
        self.features: Sequence[str] = _names(metadata, "features")
        self.parts: Sequence[str] = _names(metadata, "parts") if "parts" in metadata else ["ranker"]
        known = {name for name in self.features if name in NAMES or name.startswith(OF_USER)}
        unknown = sorted({*self.features} - known)
        if unknown or not self.features:
            raise BadRanker(
                f"it wants features unknown here: {', '.join(unknown) or 'none at all'}"
            )
        self._check_isolation()

    def contributions(self, rows: Floats, count: int) -> Floats:
        """Return the contributions of the first rows, (n, p).

        rows: (m, f), n of candidates, then what fills the last block; count: n. Raises BadRanker
        where they are not finite, or not p a candidate.
        """
        try:
            (given,) = self._session.run([self._output.name], {self._input.name: rows})
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise BadRanker(f"it cannot score {count} rows: {error}") from None
        given = np.asarray(given, np.float32)
        if given.shape == (len(rows),):
            given = given[:, None]
        if given.shape != (len(rows), len(self.parts)) or not np.isfinite(given[:count]).all():
            wanted = "one a row" if len(self.parts) == 1 else f"{len(self.parts)} parts a row"
            raise BadRanker(f"scores must be finite, {wanted}; were {given.shape}")
        return given[:count]

    def golden(self) -> Floats:
        """Return the contributions of rows that are the same everywhere, (GOLDEN_ROWS, p)."""
        features = len(self.features)
        rows = np.arange(GOLDEN_ROWS * features).reshape(GOLDEN_ROWS, features) * 61 % 97 / 97
        return self._of(rows.astype(np.float32))

    def _of(self, rows: Floats) -> Floats:
        filled = np.zeros((padded(len(rows)), rows.shape[1]), np.float32)
        filled[: len(rows)] = rows
        return self.contributions(filled, len(rows))

    def _check_isolation(self) -> None:
        """Refuse a model whose scores depend on which candidates stand beside each other."""
        random = np.random.default_rng(0)
        rows = random.random((2 * BLOCK, len(self.features)), np.float32)
        order = random.permutation(len(rows))
        apart = np.concatenate([self._of(rows[order[:7]]), self._of(rows[order[7:]])])
        if not np.array_equal(self._of(rows)[order], apart):
            raise BadRanker("a candidate's score depends on which others stand beside it")


def ranker_of(bundle: Bundle) -> RankerModel | None:
    """Load a bundle's ranker and compare it with its golden outputs; None where it has none.

    Raises BadBundle.
    """
    if RANKER not in bundle.files:
        return None
    ranker = opened_ranker(bundle)
    here = ranker.golden()
    there = bundle.golden_rows("ranker_parts", len(ranker.parts), len(here))
    most = DIFFERS_AT_MOST * np.abs(there).max() + ROUNDED_BY
    differs = np.abs(here - there).max()
    if not differs <= most:
        raise BadBundle(
            f"bundle {bundle.space} gives other ranker_parts here than where it was built: "
            f"one differs by {differs:.3g}, at most {most:.3g} may be"
        )
    return ranker


def opened_ranker(bundle: Bundle) -> RankerModel:
    """Load the ranker of a bundle that has one. Raises BadBundle."""
    try:
        return RankerModel(bundle.files[RANKER])
    except BadRanker as error:
        raise BadBundle(f"bundle {bundle.space}: {RANKER}: {error}") from None


def _names(metadata: Mapping[str, str], of: str) -> list[str]:
    try:
        names = msgspec.json.decode(metadata.get(of, ""), type=list[str])
    except msgspec.DecodeError:
        raise BadRanker(f"its metadata must name its {of}: a JSON list, `{of}`") from None
    if len(set(names)) < len(names):
        raise BadRanker(f"its metadata name one of its {of} twice")
    return names
