"""Score by a trained ranker: an ONNX model over the features, verified before it is loaded.

The model's input is float32 (n, f), its output float32 (n,) or (n, 1), the higher the better. Its
metadata say which features it was trained on: `features`, a JSON list of names in order. They are
picked from features.NAMES, so that further features do not break an older model.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.ranking.stages import blend, features
from shared.runtime.onnx_model import has_external_data

FILE: Final = "ranker.onnx"  # in a bundle's folder
BYTES_AT_MOST: Final = 256 * 1024 * 1024


class BadRanker(ValueError):
    """A file that is no ranker for these features; the text says why."""


class OnnxRanker:
    """Scores candidates by a model; its one contribution is called `ranker`."""

    parts = ("ranker",)

    def __init__(self, model: bytes) -> None:
        """Load a model. Raises BadRanker."""
        try:
            outside = has_external_data(model)
        except ValueError as error:
            raise BadRanker(f"it is {error}") from None
        if outside:  # a path that could lead anywhere, and weights that no hash covers
            raise BadRanker("it keeps tensors in other files")
        self.name = f"onnx-{hashlib.sha256(model).hexdigest()[:12]}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # 500 rows: no use of more
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise BadRanker(f"ONNX Runtime refuses it: {error}") from None
        (self._input, *further), (self._output, *_) = (
            self._session.get_inputs(),
            self._session.get_outputs(),
        )
        if further or self._input.type != "tensor(float)":
            raise BadRanker("it must have one input, float32")
        names = _features_of(self._session.get_modelmeta().custom_metadata_map)
        self._columns = np.array([features.NAMES.index(name) for name in names])
        self.score(np.zeros((2, len(features.NAMES)), np.float32))

    def score(self, table: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the model's scores as the one contribution: (n, f) → (n, 1) on the blend's grid.

        Raises ValueError where they are not finite or not one a candidate.
        """
        try:
            picked = np.ascontiguousarray(table[:, self._columns])
            (scores,) = self._session.run([self._output.name], {self._input.name: picked})
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise BadRanker(f"it cannot score {table.shape[0]} rows: {error}") from None
        scores = np.asarray(scores, np.float32)
        if scores.size != len(table) or not np.isfinite(scores).all():
            raise BadRanker(f"scores must be finite, one a row; were {scores.shape}")
        return blend.on_grid(scores.reshape(-1, 1))


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


def load_from_bundle(folder: Path) -> OnnxRanker | None:
    """Load a bundle's ranker, None where its manifest lists none. Raises BadRanker."""
    try:
        files: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())["files"]
        entry = files.get(FILE)
        if entry is None:
            return None
        named = str(entry["sha256"])
    except OSError as error:
        raise BadRanker(f"{folder}/manifest.json: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRanker(f"{folder}/manifest.json is no manifest: {error!r}") from None
    path = folder / FILE
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != named:
        raise BadRanker(f"{path} is not the file that the manifest names")
    return load(path)


def _features_of(metadata: dict[str, str]) -> list[str]:
    try:
        names = msgspec.json.decode(metadata.get("features", ""), type=list[str])
    except msgspec.DecodeError:
        raise BadRanker("its metadata must name its features: a JSON list, `features`") from None
    unknown = sorted(set(names) - set(features.NAMES))
    if unknown or not names:
        raise BadRanker(f"it wants features unknown here: {', '.join(unknown) or 'none at all'}")
    return names
