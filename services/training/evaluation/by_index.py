"""Measure what an index of items finds of what exact scoring by the same vectors puts first.

Legend: u users; i items; t dimensions.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

import hnswlib
import numpy as np

from services.training.data.histories import Floats, Histories
from services.training.evaluation.lists import first_items
from services.training.evaluation.measure import Figures
from services.training.models.model import Model
from shared.catalogue.snapshots import HNSW_EF, HNSW_EF_CONSTRUCTION, HNSW_M

FOUND: Final = 50


@runtime_checkable
class VectorModel(Protocol):
    """Scores an item by the product of its vector with the user's, as an index searches."""

    def queries(self, histories: Histories) -> Floats:
        """Return users' vectors, (u, t)."""

    def item_vectors(self) -> Floats:
        """Return the items' unit vectors, (i, t)."""


def index_figures(model: Model, histories: Histories) -> Figures:
    """Return what the index finds, of a model that has vectors."""
    if not isinstance(model, VectorModel):
        return {}
    return {f"index_recall@{FOUND}": index_recall(model, histories)}


def index_recall(model: VectorModel, histories: Histories, k: int = FOUND) -> float:
    """Return the share of the exactly first k items that HNSW finds, as services search it."""
    queries, vectors = model.queries(histories), model.item_vectors()
    graph = hnswlib.Index("ip", vectors.shape[1])
    graph.init_index(len(vectors), M=HNSW_M, ef_construction=HNSW_EF_CONSTRUCTION)
    graph.add_items(vectors, num_threads=1)  # more would build another graph each time
    graph.set_ef(HNSW_EF)
    k = min(k, len(vectors))
    found, _ = graph.knn_query(queries, k)
    exact = first_items(queries @ vectors.T, k)
    there = (found[:, :, None] == exact[:, None]).any(axis=2)
    return float(np.mean(there))
