"""Factorise who chose what, weighing what was chosen more than what was not, by turns.

Legend: u users; i items of the catalogue; f factors.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import Amount, Config, Model, Run, Size, Tensors
from services.training.models.references.item_to_item import chosen


class AlsConfig(Config, frozen=True):
    """The factors and how sure a choice is; not tuned."""

    factors: Size = 128
    confidence: Amount = 10.0  # what a choice counts beside what was not chosen, which counts 1
    ridge: Amount = 10.0
    rounds: Size = 10


class Als(Model):
    """Solves users for items and items for users; whoever is asked is folded in."""

    name = "als"
    paper = "Hu 2008: Collaborative Filtering for Implicit Feedback Datasets"
    config_type = AlsConfig

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        of_users = chosen(data.events, data.n_items)
        of_items = sparse.csr_array(of_users.T)
        rng = np.random.default_rng(run.seed)
        shape = (data.n_items, self.config.factors)
        self._items: Floats = rng.normal(0, 0.1, shape).astype(np.float32)
        for done in range(self.config.rounds):
            if run.stopped():
                break
            self._items = self._solved(of_items, self._solved(of_users, self._items))
            run.progress.step(done + 1, self.config.rounds)

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        people = self._solved(chosen(histories, len(self._items)), self._items)
        scores: Floats = people @ self._items.T
        return scores

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {"items": self._items}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._items = tensors["items"]

    def _solved(self, chosen_by: sparse.csr_array, others: Floats) -> Floats:
        """Return the factors of each row of (n, m) for those of the columns (m, f): (n, f)."""
        config = self.config
        everywhere = others.T @ others + config.ridge * np.eye(others.shape[1], dtype=np.float32)
        found = np.zeros((chosen_by.shape[0], others.shape[1]), np.float32)
        for row, (start, end) in enumerate(
            zip(chosen_by.indptr[:-1], chosen_by.indptr[1:], strict=True)
        ):
            if start == end:
                continue
            some = others[chosen_by.indices[start:end]]
            precision = everywhere + config.confidence * (some.T @ some)
            wanted = (1 + config.confidence) * some.sum(axis=0)
            found[row] = linalg.solve(
                precision, wanted, assume_a="pos", overwrite_a=True, check_finite=False
            )
        return found
