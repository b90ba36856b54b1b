"""Measure models by ratings that they predict, each fold by what was learnt from the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.folds import k_folds
from services.training.data.histories import Ints
from services.training.data.protocols import K_FOLD
from services.training.data.splits import Split, nobody_asked
from services.training.evaluation import comparison
from services.training.evaluation.measure import Figures
from services.training.evaluation.significance import Values, drawn_means, interval
from services.training.fits import Choice, Fits
from services.training.models.model import RatingModel
from services.training.models.registry import model_type
from shared.inputs.refusals import BadInput


class ByRatings:
    """Predicts all ratings of a dataset, in folds."""

    def __init__(self, data: Dataset, fits_on: Callable[[Split], Fits], seed: int) -> None:
        """fits_on: makes what fits models on the training part of a split. Raises BadInput."""
        self._folds = list(k_folds(data, seed))
        self._fits = [
            fits_on(Split(K_FOLD, fold.train, nobody_asked(data), nobody_asked(data)))
            for fold in self._folds
        ]
        self._seed = seed
        self.users = int(np.count_nonzero(data.events.lengths))

    def takes(self, model: str) -> bool:
        """Say whether a model predicts ratings."""
        return issubclass(model_type(model), RatingModel)

    def measure(self, choice: Choice, *, again: bool) -> Figures | None:
        """Fit a model on each fold; return its figures, None where it was stopped."""
        if not self.takes(choice.model):
            raise BadInput(f"{choice.name} predicts no ratings, which {K_FOLD} asks for")
        errors, costs = [], []
        for fold, fits in zip(self._folds, self._fits, strict=True):
            fit = fits.fit(choice, again=again)
            if not fit.complete:
                return None
            assert isinstance(fit.model, RatingModel)
            predicted = fit.model.predict(fold.users, fold.items)
            errors.append((predicted - fold.ratings).astype(np.float64))
            costs.append(fit.cost())
        users = np.concatenate([fold.users for fold in self._folds])
        return {
            **costs[0],
            "fit_s": sum(cost["fit_s"] for cost in costs) / len(costs),
            **errors_of_users(users, np.concatenate(errors), self._seed),
            "rmse_folds": [rmse(each) for each in errors],
        }


def rmse(errors: Values) -> float:
    """Return the root of the mean squared error, (n,)."""
    return float(np.sqrt(np.square(errors).mean()))


def mae(errors: Values) -> float:
    """Return the mean absolute error, (n,)."""
    return float(np.abs(errors).mean())


def errors_of_users(users: Ints, errors: Values, seed: int) -> Figures:
    """Return RMSE and MAE of errors, (n,), with 95 % intervals by users drawn anew.

    users: (n,) whose rating each is.
    """
    _, rows = np.unique(users, return_inverse=True)
    summed = (np.square(errors), np.abs(errors), np.ones_like(errors))
    sums = np.stack([np.bincount(rows, each).astype(np.float64) for each in summed], axis=1)
    squared, absolute, counts = drawn_means(sums, seed).T
    return {
        "of_users": comparison.of_ratings(sums[:, 0], sums[:, 2]),
        "rmse": rmse(errors),
        "rmse_interval": interval(np.sqrt(squared / counts)),
        "mae": mae(errors),
        "mae_interval": interval(absolute / counts),
    }
