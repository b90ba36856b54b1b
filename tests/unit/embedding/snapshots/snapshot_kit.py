"""Small real snapshots for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from freshet.contract.items import Item
from services.embedding.snapshots import build
from shared.catalogue import snapshots
from shared.catalogue.arrow import to_table, write_table
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import ItemVector
from shared.catalogue.rows import CatalogueRows
from shared.catalogue.snapshots import Manifest

SPACE, DIM = "test", 8
DAY_MS = 86_400_000
NOW = 20_000 * DAY_MS


def rows(count: int = 50, seed: int = 0, *, towers: bool = False) -> CatalogueRows:
    """Return the rows of a catalogue with random unit vectors, and half of them as towers'."""
    vectors = np.random.default_rng(seed).standard_normal((count, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    catalogue = Catalogue(SPACE, DIM)
    nothing = np.empty(0, np.float16)
    catalogue.apply(
        Change(
            f"i{number}",
            1,
            ItemVector(
                item_id=f"i{number}",
                space=SPACE,
                vector=vector.astype(np.float16),
                image_vector=nothing,
                text_vector=nothing,
                content_hash=b"",
                item=Item(item_id=f"i{number}", title=f"Item {number}"),
                version=1,
                arrived_ms=1,
                encoded_ms=1,
                tower_vector=tower_of(vector) if towers else nothing,
            ),
        )
        for number, vector in enumerate(vectors)
    )
    return catalogue.copy_rows()


def tower_of(vector: NDArray[np.float64]) -> NDArray[np.float16]:
    """Return the half of a vector as a unit vector."""
    half = vector[: DIM // 2]
    return (half / np.linalg.norm(half)).astype(np.float16)


def manifest(count: int = 50, created_ms: int = NOW, **changes: object) -> Manifest:
    values: dict[str, object] = {
        "space": SPACE,
        "dim": DIM,
        "count": count,
        "m": snapshots.HNSW_M,
        "ef_construction": snapshots.HNSW_EF_CONSTRUCTION,
        "offsets": {0: 10, 1: 20},
        "created_ms": created_ms,
    }
    return Manifest(**(values | changes))  # type: ignore[arg-type]


def fill(folder: Path, count: int = 50, *, towers: bool = False) -> None:
    """Write graphs and catalogue of `count` items."""
    made = rows(count, towers=towers)
    write_table(to_table(made), folder / snapshots.CATALOGUE)
    for file, _, vectors in build.graphs(made):
        build.save_index(vectors, manifest(count), 1, folder / file)


def write(url: str, created_ms: int = NOW, count: int = 50, *, towers: bool = False) -> str:
    """Write a good snapshot. Returns its name."""
    return snapshots.write(
        url,
        manifest(count, created_ms, tower_dim=DIM // 2 if towers else 0),
        lambda folder: fill(folder, count, towers=towers),
        build.check,
    )
