"""Each rating is predicted once, by what was learnt from the others."""

from __future__ import annotations

import numpy as np
import pytest

from services.training.data.folds import k_folds
from shared.inputs.refusals import BadInput
from tests.unit.training.logs import dataset

LOG = [[0, 1, 2, 3], [0, 2], [3, 1, 0, 2, 4]]
RATINGS: list[list[float]] = [[1, 2, 3, 4], [5, 6], [7, 8, 9, 10, 11]]


def test_folds_part_the_ratings() -> None:
    folds = list(k_folds(dataset(LOG, 5, values=RATINGS), seed=0, k=4))

    asked = np.concatenate([fold.ratings for fold in folds])
    assert sorted(asked.tolist()) == [*range(1, 12)]
    for fold in folds:
        learnt = fold.train.events.values
        assert learnt is not None
        assert sorted([*learnt.tolist(), *fold.ratings.tolist()]) == [*range(1, 12)]
        pairs = zip(fold.users, fold.items, fold.ratings, strict=True)
        assert all(RATINGS[user][LOG[user].index(item)] == rating for user, item, rating in pairs)
    assert {len(fold.ratings) for fold in folds} == {2, 3}


def test_folds_are_the_same_by_the_same_seed_and_others_by_another() -> None:
    def first(seed: int) -> list[float]:
        ratings: list[float] = next(k_folds(dataset(LOG, 5, values=RATINGS), seed)).ratings.tolist()
        return ratings

    assert first(0) == first(0)
    assert len({tuple(first(seed)) for seed in range(5)}) > 1


def test_folds_need_ratings() -> None:
    with pytest.raises(BadInput, match="log: folds need events with ratings, has none"):
        next(k_folds(dataset(LOG, 5)))
