"""AutoRec predicts ratings that a pattern explains, better than means do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.training.data.dataset import Dataset
from services.training.data.histories import grouped
from services.training.learn.loop import Training
from services.training.models.collaborative.autorec import AutoRec, AutoRecConfig
from services.training.models.model import FitProgress, Run
from tests.training.models.planted import histories, log

USERS, ITEMS = 60, 40
SMALL = AutoRecConfig(
    hidden=32, batch=8, pull=1e-4, training=Training(epochs=60, learning_rate=0.01)
)


def rated(seed: int = 0) -> tuple[Dataset, np.ndarray, np.ndarray, np.ndarray]:
    """Return two tastes' ratings, and held-out pairs with theirs."""
    rng = np.random.default_rng(seed)
    users, items = np.divmod(rng.permutation(USERS * ITEMS), ITEMS)
    agrees = (users % 2) == (items % 2)
    values = np.where(agrees, 4.5, 1.5).astype(np.float32)
    values += rng.normal(0, 0.2, len(values)).astype(np.float32)
    known = np.arange(len(users)) < len(users) // 2
    events = grouped(users[known], items[known], USERS, None, values[known])
    names, people = tuple(map(str, range(ITEMS))), tuple(map(str, range(USERS)))
    return Dataset("rated", names, people, events), users[~known], items[~known], values[~known]


def rmse(predicted: np.ndarray, values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(predicted - values))))


def test_it_predicts_what_tastes_explain_and_loads_as_it_was_saved(tmp_path: Path) -> None:
    data, users, items, values = rated()
    model = AutoRec(SMALL)
    model.fit(data, Run())
    assert rmse(model.predict(users, items), values) < 0.5 < rmse(values.mean(), values)

    model.save(tmp_path)
    loaded = AutoRec.load(tmp_path)
    np.testing.assert_allclose(loaded.predict(users, items), model.predict(users, items), rtol=1e-6)


def test_a_score_is_the_rating_expected() -> None:
    data, users, items, _ = rated()
    model = AutoRec(SMALL)
    model.fit(data, Run())
    some = model.score(histories([], [], users=[int(users[0]), -1]))
    np.testing.assert_allclose(some[0, items[0]], model.predict(users[:1], items[:1])[0], rtol=1e-5)
    assert np.isfinite(some).all()


def test_one_seed_gives_one_model() -> None:
    data, users, items, _ = rated()
    predicted = []
    for seed in (0, 0, 1):
        model = AutoRec(AutoRecConfig(hidden=8, training=Training(epochs=2)))
        model.fit(data, Run(seed=seed))
        predicted.append(model.predict(users, items).tolist())
    assert predicted[0] == predicted[1] != predicted[2]


def test_its_progress_calls_the_error_of_ratings_what_it_is() -> None:
    told: list[dict[str, float]] = []

    class Progress(FitProgress):
        def step(self, done: float, of: float, **figures: float) -> None:
            told.append(figures)

    data, *_ = rated()
    AutoRec(SMALL).fit(data, Run(progress=Progress()))

    assert {name for figures in told for name in figures} == {
        "loss", "steps_per_s", "rmse", "best rmse",
    }  # fmt: skip
    errors = [figures["rmse"] for figures in told if "rmse" in figures]
    assert 0 < min(errors) < errors[0] < 2


def test_data_without_ratings_is_refused() -> None:
    with pytest.raises(ValueError, match="learns from ratings; planted has none"):
        AutoRec().fit(log(), Run())
