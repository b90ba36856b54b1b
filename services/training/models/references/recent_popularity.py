"""Recommend to everybody what most choose at present."""

from __future__ import annotations

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import Config, Model, Positive, Run, Tensors


class RecentPopularityConfig(Config, frozen=True):
    """How fast an event grows old."""

    half_life_s: Positive = 7 * 86_400.0  # a week


class RecentPopularity(Model):
    """Counts events, each by its age at the last of all.

    Where only the order within each user is known, it counts all alike.
    """

    name = "recent-popularity"
    paper = "the reference that counts in a stream; Ji 2020 (arXiv 2010.11060)"
    config_type = RecentPopularityConfig

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        events = data.events
        weights = None
        if events.times_s is not None and len(events.items):
            age_s = events.times_s.max() - events.times_s
            weights = np.exp2(-age_s / self.config.half_life_s)
        counts = np.bincount(events.items, weights, data.n_items)
        self._counts = counts.astype(np.float32)

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        return np.tile(self._counts, (len(histories), 1))

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {"counts": self._counts}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._counts = tensors["counts"]
