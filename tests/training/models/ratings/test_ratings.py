"""Every rating model beats what the mean of user and item says, where tastes differ."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from services.training.data.dataset import Dataset
from services.training.data.folds import RatingFold, k_folds
from services.training.data.histories import grouped
from services.training.models.model import RatingModel, Run
from services.training.models.ratings.svdpp import rated_items
from services.training.models.registry import model_type
from tests.unit.training.logs import dataset

ALL = ("svd", "svdpp", "bayesian-mf")
USERS, ITEMS = 80, 50


def ratings(taste: float = 1.2, seed: int = 0) -> Dataset:
    """Return half of all ratings: 3 ± taste by which of two tastes user and item have, and noise.

    taste: 0 leaves noise alone.
    """
    rng = np.random.default_rng(seed)
    tastes = rng.choice([-1, 1], USERS)[:, None] * rng.choice([-1, 1], ITEMS)
    given = np.clip(3 + taste * tastes + rng.normal(0, 0.3, (USERS, ITEMS)), 1, 5)
    users, items = np.nonzero(rng.random((USERS, ITEMS)) < 0.5)
    events = grouped(users, items, USERS, values=given[users, items].astype(np.float32))
    names = tuple(map(str, range(max(USERS, ITEMS))))
    return Dataset("ratings", names[:ITEMS], names[:USERS], events)


def fitted(name: str, data: Dataset, seed: int = 0) -> RatingModel:
    kind = model_type(name)
    config = kind.config_type()
    if name == "bayesian-mf":
        config = msgspec.structs.replace(config, factors=4, warm_up=5, sweeps=20)
    else:
        config = msgspec.structs.replace(config, factors=8, epochs=60, learning_rate=0.02)
    model = kind(config)
    assert isinstance(model, RatingModel)
    model.fit(data, Run(seed=seed))
    return model


def rmse(name: str, fold: RatingFold) -> float:
    errors = fitted(name, fold.train).predict(fold.users, fold.items) - fold.ratings
    return float(np.sqrt(np.square(errors).mean()))


@pytest.mark.parametrize("name", ALL)
def test_it_finds_tastes_that_differ_and_none_where_there_are_none(name: str) -> None:
    assert rmse(name, next(k_folds(ratings()))) < 0.45  # of 1.2 without tastes, .3 at best
    assert 0.28 < rmse(name, next(k_folds(ratings(taste=0)))) < 0.45


@pytest.mark.parametrize("name", ALL)
def test_kept_and_read_again_it_predicts_and_scores_the_same(name: str, tmp_path: Path) -> None:
    data = ratings()
    model = fitted(name, data)
    users, items = np.arange(40), np.arange(40)

    model.save(tmp_path)
    again = model_type(name).load(tmp_path)

    assert isinstance(again, RatingModel)
    assert np.array_equal(again.predict(users, items), model.predict(users, items))
    assert np.array_equal(again.score(data.events), model.score(data.events))


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_learns_the_same(name: str) -> None:
    data = ratings()
    first, second = (fitted(name, data, seed=4).score(data.events) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", ALL)
def test_somebody_unknown_gets_what_the_item_gets(name: str) -> None:
    model = fitted(name, ratings())

    unknown = model.predict(np.array([-1, -1]), np.array([3, 4]))

    assert np.isfinite(unknown).all()
    nobody = grouped(np.empty(0, np.int64), np.empty(0, np.int64), 1)
    nobody.users[:] = -1
    assert model.score(nobody).shape == (1, ITEMS)


@pytest.mark.parametrize("name", ALL)
def test_predictions_stay_within_the_ratings_given(name: str) -> None:
    data = ratings(taste=3)
    users, items = (each.ravel() for each in np.indices((USERS, ITEMS)))

    predicted = fitted(name, data).predict(users, items)

    assert predicted.min() >= 1
    assert predicted.max() <= 5


@pytest.mark.parametrize("name", ALL)
def test_events_without_ratings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="learns from ratings; log has none"):
        fitted(name, dataset([[0, 1]], 3))


def test_what_was_rated_counts_by_the_root_of_how_much() -> None:
    rated = rated_items(dataset([[0, 1, 2, 3], [1], []], 4)).toarray()

    assert rated.tolist() == [[0.5] * 4, [0, 1, 0, 0], [0] * 4]
