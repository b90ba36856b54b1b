"""Snapshots for tests, written as embedding writes them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import hnswlib
import numpy as np

from shared.catalogue import snapshots
from shared.catalogue.arrow import to_table, write_table
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.snapshots import Manifest

M, EF_CONSTRUCTION = 16, 100


def write_snapshot(
    url: Path | str, catalogue: Catalogue, offsets: Mapping[int, int], created_ms: int | None = None
) -> str:
    """Write a snapshot of a catalogue as it is; returns its name."""
    rows = catalogue.copy_rows()

    def fill(folder: Path) -> None:
        for file, vectors in (
            (snapshots.INDEX, rows.vectors),
            (snapshots.TOWER_INDEX, rows.tower_vectors),
        ):
            if vectors is not None:
                graph = hnswlib.Index("ip", vectors.shape[1])
                graph.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION)
                graph.add_items(vectors.astype(np.float32), np.arange(len(vectors)))
                graph.save_index(str(folder / file))
        write_table(to_table(rows), folder / snapshots.CATALOGUE)

    manifest = Manifest(
        space=catalogue.space,
        dim=catalogue.dim,
        count=len(rows.ids),
        m=M,
        ef_construction=EF_CONSTRUCTION,
        offsets=dict(offsets),
        tower_dim=0 if rows.tower_vectors is None else rows.tower_vectors.shape[1],
        created_ms=time.time_ns() // 1_000_000 if created_ms is None else created_ms,
    )
    return snapshots.write(str(url), manifest, fill, lambda folder: None)
