"""Fit ratings by biases and factors, step by step: what SVD and SVD++ share.

Legend: u users; i items of the catalogue; f factors; b ratings of a batch.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import (
    Amount,
    Config,
    FitFailed,
    Positive,
    RatingModel,
    Run,
    Size,
    Tensors,
)


class FactorsConfig(Config, frozen=True):
    """Surprise's choices."""

    factors: Size = 100
    epochs: Size = 20
    learning_rate: Positive = 0.005
    decay: Amount = 0.02  # of all that a rating touches, each time that it does
    batch: Size = 200  # ratings whose steps are made at once, in place of one at a time


class Factors(RatingModel):
    """Predicts mean + bias of the user + bias of the item + their factors' product.

    A user's factors are the user's own, and what `_implicit` adds of the items that the user rated,
    whatever the ratings. Whoever is not known has neither bias nor factors.
    """

    @abstractmethod
    def _implicit(self, data: Dataset) -> sparse.csr_array:
        """Return what each rated item counts in a user's factors, (u, i)."""

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit. Raises FitFailed for events without ratings."""
        if data.events.values is None:
            raise FitFailed(f"it learns from ratings; {data.name} has none")
        rng = np.random.default_rng(run.seed)
        ratings, config = data.events.values, self.config
        self._range: Floats = np.array([ratings.min(), ratings.max()], np.float32)
        self._mean: Floats = ratings.mean(keepdims=True)
        self._user_biases = np.zeros(data.n_users, np.float32)
        self._item_biases = np.zeros(data.n_items, np.float32)
        self._users, self._items, spoken = (
            rng.normal(0, 0.1, (rows, config.factors)).astype(np.float32)
            for rows in (data.n_users, data.n_items, data.n_items)
        )
        implicit, rows = self._implicit(data), data.events.rows()
        for epoch in range(config.epochs):
            if run.stopped():
                break
            order = rng.permutation(len(ratings))
            for batch in np.split(order, range(config.batch, len(order), config.batch)):
                items = data.events.items[batch]
                self._step(rows[batch], items, ratings[batch], implicit, spoken)
            run.progress.step(epoch + 1, config.epochs)
        self._users += implicit @ spoken

    def _step(
        self,
        users: NDArray[np.int64],  # (b,)
        items: NDArray[np.int64],
        ratings: Floats,
        implicit: sparse.csr_array,  # (u, i)
        spoken: Floats,  # (i, f) what having rated an item says of a user
    ) -> None:
        rate, decay = self.config.learning_rate, self.config.decay
        rated = implicit[users]  # (b, i)
        own, theirs = self._users[users], self._items[items]  # (b, f)
        people = own + rated @ spoken
        of_user, of_item = self._user_biases[users], self._item_biases[items]
        errors = ratings - self._mean - of_user - of_item - (people * theirs).sum(axis=1)
        to_users, to_items = _summing(users, len(self._users)), _summing(items, len(self._items))
        pull = errors[:, None]
        self._user_biases += rate * (to_users @ (errors - decay * of_user))
        self._item_biases += rate * (to_items @ (errors - decay * of_item))
        self._users += rate * (to_users @ (pull * theirs - decay * own))
        self._items += rate * (to_items @ (pull * people - decay * theirs))
        if rated.nnz:
            touched = np.bincount(rated.indices, minlength=len(spoken)).astype(np.float32)
            spoken += rate * (rated.T @ (pull * theirs) - decay * touched[:, None] * spoken)

    def predict(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Floats:
        """See RatingModel.predict."""
        known = users >= 0
        own = np.where(known, self._user_biases[users], 0)
        shared = (self._users[users] * self._items[items]).sum(axis=1)
        found = self._mean + own + self._item_biases[items] + np.where(known, shared, 0)
        clipped: Floats = np.clip(found, *self._range).astype(np.float32)
        return clipped

    def score(self, histories: Histories) -> Floats:
        """See Model.score: the rating expected of each item, in its own order beyond the range."""
        known = (histories.users >= 0)[:, None]
        own = self._users[histories.users] * known
        scores: Floats = own @ self._items.T + self._item_biases
        return scores

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {
            "range": self._range,
            "mean": self._mean,
            "user_biases": self._user_biases,
            "item_biases": self._item_biases,
            "users": self._users,
            "items": self._items,
        }

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._range, self._mean = tensors["range"], tensors["mean"]
        self._user_biases, self._item_biases = tensors["user_biases"], tensors["item_biases"]
        self._users, self._items = tensors["users"], tensors["items"]


def _summing(rows: NDArray[np.int64], n: int) -> sparse.csr_array:
    """Return the matrix that adds up values (b, …) by row, (n, b)."""
    ones, at = np.ones(len(rows), np.float32), np.arange(len(rows))
    return sparse.csr_array((ones, (rows, at)), (n, len(rows)))
