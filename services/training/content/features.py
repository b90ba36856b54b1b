"""Make dense columns of contents that are few enough to learn from thousands of items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.training.content.contents import ItemContents
from services.training.data.histories import Floats


def features_of(
    contents: ItemContents, learnt: NDArray[np.bool_], texts: int = 64, pictures: int = 32
) -> Floats:
    """Return (n, f): main directions of texts and of pictures, and attributes, about alike large.

    texts, pictures: how many directions. learnt: (n,) the items that events are known of. Centres
    and directions are theirs, so that nothing of what is held back tells how it is looked at.
    """
    lengths = np.linalg.norm(contents.pictures, axis=1, keepdims=True)
    seen = contents.pictures / np.maximum(lengths, 1e-9)
    attributes = contents.attributes
    if learnt.any():
        attributes = attributes - attributes[learnt].mean(axis=0)
    columns = np.concatenate(
        [
            main_directions(contents.texts, learnt & contents.has_text, texts),
            main_directions(seen, learnt & contents.has_picture, pictures),
            attributes,
        ],
        axis=1,
    ).astype(np.float32)
    # Networks take at least one column, of nothing where nothing is known.
    return columns if columns.shape[1] else np.zeros((len(contents.texts), 1), np.float32)


def main_directions(rows: Floats, learnt: NDArray[np.bool_], count: int) -> Floats:
    """Return (n, at most count) columns of mean spread 1 by the learnt rows; empty rows are 0."""
    known = rows[learnt]
    if len(known) < 2:
        return np.zeros((len(rows), 0), np.float32)
    centre = known.mean(axis=0)
    _, sizes, directions = np.linalg.svd(known - centre, full_matrices=False)
    # The sign of a singular vector is arbitrary and differs between LAPACK builds.
    largest = np.abs(directions).argmax(axis=1)[:, None]
    directions = directions * np.sign(np.take_along_axis(directions, largest, axis=1))
    spread = sizes[:count].mean() / np.sqrt(len(known))
    found = (rows - centre) @ directions[:count].T / max(float(spread), 1e-9)
    return np.where(rows.any(axis=1, keepdims=True), found, 0).astype(np.float32)
