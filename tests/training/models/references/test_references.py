"""Every reference learns what its kind can see, each user alone, and says the same when kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from services.training.data.dataset import Dataset
from services.training.data.histories import Histories, grouped
from services.training.data.splits import leave_last_out
from services.training.evaluation.ranks import hit_rate, ranks
from services.training.models.model import Model, Run
from services.training.models.references.covisits import followers
from services.training.models.references.item_knn import nearest
from services.training.models.references.item_to_item import recency
from services.training.models.references.linear_next import inputs_together
from services.training.models.registry import model_type
from tests.unit.training.logs import dataset

ITEMS = 40
ORDERED = ("covisits", "linear-next")  # which see what comes next
TOGETHER = ("item-knn", "session-knn", "ease", "ease-recency", "als", "bpr")  # what goes together
PERSONAL = (*ORDERED, *TOGETHER)
ALL = ("popularity", "recent-popularity", *PERSONAL)


def in_groups(seed: int = 0, groups: int = 4) -> Dataset:
    """Return users who choose within one of so many equal groups of items."""
    rng = np.random.default_rng(seed)
    size = ITEMS // groups
    return dataset(
        [(rng.permutation(size)[:8] + size * (user % groups)).tolist() for user in range(160)],
        ITEMS,
    )


def in_order(seed: int = 0) -> Dataset:
    """Return users who go through the items in turn, from anywhere."""
    firsts = np.random.default_rng(seed).integers(0, ITEMS, 160)
    return dataset([((first + np.arange(8)) % ITEMS).tolist() for first in firsts], ITEMS)


def fitted(name: str, data: Dataset, seed: int = 0) -> Model:
    model = model_type(name)()
    model.fit(data, Run(seed=seed))
    return model


def share_found(name: str, data: Dataset, at: int) -> float:
    split = leave_last_out(data)
    return float(hit_rate(ranks(fitted(name, split.train).score, split.test), at).mean())


@pytest.mark.parametrize("name", TOGETHER)
def test_it_finds_what_goes_together_and_nothing_where_nothing_does(name: str) -> None:
    assert share_found(name, in_groups(), at=3) > 0.9  # three of a group of ten are left
    assert share_found(name, in_groups(groups=1), at=3) < 0.3  # of 33 left in one group of all


@pytest.mark.parametrize("name", ORDERED)
def test_it_finds_what_comes_next_and_nothing_where_nothing_does(name: str) -> None:
    assert share_found(name, in_order(), at=1) > 0.9
    assert share_found(name, in_groups(groups=1), at=1) < 0.2


@pytest.mark.parametrize("name", ALL)
def test_kept_and_read_again_it_says_the_same(name: str, tmp_path: Path) -> None:
    data = in_groups()
    model = fitted(name, data)

    model.save(tmp_path)
    again = model_type(name).load(tmp_path)

    assert np.array_equal(again.score(data.events), model.score(data.events))


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_learns_the_same(name: str) -> None:
    data = in_groups()
    assert np.array_equal(
        fitted(name, data, seed=3).score(data.events), fitted(name, data, seed=3).score(data.events)
    )


@pytest.mark.parametrize("name", ALL)
def test_a_users_scores_do_not_depend_on_who_else_is_asked(name: str) -> None:
    data = in_groups()
    model = fitted(name, data)
    alone = data.events.take(np.array([7]))

    assert model.score(alone)[0] == pytest.approx(model.score(data.events)[7], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_learning_and_asking_leave_events_in_their_order(name: str) -> None:
    data = in_groups()
    before = data.events.items.copy()

    fitted(name, data).score(data.events)

    assert np.array_equal(data.events.items, before)


@pytest.mark.parametrize("name", ALL)
def test_a_user_without_events_is_answered(name: str) -> None:
    nobody = Histories(np.array([-1]), np.array([0, 0]), np.empty(0, np.int64))

    scores = fitted(name, in_groups()).score(nobody)

    assert scores.shape == (1, ITEMS)
    assert np.isfinite(scores).all()


def test_recent_popularity_is_that_of_the_last_days() -> None:
    day = 86_400
    data = dataset([[0, 1], [0, 2], [0, 2]], 3, times_s=[[0, 0], [0, 70 * day], [0, 70 * day]])

    scores = fitted("recent-popularity", data).score(data.events)

    assert scores[0].argmax() == 2
    assert scores[0, 0] == pytest.approx(3 * 2**-10)


def test_followers_weigh_by_how_many_events_lie_between() -> None:
    events = dataset([[0, 1, 2], [0, 2]], 3).events

    table = followers(events, 3, np.array([1, 0.5], np.float32)).toarray()

    assert table.tolist() == [[0, 1, 1.5], [0, 0, 1], [0, 0, 0]]


def test_inputs_together_are_those_of_every_moment() -> None:
    rng = np.random.default_rng(0)
    log = [rng.integers(0, 6, length).tolist() for length in (1, 2, 5, 9)]
    weights = recency(np.arange(4), 1.0)
    moments = []
    for items in log:
        for moment in range(1, len(items)):
            row = np.zeros(6)
            for rank, item in enumerate(reversed(items[:moment])):
                row[item] += weights[rank] if rank < len(weights) else 0
            moments.append(row)
    inputs = np.array(moments)

    found = inputs_together(dataset(log, 6).events, 6, weights).toarray()

    assert found == pytest.approx(inputs.T @ inputs, abs=1e-5)


def test_nearest_keeps_each_rows_largest() -> None:
    table = sparse.csr_array(np.array([[1.0, 3, 2], [0, 5, 5], [0, 0, 4]]))

    assert nearest(table, 1).toarray().tolist() == [[0, 3, 0], [0, 5, 0], [0, 0, 4]]


def test_ease_is_the_constrained_ridge() -> None:
    rng = np.random.default_rng(0)
    log = [rng.permutation(6)[:3].tolist() for _ in range(30)]
    data = dataset(log, 6)
    kind = model_type("ease")
    model = kind(kind.config_type(ridge=2.0))
    model.fit(data, Run())
    users = np.zeros((30, 6))
    for user, items in enumerate(log):
        users[user, items] = 1

    single = grouped(np.arange(6), np.arange(6), 6)
    weights = model.score(single)

    assert np.diag(weights).tolist() == [0] * 6
    for item in range(6):
        others = np.delete(np.arange(6), item)
        inputs = users[:, others]
        column = np.linalg.solve(inputs.T @ inputs + 2 * np.eye(5), inputs.T @ users[:, item])
        assert weights[others, item] == pytest.approx(column, abs=1e-5)
