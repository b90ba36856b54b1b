"""Carry a catalogue's living items in columns, as a snapshot keeps them.

Legend: n items; d, p, t, w numbers of the space's vectors, the picture's and the text's own, and
the tower's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CatalogueRows:
    """What `Catalogue.copy_rows` gives and `restore` takes; in Arrow by shared/catalogue/arrow.py.

    An item's row here is its label in the snapshot's index.
    """

    space: str
    ids: list[str]  # (n,)
    titles: list[str]
    keys: NDArray[np.uint64]
    versions: NDArray[np.int64]
    updated_ms: NDArray[np.int64]  # UNSTATED where the item states none
    arrived_ms: NDArray[np.int64]
    vectors: NDArray[np.float16]  # (n, d)
    image_vectors: NDArray[np.float16] | None  # (n, p)
    text_vectors: NDArray[np.float16] | None  # (n, t)
    tower_vectors: NDArray[np.float16] | None  # (n, w)
    category_ids: NDArray[np.int32]  # (n,) indexes into category_sets
    category_sets: list[tuple[str, ...]]
    tag_ids: NDArray[np.int32]
    tag_sets: list[tuple[str, ...]]
    attributes: list[bytes]  # (n,) packed
    pictures_missing: list[str]  # (n,) why the picture could not be had, mostly empty
    terms: dict[str, NDArray[Any]]  # columns of OfferColumns, (n,) each
    currencies: list[str]  # by the codes in terms["currency"]
    tombstones: dict[int, int]  # key → version of a delete, the oldest first
