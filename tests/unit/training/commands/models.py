"""A model of the tests' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints
from services.training.models.model import Config, RatingModel, Run, Tensors


class Pace(Config, frozen=True):
    """A table within the configuration."""

    epochs: int = 10
    rate: float = 0.1


class FirstConfig(Config, frozen=True):
    """What a model of the tests can be told."""

    share: float = 0.5
    pace: Pace = Pace()


class Firsts(RatingModel):
    """Counts its fits; recommends what has a low number, and expects the mean rating of all."""

    name = "firsts"
    paper = "none"
    config_type = FirstConfig
    made: ClassVar[int] = 0
    while_fitted: ClassVar[Callable[[Run], None]] = staticmethod(lambda run: None)

    def fit(self, data: Dataset, run: Run) -> None:
        type(self).made += 1
        self._items = data.n_items
        self._mean = 0.0 if data.events.values is None else float(data.events.values.mean())
        type(self).while_fitted(run)

    def score(self, histories: Histories) -> Floats:
        scores = -np.arange(self._items, dtype=np.float32)
        return np.tile(scores, (len(histories), 1))

    def predict(self, users: Ints, items: Ints) -> Floats:
        return np.full(len(users), self._mean, np.float32)

    def tensors(self) -> Tensors:
        return {"items": np.array([self._items]), "mean": np.array([self._mean])}

    def restore(self, tensors: Tensors) -> None:
        self._items = int(tensors["items"][0])
        self._mean = float(tensors["mean"][0])
