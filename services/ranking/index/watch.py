"""Bring the index's base from snapshots: at the start, and whenever a new one is written."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Final

from services.ranking.index.hnsw import HnswBase
from services.ranking.index.layers import ContentVectors, TowerVectors
from services.ranking.index.served import LoadedBase, ServedIndex
from shared.catalogue import snapshots
from shared.catalogue.arrow import labels_of, read_table
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.snapshots import Snapshot
from shared.catalogue.stores import open_store
from shared.clock import now_ms

log = logging.getLogger(__name__)

LOOK_S: Final = 3.0  # between looks at CURRENT, a file of a few bytes
RETRY_S: Final = 60.0  # before a snapshot that failed is read again: it may be gigabytes
FAILURES: Final = (ValueError, OSError, RuntimeError)  # hnswlib raises the last


def load_base(snapshot: Snapshot) -> LoadedBase:
    """Load a verified snapshot's index with what its labels stand for. Blocking.

    Raises ValueError, OSError or RuntimeError.
    """
    keys, vectors = labels_of(read_table(snapshot.catalogue))
    base = HnswBase.load(str(snapshot.index), snapshot.manifest.dim)
    return LoadedBase(snapshot.name, base, keys, vectors)


def load_towers(snapshot: Snapshot) -> LoadedBase:
    """Load the graph of a verified snapshot's tower vectors, as `load_base` does the other."""
    if not snapshot.manifest.tower_dim:
        raise ValueError(f"snapshot {snapshot.name} has no tower vectors")
    keys, vectors = labels_of(read_table(snapshot.catalogue), "tower_vector")
    base = HnswBase.load(str(snapshot.tower_index), snapshot.manifest.tower_dim)
    return LoadedBase(snapshot.name, base, keys, vectors)


def begin(catalogue: Catalogue, snapshot: Snapshot | None, tower_dim: int = 0) -> ServedIndex:
    """Return the index of a catalogue begun with this snapshot, if any. Blocking.

    tower_dim: then it is that of tower vectors. An index file that cannot be loaded costs speed
    only: then all is in the fresh segment.
    """
    load, indexed = (
        (load_towers, TowerVectors(catalogue, tower_dim))
        if tower_dim
        else (load_base, ContentVectors(catalogue))
    )
    if snapshot is not None:
        try:
            return ServedIndex(catalogue, load(snapshot), indexed)
        except FAILURES as error:
            log.warning("index of snapshot %s not used: %s", snapshot.name, error)
    return ServedIndex(catalogue, None, indexed)


class SnapshotWatch:
    """Looks for newer snapshots and lets the index adopt them beside its readers."""

    def __init__(
        self,
        served: ServedIndex,
        catalogue: Catalogue,
        url: str,
        *,
        towers: ServedIndex | None = None,
        look_s: float = LOOK_S,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.adopted = 0
        self.refused = 0  # attempts that left the base before in place
        self._served = served
        self._towers = towers
        self._catalogue = catalogue
        self._url = url
        self._look_s = look_s
        self._retry_s = retry_s
        self._clock = clock
        self._tried = served.name
        self._retry_at = math.inf

    async def run(self) -> None:
        """Look until cancelled. Whatever is wrong with a snapshot, the base before stays."""
        while True:
            try:
                await self.look()
            except FAILURES as error:
                log.warning("snapshots at %s cannot be looked at: %s", self._url, error)
            await asyncio.sleep(self._look_s)

    async def look(self) -> None:
        """Adopt the newest snapshot if it is new, or failed some time ago.

        Raises ValueError or OSError if CURRENT cannot be read.
        """
        names = await asyncio.to_thread(self._current)
        if not names or (names[0] == self._tried and self._clock() < self._retry_at):
            return
        self._tried = names[0]
        try:
            await self._adopt_newest()
            self._retry_at = math.inf
        except FAILURES as error:
            self.refused += 1
            self._retry_at = self._clock() + self._retry_s
            log.warning("snapshot %s not adopted: %s", names[0], error)

    async def _adopt_newest(self) -> None:
        """Adopt the newest snapshot that may be used. Raises if there is no other than before."""
        snapshot = await asyncio.to_thread(self._newest)
        if snapshot is None or snapshot.name == self._served.name:
            raise ValueError("no newer one may be used")
        await self._served.adopt(lambda: load_base(snapshot))
        if self._towers is not None and snapshot.manifest.tower_dim:
            await self._towers.adopt(lambda: load_towers(snapshot))
        self.adopted += 1
        log.info("index from snapshot %s: %s", snapshot.name, self._served.sizes())

    def _current(self) -> list[str]:
        return snapshots.current(open_store(self._url, self._catalogue.space))

    def _newest(self) -> Snapshot | None:
        return snapshots.newest(self._url, self._catalogue.space, self._catalogue.dim, now_ms())
