"""Wide & Deep remembers what only crosses tell, generalises from order, and sums both up."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from services.training.data.histories import Histories
from services.training.learn.loop import Training
from services.training.models.blended.wide_deep import (
    NO_PAIR,
    Wide,
    WideDeep,
    WideDeepConfig,
    known_pairs,
)
from services.training.models.model import Run
from tests.training.models.planted import ITEMS, contents, histories, log

SMALL = WideDeepConfig(
    dim=16,
    length=8,
    hidden=(32, 16),
    dropout=0.0,
    batch_events=200,
    training=Training(epochs=30, learning_rate=0.01),
)


def small(**options: object) -> WideDeep:
    return WideDeep(msgspec.structs.replace(SMALL, **options), contents)


def fitted(run: Run | None = None, *, planted: bool = True, **options: object) -> WideDeep:
    model = small(**options)
    model.fit(log(planted=planted), run or Run())
    return model


def right(model: WideDeep) -> float:
    """Return how often what follows on the ring is expected first."""
    rows: list[list[int]] = []
    following = []
    for group in range(3):
        for at in range(10):
            rows.append([group * 10 + (at + step) % 10 for step in range(3)])
            following.append(group * 10 + (at + 3) % 10)
    return float((model.score(histories(*rows)).argmax(1) == following).mean())


def some() -> Histories:
    return histories([1, 2, 3], [], [14, 15], [7], users=[0, -1, 1, -1])


@pytest.mark.parametrize("parts", ["both", "wide", "deep"])
def test_it_learns_what_is_planted(parts: str) -> None:
    assert right(fitted(parts=parts)) > 0.9


def test_where_nothing_is_planted_nothing_is_learnt() -> None:
    training = Training(epochs=5, learning_rate=0.01)
    assert right(fitted(planted=False, training=training)) < 0.3


def test_what_both_parts_add_sums_to_the_score() -> None:
    model = fitted(training=Training(epochs=2))
    parts = model.contributions(some())
    assert parts.shape == (4, ITEMS, 2)
    np.testing.assert_allclose(parts.sum(2), model.score(some()), rtol=1e-6)
    assert all(parts[:, :, part].std() > 0 for part in (0, 1))


def test_a_part_that_is_left_out_adds_nothing() -> None:
    training = Training(epochs=2)
    assert not fitted(parts="wide", training=training).contributions(some())[:, :, 1].any()
    assert not fitted(parts="deep", training=training).contributions(some())[:, :, 0].any()


def test_it_loads_as_it_was_saved(tmp_path: Path) -> None:
    model = fitted(training=Training(epochs=2))
    model.save(tmp_path)
    np.testing.assert_allclose(
        WideDeep.load(tmp_path).score(some()), model.score(some()), rtol=1e-5, atol=1e-6
    )


def test_one_seed_gives_one_model() -> None:
    one, two, other = (
        fitted(Run(seed=seed), training=Training(epochs=1)).score(some()) for seed in (0, 0, 1)
    )
    assert one.tolist() == two.tolist()
    assert one.tolist() != other.tolist()


def test_a_pair_has_a_weight_where_it_came_often_enough() -> None:
    data = log(users=2).with_events(histories([1, 2, 3], [1, 2, 9], [2, 3]))
    after_one, after_two = (known_pairs(data, crossed, 2).tolist()[:-1] for crossed in (1, 2))
    assert after_one == [1 * ITEMS + 2, 2 * ITEMS + 3]
    assert after_two == after_one  # 1 before 3, and before 9, came once
    assert 1 * ITEMS + 3 in known_pairs(data, 2, 1)


def test_an_older_item_counts_less_and_an_unknown_pair_nothing() -> None:
    wide = Wide(ITEMS, 0, 0, np.array([1 * ITEMS + 5, NO_PAIR]), dropout=0.0, rate=1.0)
    torch.nn.init.constant_(wide.pairs, 6.0)
    last = torch.tensor([[1, 2, 3], [2, 1, -1], [2, 3, 1], [4, -1, -1]])
    found = wide.remembered(last, torch.tensor([[5, 6]] * 4))
    assert found.tolist() == [[6, 0], [3, 0], [2, 0], [0, 0]]


def test_before_anything_is_learnt_an_item_is_as_likely_as_it_is_drawn() -> None:
    model = fitted(parts="wide", training=Training(epochs=0))
    chances = model.probabilities(some(), np.array([[4], [9], [16], [8]]))
    np.testing.assert_allclose(chances, 1 / (1 + model.negatives), rtol=1e-6)


def test_the_wide_part_learns_faster_by_its_rate() -> None:
    """Of the first step, in which Adam moves each weight as far, whatever its gradient."""
    one, five = (
        fitted(parts="wide", wide_rate=rate, batch_events=10**6, training=Training(epochs=1))
        for rate in (1.0, 5.0)
    )
    moved = [model.score(some()) + np.log(model.negatives) for model in (one, five)]
    np.testing.assert_allclose(moved[1], 5 * moved[0], rtol=1e-3, atol=1e-6)


def test_probabilities_come_true() -> None:
    """Of one that came next for every `negatives` drawn, so many are expected to have come."""
    model = fitted(training=Training(epochs=8, learning_rate=0.01))
    rows = [[group * 10 + at, group * 10 + (at + 1) % 10] for group in range(3) for at in range(10)]
    right = np.array([[row[0] // 10 * 10 + (row[1] + 1) % 10] for row in rows])
    wrong = (right + 10) % ITEMS
    assert model.probabilities(histories(*rows), right).mean() > 0.5
    assert model.probabilities(histories(*rows), wrong).mean() < 0.1


def test_a_score_depends_on_no_other_user_and_no_other_candidate() -> None:
    model = fitted(training=Training(epochs=2))
    among = model.score(some())
    np.testing.assert_allclose(
        model.score(histories([1, 2, 3], users=[0]))[0], among[0], rtol=1e-4, atol=1e-5
    )
    chosen: NDArray[np.int64] = np.array([[4], [9], [16], [8]])
    alone = model.contributions(some(), chosen).sum(2)
    np.testing.assert_allclose(alone, np.take_along_axis(among, chosen, 1), rtol=1e-4, atol=1e-5)
