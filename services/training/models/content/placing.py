"""Fit what places items and asks with the newest choices: a softmax over all that is learnt.

Legend: b histories; n items; k newest choices; t columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.learn.checkpoints import restore_module, tensors_of
from services.training.learn.loop import Training, learn, scoring, seeded
from services.training.learn.losses import full_softmax
from services.training.learn.positions import Positions
from services.training.models.model import Config, Positive, Run, ServedModel, Size, Tensors


class PlacingConfig(Config, frozen=True):
    """How such a model is fitted and asked; not tuned."""

    newest: Size = 20  # k
    temperature: Positive = 0.05
    batch: Size = 256  # places in histories
    share: Positive = 0.1  # of all places, in an epoch
    training: Training = Training(
        epochs=10, learning_rate=3e-3, weight_decay=0.01, schedule="cosine", warm_up=50, patience=0
    )


class PlacingModule(nn.Module, ABC):
    """What is fitted."""

    @abstractmethod
    def items(self) -> Tensor:
        """Return (n, t) unit rows, new items' too."""

    @abstractmethod
    def queries(self, items: Tensor, newest: Tensor) -> Tensor:
        """Return (b, t) unit rows of newest choices (b, k), the newest last; n where there is none.

        items: (n, t) rows.
        """


class PlacingModel(ServedModel):
    """Scores by the cosine of an item and a query."""

    on_device = True
    _module: PlacingModule

    @abstractmethod
    def _begun(
        self, data: Dataset, learnt: NDArray[np.bool_], rng: np.random.Generator
    ) -> PlacingModule:
        """Return a module to be fitted; learnt: (n,) of items with events."""

    @abstractmethod
    def _restored(self, tensors: dict[str, Tensor]) -> PlacingModule:
        """Return a module of the shapes that these tensors have."""

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        config = self.config
        learnt = data.counts() > 0
        rows = torch.from_numpy(np.flatnonzero(learnt)).to(run.device)
        column_of = torch.from_numpy(np.cumsum(learnt) - 1).to(run.device)
        places = Positions(data.events, config.newest, data.n_items, run.device)
        with seeded(run) as rng:
            self._module = module = self._begun(data, learnt, rng).to(run.device)

        def loss(batch: Tensor) -> Tensor:
            items = module.items()
            queries = module.queries(items, places.context(batch)) / config.temperature
            return full_softmax(queries, items[rows], column_of[places.targets(batch)])

        learn(
            module,
            lambda rng: places.batches(rng, config.batch, config.share),
            loss,
            self.score,
            config.training,
            run,
        )

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        with scoring(self._module) as device:
            items = self._module.items()
            newest = torch.from_numpy(histories.padded(self.config.newest, len(items)))
            queries = self._module.queries(items, newest.to(device))
            scores: Floats = (queries @ items.T).cpu().numpy()
            return scores

    @property
    def length(self) -> int:
        """See ServedModel.length."""
        newest: int = self.config.newest
        return newest

    def item_vectors(self) -> Floats:
        """See ServedModel.item_vectors."""
        with scoring(self._module):
            found: Floats = self._module.items().cpu().numpy()
            return found

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return tensors_of(self._module)

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._module = self._restored({name: torch.from_numpy(x) for name, x in tensors.items()})
        restore_module(self._module, tensors)
