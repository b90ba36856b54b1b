"""Recommend to everybody what most chose."""

from __future__ import annotations

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import Model, Run, Tensors


class Popularity(Model):
    """Counts events of all time."""

    name = "popularity"
    paper = "the reference that personal lists must beat"

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        self._counts = data.counts().astype(np.float32)

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        return np.tile(self._counts, (len(histories), 1))

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {"counts": self._counts}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._counts = tensors["counts"]
