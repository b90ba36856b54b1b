"""Search an immutable HNSW graph of hnswlib: only what is safe beside readers is offered.

hnswlib 0.8 crashes when an index grows or loads a damaged file, so an index is loaded once and
then only searched, and a file must be verified (shared/catalogue/snapshots.py) before it
is loaded. It holds Python's lock while it loads, and lets it go while it searches.

Legend: n vectors; d numbers of the space; q queries; k hits.
"""

from __future__ import annotations

from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

from services.ranking.index import hits
from services.ranking.index.hits import Hits
from shared.catalogue.snapshots import HNSW_EF


class HnswBase:
    """An immutable HNSW graph over labels 0 to count - 1."""

    def __init__(self, graph: Any, *, ef: int = HNSW_EF) -> None:
        """graph: an hnswlib index in the space "ip" that nobody changes any more."""
        graph.set_ef(ef)
        graph.set_num_threads(1)  # requests are the parallelism
        self._graph = graph
        self.count = int(graph.element_count)
        self.dim = int(graph.dim)

    @classmethod
    def load(cls, path: str, dim: int, *, ef: int = HNSW_EF) -> HnswBase:
        """Load a verified file. Raises RuntimeError if it is truncated."""
        graph = hnswlib.Index("ip", dim)
        graph.load_index(path)
        return cls(graph, ef=ef)

    def fetch(self, vectors: NDArray[np.float32], k: int) -> Hits:
        """Return about the k nearest labels of each query, as Base.fetch promises."""
        k = min(k, self.count)
        if not k or not len(vectors):
            return hits.none(len(vectors), 0)
        try:
            labels, distances = self._graph.knn_query(vectors, k=k)
        except RuntimeError:  # the graph has parts that cannot be reached: not k hits from there
            return hits.none(len(vectors), 0)
        return labels.astype(np.int64), 1.0 - distances
