"""Every collaborative model finds the taste that is there, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from services.training.data.histories import Histories
from services.training.learn.loop import Training
from services.training.models.collaborative.two_tower import TwoTower, TwoTowerConfig
from services.training.models.model import Model, Run
from services.training.models.registry import model_type
from tests.training.models.planted import (
    GROUPS,
    ITEMS,
    OF_GROUP,
    best_is_of,
    contents,
    histories,
    log,
)

BY_USER = ("gmf", "mlp", "neumf", "dot")
BY_HISTORY = ("mult-dae", "mult-vae", "youtube-dnn", "two-tower")
ALL = BY_USER + BY_HISTORY

SMALL = {
    "factors": 8,
    "pull": 0.0,
    "batch": 64,
    "hidden": 32,
    "codes": 8,
    "dim": 16,
    "length": 8,
    "item_hidden": 16,
    "negatives": 8,
    "batch_events": 200,
}


def small(name: str, epochs: int = 30, **options: object) -> Model:
    """Return the model with its own choices, small and quick."""
    kind = model_type(name)
    fields = {*kind.config_type.__struct_fields__}
    changes = {field: value for field, value in {**SMALL, **options}.items() if field in fields}
    if isinstance(getattr(kind.config_type(), "hidden", None), tuple):
        changes["hidden"] = (32,)
    changes["training"] = Training(epochs=epochs, learning_rate=0.01)
    config = msgspec.structs.replace(kind.config_type(), **changes)
    return TwoTower(config, contents) if isinstance(config, TwoTowerConfig) else kind(config)


def asked(group: int) -> Histories:
    """Ask for a known user of the group, who chose three of its items."""
    first = group * OF_GROUP
    return histories([first + 2, first + 3, first + 4], users=[group])


@pytest.mark.parametrize("name", ALL)
def test_a_model_learns_what_is_planted_and_loads_as_it_was_saved(
    name: str, tmp_path: Path
) -> None:
    model = small(name)
    model.fit(log(), Run())
    for group in range(GROUPS):
        assert best_is_of(group, model.score(asked(group))[0], asked(group))

    model.save(tmp_path)
    loaded = type(model).load(tmp_path)
    np.testing.assert_allclose(loaded.score(asked(1)), model.score(asked(1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_where_nothing_is_planted_nothing_is_learnt(name: str) -> None:
    model = small(name, epochs=10)
    model.fit(log(planted=False), Run())
    first = [user % GROUPS * OF_GROUP for user in range(30)]
    some = histories(*[[at + 2, at + 3, at + 4] for at in first], users=[*range(30)])
    right = [
        best_is_of(user % GROUPS, scores, some.take(np.array([user])))
        for user, scores in enumerate(model.score(some))
    ]
    assert np.mean(right) < 0.7


@pytest.mark.parametrize("name", ALL)
def test_one_seed_gives_one_model(name: str) -> None:
    scores = []
    for seed in (0, 0, 1):
        model = small(name, epochs=2)
        model.fit(log(), Run(seed=seed))
        scores.append(model.score(asked(0)))
    assert scores[0].tolist() == scores[1].tolist()
    assert scores[0].tolist() != scores[2].tolist()


@pytest.mark.parametrize("name", ALL)
def test_a_users_scores_do_not_depend_on_others(name: str) -> None:
    model = small(name, epochs=2)
    model.fit(log(), Run())
    alone = model.score(histories([1, 2, 3], users=[0]))[0]
    among = model.score(histories([7], [1, 2, 3], [3, 4, 5, 6], [], users=[5, 0, -1, -1]))
    np.testing.assert_allclose(among[1], alone, rtol=1e-4, atol=1e-5)
    assert np.isfinite(among).all()


@pytest.mark.parametrize("name", BY_USER)
def test_one_whom_it_does_not_know_is_the_mean_of_those_it_knows(name: str) -> None:
    model = small(name, epochs=2)
    model.fit(log(), Run())
    for table, rows in model.tensors().items():
        if table.startswith("user"):
            np.testing.assert_allclose(rows[-1], rows[:-1].mean(0), atol=1e-6)
    stranger, known = model.score(histories([], [], users=[-1, 0]))
    assert np.isfinite(stranger).all()
    assert stranger.tolist() != known.tolist()


@pytest.mark.parametrize("name", BY_HISTORY)
def test_one_whom_it_does_not_know_is_known_by_the_history(name: str) -> None:
    model = small(name)
    model.fit(log(), Run())
    for group in range(GROUPS):
        stranger = histories(asked(group).items.tolist())
        assert best_is_of(group, model.score(stranger)[0], stranger)


def test_what_autoencoders_rebuild_may_be_what_came_next() -> None:
    model = small("mult-dae", epochs=40, ahead=1, half_life=0.5, dropout=0.0)
    model.fit(log(400), Run())
    right = [model.score(histories([at, at + 1, at + 2]))[0].argmax() == at + 3 for at in range(7)]
    assert np.mean(right) > 0.8


def test_every_item_is_scored() -> None:
    for name in ALL:
        model = small(name, epochs=1)
        model.fit(log(), Run())
        assert model.score(asked(0)).shape == (1, ITEMS)
