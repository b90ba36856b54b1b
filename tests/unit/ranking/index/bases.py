"""Bases that only tests build: a graph in this process, and a search of each row as the oracle."""

from __future__ import annotations

from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

from services.ranking.index import hits
from services.ranking.index.hits import Hits
from services.ranking.index.hnsw import HnswBase
from shared.catalogue.snapshots import HNSW_EF_CONSTRUCTION, HNSW_M


def graph_of(vectors: NDArray[Any]) -> HnswBase:
    """Build a graph from unit vectors, (n, d)."""
    graph = hnswlib.Index("ip", vectors.shape[1])
    graph.init_index(max(1, len(vectors)), M=HNSW_M, ef_construction=HNSW_EF_CONSTRUCTION)
    if len(vectors):
        graph.add_items(vectors.astype(np.float32), num_threads=1)
    return HnswBase(graph)


class ExactIndex:
    """Scores every row; the vectors must not change. An index, and a base with rows as labels."""

    def __init__(self, vectors: NDArray[Any]) -> None:
        """vectors: (n, d), finite, float16 or float32."""
        self.vectors = vectors
        self.count, self.dim = vectors.shape

    def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> Hits:
        """Search as ServedIndex.nearest promises."""
        queries, usable = hits.checked(vectors, self.dim, k)
        rows, scores = hits.none(len(queries), k)
        looked_at = np.arange(self.count) if allowed is None else hits.rows_under(allowed)
        rows[usable], scores[usable] = hits.search_rows(
            self.vectors, looked_at[looked_at < self.count], queries[usable], k
        )
        return rows, scores

    def fetch(self, vectors: NDArray[np.float32], k: int) -> Hits:
        """Return the k nearest labels."""
        return hits.search_rows(self.vectors, np.arange(self.count), vectors, k)
