"""An index is measured against exact scores of the same vectors, where a model has such."""

from __future__ import annotations

import numpy as np

from services.training.data.histories import Floats, Histories
from services.training.evaluation.by_index import VectorModel, index_recall
from services.training.models.registry import model_type
from tests.training.models.planted import histories

ITEMS, DIM = 3_000, 32
ASKED = histories(*[[item] for item in range(100)])


class Vectors:
    """Asks for what is near an item."""

    def __init__(self, vectors: Floats) -> None:
        self._vectors = vectors

    def queries(self, histories: Histories) -> Floats:
        return self._vectors[histories.items]

    def item_vectors(self) -> Floats:
        return self._vectors


def test_hnsw_finds_nearly_all_of_the_first_fifty() -> None:
    vectors = np.random.default_rng(0).standard_normal((ITEMS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    assert 0.9 < index_recall(Vectors(vectors), ASKED) <= 1


def test_more_than_there_is_are_all_of_them() -> None:
    assert index_recall(Vectors(np.eye(100, dtype=np.float32)), ASKED, 1_000) == 1


def test_models_that_serve_by_vectors_are_measured_and_others_are_not() -> None:
    measured = {
        name: isinstance(model_type(name)(), VectorModel)
        for name in ("two-tower", "youtube-dnn", "tower", "sasrec", "popularity")
    }
    assert [name for name, is_measured in measured.items() if is_measured] == [
        "two-tower",
        "youtube-dnn",
        "tower",
    ]
