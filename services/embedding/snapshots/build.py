"""Build one snapshot; the service does it in a process of its own.

hnswlib can crash on what is damaged, and takes a multiple of the service's memory for minutes:
neither may happen to the service. What was saved is checked in yet another process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import hnswlib
import numpy as np
from numpy.typing import NDArray

from services.embedding.settings import EmbeddingSettings
from shared.catalogue import snapshots
from shared.catalogue.active_bundle import ActiveBundle
from shared.catalogue.arrow import from_table, read_table, to_table, write_table
from shared.catalogue.feed import CatalogueFeed
from shared.catalogue.rows import CatalogueRows
from shared.catalogue.snapshots import BadSnapshot, Manifest
from shared.clock import now_ms
from shared.runtime.retry import retry_until_available

SAMPLED: Final = 256  # vectors that are looked for in what was saved
RECALL_AT_LEAST: Final = 0.95  # of them, by a search for the one nearest
SEED: Final = 100  # of the layers, so that equal input gives an equal index


class NoItems(Exception):
    """There is nothing to index."""


async def build(settings: EmbeddingSettings, bundle: ActiveBundle) -> dict[str, Any]:
    """Read a space's catalogue, index it, write the snapshot. Returns its name, items and seconds.

    Raises NoItems, BadSnapshot or OSError; the snapshot before stays the current one.
    """
    began_s, created_ms = time.monotonic(), now_ms()
    rows, offsets = await _catalogue(settings, bundle)
    if not rows.ids:
        raise NoItems(f"no items in space {bundle.space}")
    snapshot = settings.snapshots
    manifest = Manifest(
        space=bundle.space,
        dim=bundle.dim,
        count=len(rows.ids),
        m=snapshot.m,
        ef_construction=snapshot.ef_construction,
        offsets=offsets,
        created_ms=created_ms,
        tower_dim=0 if rows.tower_vectors is None else rows.tower_vectors.shape[1],
    )

    def fill(folder: Path) -> None:
        write_table(to_table(rows), folder / snapshots.CATALOGUE)
        for file, _, vectors in graphs(rows):
            save_index(vectors, manifest, snapshot.threads, folder / file)

    name = await asyncio.to_thread(snapshots.write, snapshot.url, manifest, fill, check_apart)
    return {
        "snapshot": name,
        "items": manifest.count,
        "seconds": round(time.monotonic() - began_s, 2),
    }


async def _catalogue(
    settings: EmbeddingSettings, bundle: ActiveBundle
) -> tuple[CatalogueRows, dict[int, int]]:
    """Return all living items and the offsets up to which they were read."""
    feed = CatalogueFeed(settings.kafka, bundle.space, bundle.dim)
    await retry_until_available("Kafka", lambda: feed.load(settings.snapshots.url))
    reading = asyncio.create_task(feed.run())
    try:
        await feed.caught_up()
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    return feed.catalogue.copy_rows(), feed.offsets


def graphs(rows: CatalogueRows) -> Iterator[tuple[str, str, NDArray[np.float16]]]:
    """Yield a snapshot's graphs: file, what it is called, vectors by row (n, d)."""
    yield snapshots.INDEX, "index", rows.vectors
    if rows.tower_vectors is not None:
        yield snapshots.TOWER_INDEX, "index of towers", rows.tower_vectors


def save_index(vectors: NDArray[np.float16], manifest: Manifest, threads: int, path: Path) -> None:
    """Build an index over vectors (n, d), label by row, and save it.

    hnswlib says nothing when it could not write: what was saved is checked by who calls this.
    """
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(
        manifest.count, M=manifest.m, ef_construction=manifest.ef_construction, random_seed=SEED
    )
    labels = np.arange(manifest.count)
    index.add_items(vectors.astype(np.float32), labels, num_threads=threads)
    index.save_index(str(path))


def check_apart(folder: Path) -> None:
    """Run `check` in another process. Raises BadSnapshot when it fails, or crashes."""
    command = [sys.executable, "-m", "services.embedding", "check-snapshot", str(folder)]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if ended.returncode:
        reason = ended.stderr.decode("utf-8", "replace").strip()[-500:]
        raise BadSnapshot(f"what was saved cannot be used (exit code {ended.returncode}): {reason}")


def check(folder: Path) -> None:
    """Load a saved snapshot and look for some of its vectors. Raises BadSnapshot or OSError."""
    manifest = snapshots.verify(folder)
    rows = from_table(read_table(folder / snapshots.CATALOGUE))
    if (len(rows.ids), rows.space) != (manifest.count, manifest.space):
        raise BadSnapshot(f"the catalogue has {len(rows.ids)} rows of space {rows.space!r}")
    for file, what, vectors in graphs(rows):
        _check_index(folder / file, what, vectors, manifest)


def _check_index(path: Path, what: str, vectors: NDArray[np.float16], manifest: Manifest) -> None:
    """Load a saved index of vectors (n, d) and look for some of them. Raises BadSnapshot."""
    index = hnswlib.Index("ip", vectors.shape[1])
    index.load_index(str(path), max_elements=manifest.count)
    labels = np.linspace(0, manifest.count - 1, min(SAMPLED, manifest.count)).astype(np.int64)
    sample = vectors[labels].astype(np.float32)  # (s, d)
    if not np.array_equal(np.asarray(index.get_items(labels), np.float32), sample):
        raise BadSnapshot(f"the {what} holds other vectors than the catalogue")
    index.set_ef(max(96, manifest.ef_construction))
    _, distances = index.knn_query(sample, k=1, num_threads=1)
    # Equal vectors may answer for each other, so what counts is how near the answer is.
    own = 1.0 - np.einsum("sd,sd->s", sample, sample)
    recall = float(np.mean(distances[:, 0] <= own + 1e-3))
    if recall < RECALL_AT_LEAST:
        raise BadSnapshot(f"the {what} finds {recall:.0%} of its own vectors")
