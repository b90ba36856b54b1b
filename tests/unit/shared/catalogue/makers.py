"""Items and their vectors for tests of the catalogue and of what stands on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Item
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import ItemVector

SPACE = "test"
DIM = 8
EMPTY = np.empty(0, np.float16)


def unit(seed: int, dim: int = DIM) -> NDArray[np.float16]:
    """Return the unit vector of a seed."""
    vector = np.random.default_rng(seed).standard_normal(dim)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def put(
    item_id: str,
    version: int = 1,
    vector: NDArray[np.float16] | None = None,
    *,
    space: str = SPACE,
    image: NDArray[np.float16] = EMPTY,
    text: NDArray[np.float16] = EMPTY,
    tower: NDArray[np.float16] = EMPTY,
    arrived_ms: int = 0,
    picture_missing: str = "",
    **fields: Any,
) -> Change:
    """Return the change by which an item comes; without a vector, one that its id determines."""
    encoded = ItemVector(
        item_id=item_id,
        space=space,
        vector=unit(sum(item_id.encode())) if vector is None else vector,
        image_vector=image,
        text_vector=text,
        content_hash=b"",
        item=Item(item_id=item_id, **fields),
        version=version,
        arrived_ms=arrived_ms,
        encoded_ms=0,
        picture_missing=picture_missing,
        tower_vector=tower,
    )
    return Change(item_id, version, encoded)


def delete(item_id: str, version: int) -> Change:
    """Return the change by which an item goes."""
    return Change(item_id, version, None)


def catalogue_of(*changes: Change) -> Catalogue:
    """Return a catalogue that has taken these changes."""
    catalogue = Catalogue(SPACE, DIM)
    catalogue.apply(changes)
    return catalogue


def contents(catalogue: Catalogue) -> dict[str, tuple[int, bytes, Item]]:
    """Return what a catalogue holds, whatever its rows: version, vector and item by id."""
    return {
        catalogue.ids[row]: (
            int(catalogue.versions[row]),
            catalogue.vectors[row].tobytes(),
            catalogue.item(row),
        )
        for row in np.flatnonzero(catalogue.alive).tolist()
    }
