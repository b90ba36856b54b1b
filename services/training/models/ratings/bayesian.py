"""Predict ratings by factors drawn from their posterior, which needs no tuned regularisation.

Each sweep draws all users, all items and the distributions that they come from, in turn; the
prediction is the mean over sweeps. A user's distribution is centred on what the items that the
user rated say, as in SVD++, by a map that is drawn as well.

Legend: u users; i items of the catalogue; n rows of one side; f factors and one bias; s sweeps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import (
    Config,
    Count,
    FitFailed,
    Preset,
    RatingModel,
    Run,
    Size,
    Tensors,
)
from services.training.models.ratings.svdpp import rated_items

Doubles = NDArray[np.float64]


class BayesianConfig(Config, frozen=True):
    """Sizes; the paper's priors (mean 0, two pseudo-counts, identity scale) have no say here."""

    factors: Size = 16
    warm_up: Count = 20  # sweeps before the first that is kept
    sweeps: Size = 120  # kept

    @classmethod
    def of(cls, preset: Preset) -> BayesianConfig:
        """See Config.of."""
        return cls() if preset == "quick" else cls(sweeps=300)


class BayesianFactors(RatingModel):
    """Averages the predictions of all sweeps."""

    name = "bayesian-mf"
    paper = (
        "BPMF, Salakhutdinov & Mnih 2008; a user's side information as in Macau, Simm 2015 "
        "(arXiv 1509.04610), here which items were rated (SVD++); a bias beside the factors"
    )
    config_type = BayesianConfig

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit. Raises FitFailed for events without ratings."""
        if data.events.values is None:
            raise FitFailed(f"it learns from ratings; {data.name} has none")
        ratings = data.events.values.astype(np.float64)
        self._range: Floats = np.array([ratings.min(), ratings.max()], np.float32)
        self._mean: Floats = np.array([ratings.mean()], np.float32)
        chain = _Chain(data, ratings - ratings.mean(), self.config.factors, run.seed)
        kept: list[tuple[Floats, Floats]] = []
        of = self.config.warm_up + self.config.sweeps
        for sweep in range(of):
            if run.stopped() and kept:
                break
            chain.sweep()
            if sweep >= self.config.warm_up:
                kept.append((chain.users.astype(np.float32), chain.items.astype(np.float32)))
            run.progress.step(sweep + 1, of, deviation=chain.noise**-0.5)
        self._users = np.stack([users for users, _ in kept])  # (s, u, f)
        self._items = np.stack([items for _, items in kept])

    def predict(self, users: NDArray[np.int64], items: NDArray[np.int64]) -> Floats:
        """See RatingModel.predict; who is not known has neither bias nor factors."""
        total, known = np.zeros(len(users), np.float32), (users >= 0).astype(np.float32)
        for people, things in zip(self._users, self._items, strict=True):
            own, theirs = people[users] * known[:, None], things[items]
            shared = (own[:, :-1] * theirs[:, :-1]).sum(axis=1)
            total += np.clip(self._mean + shared + own[:, -1] + theirs[:, -1], *self._range)
        return total / np.float32(len(self._users))

    def score(self, histories: Histories) -> Floats:
        """See Model.score: the rating expected of each item."""
        scores = np.zeros((len(histories), self._items.shape[1]), np.float32)
        known = (histories.users >= 0)[:, None]
        for people, things in zip(self._users, self._items, strict=True):
            scores += (people[histories.users, :-1] * known) @ things[:, :-1].T + things[:, -1]
        return scores / np.float32(len(self._users))

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {
            "range": self._range,
            "mean": self._mean,
            "users": self._users,
            "items": self._items,
        }

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._range, self._mean = tensors["range"], tensors["mean"]
        self._users, self._items = tensors["users"], tensors["items"]


class _Normal(NamedTuple):
    """What the rows of one side come from."""

    mean: Doubles  # (f,)
    precision: Doubles  # (f, f)


class _Grouped(NamedTuple):
    """Ratings by the rows of one side."""

    starts: NDArray[np.int64]  # (n + 1,)
    others: NDArray[np.int64]  # (e,) rows of the other side
    ratings: Doubles  # (e,)


class _Chain:
    """Draws everything in turn, each given all else."""

    def __init__(self, data: Dataset, ratings: Doubles, factors: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        users, items = data.events.rows(), data.events.items
        self._pairs, self._ratings = (users, items), ratings
        self._by_user = _grouped(users, items, ratings, data.n_users)
        self._by_item = _grouped(items, users, ratings, data.n_items)
        self._rated = rated_items(data).astype(np.float64)  # (u, i)
        self._alike = (self._rated @ self._rated.T).toarray()  # (u, u)
        self.users: Doubles = self._rng.normal(0, 0.1, (data.n_users, factors + 1))
        self.items: Doubles = self._rng.normal(0, 0.1, (data.n_items, factors + 1))
        self._spoken = np.zeros_like(self.items)  # what having rated an item says of a user
        self._spoken_ridge = 20.0
        self.noise = 1.0  # precision of the ratings

    def sweep(self) -> None:
        """Draw all once."""
        prior = self._prior(self.users - self._rated @ self._spoken)
        self._draw_spoken(prior)
        centres = prior.mean + self._rated @ self._spoken
        self.users = self._rows(self._by_user, self.items, centres, prior.precision)
        prior = self._prior(self.items)
        centres = np.broadcast_to(prior.mean, self.items.shape)
        self.items = self._rows(self._by_item, self.users, centres, prior.precision)
        own, theirs = self.users[self._pairs[0]], self.items[self._pairs[1]]
        errors = self._ratings - own[:, -1] - theirs[:, -1]
        errors -= (own[:, :-1] * theirs[:, :-1]).sum(axis=1)
        self.noise = float(self._rng.gamma((len(errors) + 1) / 2, 2 / (errors @ errors + 1)))

    def _prior(self, rows: Doubles) -> _Normal:
        """Draw the distribution of rows, (n, f), from its normal-Wishart posterior."""
        n, width = rows.shape
        count = n + 2.0  # with the prior's two
        mean = rows.mean(axis=0)
        spread = np.eye(width) + n * np.cov(rows.T, bias=True)
        spread += 2 * n / count * np.outer(mean, mean)
        lower = np.tril(self._rng.normal(size=(width, width)), -1)
        degrees = width + n - np.arange(width)
        lower[np.diag_indices(width)] = np.sqrt(self._rng.chisquare(degrees))
        root = np.linalg.cholesky(np.linalg.inv(spread)) @ lower  # Bartlett
        precision = root @ root.T
        noise = np.linalg.solve(root.T, self._rng.normal(size=width))
        return _Normal(n * mean / count + noise / np.sqrt(count), precision)

    def _draw_spoken(self, prior: _Normal) -> None:
        """Draw the map from rated items to a user's centre, (i, f), and how small it is kept."""
        root = np.linalg.cholesky(prior.precision)

        def noise(rows: int) -> Doubles:
            drawn: Doubles = np.linalg.solve(root.T, self._rng.normal(size=(len(root), rows))).T
            return drawn

        users, items, ridge = len(self.users), len(self.items), self._spoken_ridge
        wanted = self._rated.T @ (self.users - prior.mean + noise(users))
        wanted += np.sqrt(ridge) * noise(items)
        # By the matrix inversion lemma, as there are fewer users than items or about as many.
        inner = self._alike + ridge * np.eye(users)
        back = linalg.solve(inner, self._rated @ wanted, assume_a="pos", check_finite=False)
        self._spoken = (wanted - self._rated.T @ back) / ridge
        size = np.square(self._spoken @ root).sum()
        self._spoken_ridge = float(self._rng.gamma((self._spoken.size + 1) / 2, 2 / (size + 1)))

    def _rows(
        self, grouped: _Grouped, others: Doubles, centres: Doubles, precision: Doubles
    ) -> Doubles:
        """Draw the rows of one side given those of the other, (n, f)."""
        inputs = others[grouped.others]
        targets = grouped.ratings - inputs[:, -1]
        inputs[:, -1] = 1  # the row's own bias
        squares = np.empty((len(centres), *precision.shape))
        products = np.empty(centres.shape)
        bounds = zip(grouped.starts[:-1], grouped.starts[1:], strict=True)
        for row, (start, end) in enumerate(bounds):
            some = inputs[start:end]
            squares[row] = some.T @ some
            products[row] = targets[start:end] @ some
        precisions = self.noise * squares + precision
        wanted = self.noise * products + centres @ precision
        roots = np.linalg.cholesky(precisions)
        means = np.linalg.solve(precisions, wanted[..., None])
        noise = self._rng.normal(size=(*centres.shape, 1))
        drawn = means + np.linalg.solve(roots.transpose(0, 2, 1), noise)
        return drawn[..., 0].astype(np.float64, copy=False)


def _grouped(
    rows: NDArray[np.int64], others: NDArray[np.int64], ratings: Doubles, n: int
) -> _Grouped:
    order = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[order], np.arange(n + 1))
    return _Grouped(starts, others[order], ratings[order])
