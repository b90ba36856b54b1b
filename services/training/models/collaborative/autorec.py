"""Rebuild an item's ratings from those that it has: AutoRec over items (Sedhain et al. 2015).

Differs from the paper: what is rebuilt is the rest over the mean rating of item and user, so that
a rating that is absent says "as usual"; AdamW in batches of items instead of resilient propagation;
the number of epochs is chosen on a tenth of the ratings, then all are learnt from.

Legend: i items; u users; h hidden units; n ratings.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints
from services.training.learn.batches import equal_in_rows
from services.training.learn.loop import Curve, Training, learn, scoring, seeded
from services.training.models.model import (
    RMSE,
    Amount,
    Config,
    FitFailed,
    RatingModel,
    Run,
    Share,
    Size,
    Tensors,
)

HELD_OUT: Final = 0.1  # of the ratings, which the number of epochs is chosen by


class AutoRecConfig(Config, frozen=True):
    """What it can be told."""

    hidden: Size = 500
    dropout: Share = 0.0  # of ratings that are shown
    pull: Amount = 8e-4  # L2 of both matrices, beside the mean squared error
    damping: Amount = 5.0  # ratings of the mean that each user and item is thought to have had
    batch: Size = 256  # items
    training: Training = Training(
        epochs=200, learning_rate=1e-3, betas=(0.9, 0.999), clip=0, patience=15
    )


@dataclass(frozen=True, slots=True)
class _Ratings:
    """Who rated what, and how."""

    users: Ints  # (n,)
    items: Ints  # (n,)
    values: Floats  # (n,)

    def take(self, mask: NDArray[np.bool_]) -> _Ratings:
        return _Ratings(self.users[mask], self.items[mask], self.values[mask])


class _Usual:
    """Knows the mean rating, and by how much a user and an item differ from it."""

    def __init__(self, ratings: _Ratings, n_users: int, n_items: int, damping: float) -> None:
        self.mean = float(ratings.values.mean())
        rest = ratings.values - self.mean
        self.items = _damped_means(ratings.items, rest, n_items, damping)
        rest = rest - self.items[ratings.items]
        self.users = _damped_means(ratings.users, rest, n_users, damping)

    def of(self, ratings: _Ratings) -> Floats:
        usual = self.mean + self.users[ratings.users] + self.items[ratings.items]
        return usual.astype(np.float32)


class _AutoEncoder(nn.Module):
    def __init__(self, users: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.encode = nn.Linear(users, hidden)
        self.decode = nn.Linear(hidden, users)

    def codes(self, shown: Tensor) -> Tensor:
        """Return (i, h) of what is shown (i, u)."""
        codes: Tensor = self.encode(self.dropout(shown)).sigmoid()
        return codes


class AutoRec(RatingModel):
    """Predicts ratings by an autoencoder over items."""

    name = "autorec"
    paper = "Sedhain et al. 2015, AutoRec: Autoencoders Meet Collaborative Filtering"
    config_type = AutoRecConfig
    on_device = True
    config: AutoRecConfig

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit. Raises FitFailed for data without ratings."""
        events = data.events
        if events.values is None:
            raise FitFailed(f"it learns from ratings; {data.name} has none")
        ratings = _Ratings(events.users[events.rows()], events.items, events.values)
        held = np.zeros(len(events.items), bool)
        with seeded(run) as rng:
            held[rng.permutation(len(held))[: round(HELD_OUT * len(held))]] = True
        self._learn(data, run, ratings.take(~held), self.config.training, ratings.take(held))
        epochs = self.curve.best_epoch or self.config.training.epochs
        training = msgspec.structs.replace(self.config.training, epochs=epochs)
        self._learn(data, run, ratings, training)

    def _learn(
        self,
        data: Dataset,
        run: Run,
        ratings: _Ratings,
        training: Training,
        held: _Ratings | None = None,  # that the number of epochs is chosen by
    ) -> None:
        config = self.config
        usual = _Usual(ratings, data.n_users, data.n_items, config.damping)
        shown = torch.zeros(data.n_items, data.n_users, device=run.device)
        there = torch.zeros_like(shown, dtype=torch.bool)
        at = torch.from_numpy(ratings.items), torch.from_numpy(ratings.users)
        shown[at] = torch.from_numpy(ratings.values - usual.of(ratings)).to(run.device)
        there[at] = True
        with seeded(run):
            module = _AutoEncoder(data.n_users, config.hidden, config.dropout).to(run.device)

        def epoch(rng: np.random.Generator) -> Collection[Ints]:
            return equal_in_rows(data.n_items, config.batch, rng)

        def loss(batch: Ints) -> Tensor:
            rows = torch.from_numpy(batch).to(run.device)
            wrong = (module.decode(module.codes(shown[rows])) - shown[rows])[there[rows]]
            weights = module.encode.weight.square().sum() + module.decode.weight.square().sum()
            total: Tensor = wrong.square().sum() / max(len(wrong), 1) + config.pull * weights
            return total

        def rmse(_: object) -> float:
            assert held is not None
            self._keep(module, shown, usual)
            wrong = self.predict(held.users, held.items) - held.values
            return float(np.sqrt(np.mean(np.square(wrong))))

        validate = rmse if held else None
        by_ratings = replace(run, validate=validate, criterion=RMSE, checkpoints=None)
        self.curve: Curve = learn(module, epoch, loss, self.score, training, by_ratings)
        self._keep(module, shown, usual)

    def _keep(self, module: _AutoEncoder, shown: Tensor, usual: _Usual) -> None:
        """Keep each item's code: with the decoder, a rating is a product of two rows."""
        with scoring(module):
            self._tensors: Tensors = {
                "codes": module.codes(shown).cpu().numpy(),  # (i, h)
                "users": module.decode.weight.cpu().numpy(),  # (u, h)
                "user_offsets": module.decode.bias.cpu().numpy() + usual.users,
                "item_offsets": usual.items,
                "mean": np.array([usual.mean], np.float32),
            }

    def predict(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Floats:
        """See RatingModel.predict."""
        learnt = self._tensors
        known = users >= 0
        of_user = learnt["users"][users] * known[:, None]
        usual = learnt["user_offsets"][users] * known + learnt["item_offsets"][items]
        of_pair = (of_user * learnt["codes"][items]).sum(1)
        return np.asarray(of_pair + usual + learnt["mean"], np.float32)

    def score(self, histories: Histories) -> Floats:
        """See Model.score: the rating expected of each item."""
        learnt, users = self._tensors, histories.users
        known = (users >= 0)[:, None]
        by_code = (learnt["users"][users] * known) @ learnt["codes"].T
        scores = by_code + learnt["user_offsets"][users, None] * known + learnt["item_offsets"]
        return np.asarray(scores + learnt["mean"], np.float32)

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return self._tensors

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._tensors = tensors


def _damped_means(groups: Ints, values: Floats, count: int, damping: float) -> Floats:
    sums = np.bincount(groups, values, count)
    return (sums / (np.bincount(groups, minlength=count) + damping)).astype(np.float32)
