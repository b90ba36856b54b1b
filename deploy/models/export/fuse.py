"""Learn the day-zero fusion from the weights alone: no picture, no catalogue. Pure.

- The common columns are the main directions of the text space, over words of the tokenizer and the
  names of the CNN's classes.
- The bridge: each of the CNN's 1000 classifier rows is the direction of features that means a
  class, and the class has a name with a text vector. Ridge regression from rows to names maps any
  features.
- The own columns are the main directions of the classifier rows: what the CNN tells apart best.
- Colour moments are joined, because the CNN was trained to see past them.

Sizes and weights were chosen by measurement: deploy/decisions/fusion.md.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

COMMON, OWN = 64, 26
RIDGE = 1.0
# Common part of a picture, its own part, its colours; common part of a text.
WEIGHTS = (0.6, 0.5, 0.25, 1.0)
# Where colour moments lie, roughly, in pictures of things: mean and spread of red, green, blue.
COLOUR_CENTRE = (0.5, 0.5, 0.5, 0.25, 0.25, 0.25)
COLOUR_SCALE = (0.25, 0.25, 0.25, 0.1, 0.1, 0.1)

_Matrix = NDArray[np.float64]


def learn_fusion(
    classifier: NDArray[np.float32],
    class_names: NDArray[np.float32],
    words: NDArray[np.float32],
    *,
    common_columns: int = COMMON,
    own_columns: int = OWN,
    weights: tuple[float, float, float, float] = WEIGHTS,
) -> bytes:
    """Return fusion.npz.

    classifier (1000, 1280); text vectors of its class names (1000, 384) and of words (m, 384).
    """
    names = class_names.astype(np.float64)
    texts = np.concatenate((words, names))
    mean = texts.mean(axis=0)
    common = _main_directions(texts - mean, common_columns)  # (384, k)
    rows = _unit(classifier.astype(np.float64) - classifier.mean(axis=0))
    targets = _unit((names - names.mean(axis=0)) @ common)
    arrays = {
        "image_common": _ridge(rows, targets),  # (1280, k)
        "image_own": _main_directions(rows, own_columns),  # (1280, o)
        "colour_centre": np.array(COLOUR_CENTRE),
        "colour_scale": np.array(COLOUR_SCALE),
        "text_mean": mean,
        "text_common": common,
        "weights": np.array(weights),
    }
    file = io.BytesIO()
    np.savez(file, **{name: array.astype(np.float32) for name, array in arrays.items()})
    return file.getvalue()


def _ridge(inputs: _Matrix, targets: _Matrix) -> _Matrix:
    """Solve inputs @ matrix ≈ targets, in the rows' space: there are fewer rows than columns."""
    gram = inputs @ inputs.T + RIDGE * np.eye(len(inputs))
    matrix: _Matrix = inputs.T @ np.linalg.solve(gram, targets)
    return matrix


def _main_directions(rows: _Matrix, count: int) -> _Matrix:
    """Return the first principal directions as columns, each with its largest entry positive.

    The sign of a singular vector is arbitrary and differs between LAPACK builds; the fused space
    must not.
    """
    directions = np.linalg.svd(rows, full_matrices=False)[2][:count]
    largest = np.abs(directions).argmax(axis=1)[:, None]
    columns: _Matrix = (directions * np.sign(np.take_along_axis(directions, largest, axis=1))).T
    return columns


def _unit(rows: _Matrix) -> _Matrix:
    unit: _Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
