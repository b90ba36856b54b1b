"""A blend is as good as its best part or better, by weights that only validation gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats
from services.training.data.splits import Split, leave_last_out
from services.training.evaluation.ranks import ndcg, ranks
from services.training.fits import Choice, Fits
from services.training.models.blended.blend import (
    Blend,
    BlendCandidates,
    BlendConfig,
    choices_of,
    likeliest,
    standardised,
)
from services.training.models.model import FitProgress, Model, Run
from services.training.models.registry import model_type
from services.training.stopping import StopRequest
from tests.unit.training.logs import dataset

ITEMS = 60
PARTS = ("popularity", "linear-next", "item-knn")


def in_order_within_groups(seed: int = 0) -> Split:
    """Return users who mostly go on to the next item, else to any of their group of twenty."""
    rng = np.random.default_rng(seed)
    log = []
    for user in range(200):
        group = 20 * (user % 3)
        items = [int(rng.integers(20))]
        while len(items) < 10:
            near = (items[-1] + 1) % 20
            item = near if rng.random() < 0.6 and near not in items else int(rng.integers(20))
            if item not in items:
                items.append(item)
        log.append([group + item for item in items])
    return leave_last_out(dataset(log, ITEMS))


def fitted(split: Split, parts: tuple[str, ...] = PARTS) -> tuple[Blend, dict[str, Model]]:
    models: dict[str, Model] = {}

    def part(name: str) -> Model:
        models[name] = model_type(name)()
        models[name].fit(split.train, Run())
        return models[name]

    blend = Blend(BlendConfig(parts=parts, candidates=20))
    blend.fit(split.train, Run(fitted=part, validation=split.validation))
    return blend, models


def test_it_is_at_least_as_good_as_its_best_part_on_what_it_was_chosen_by() -> None:
    split = in_order_within_groups()
    blend, models = fitted(split)

    def figure(model: Model) -> float:
        return float(ndcg(ranks(model.score, split.validation), 10).mean())

    assert figure(blend) >= max(figure(model) for model in models.values()) - 1e-6


def test_a_part_that_says_nothing_gets_no_say() -> None:
    blend, _ = fitted(in_order_within_groups())

    weights = dict(zip(PARTS, blend.weights, strict=True))

    assert weights["linear-next"] > 5 * weights["popularity"]


def test_it_needs_somebody_to_choose_by() -> None:
    split = in_order_within_groups()
    with pytest.raises(ValueError, match="needs fitted parts and a validation split"):
        Blend().fit(split.train, Run())


def test_kept_and_read_again_it_says_the_same(tmp_path: Path) -> None:
    split = in_order_within_groups()
    blend, _ = fitted(split)

    blend.save(tmp_path)
    again = Blend.load(tmp_path)

    histories = split.test.histories
    assert np.array_equal(again.score(histories), blend.score(histories))


def test_its_parts_are_fitted_once_and_found_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def heard(name: str) -> FitProgress:
        asked.append(name)
        return FitProgress()

    def fits() -> Fits:
        return Fits(
            tmp_path,
            in_order_within_groups(),
            seed=0,
            device="cpu",
            choose=lambda name: Choice(name, name, model_type(name).config_type()),
            stop=StopRequest(),
            progress=heard,
        )

    first = fits().fit(Choice("blend", "blend", BlendConfig(parts=PARTS)))
    assert asked == ["blend", *PARTS]
    other = fits().fit(Choice("blend", "blend", BlendConfig(parts=PARTS[:2])))

    assert asked == ["blend", *PARTS, "blend"]  # whose parts were there
    assert len(first.model.tensors()["weights"]) == len(other.model.tensors()["weights"]) + 1


def test_a_parts_scale_does_not_count() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)

    assert standardised(7 * scores + 100) == pytest.approx(standardised(scores), abs=1e-4)
    assert not standardised(np.full((2, 4), 3, np.float32)).any()


class _Told(Model):
    """Says what it was told."""

    name = "told"
    paper = "a double"

    def __init__(self, scores: Floats) -> None:
        self._scores = scores

    def fit(self, data: Dataset, run: Run) -> None:
        raise NotImplementedError

    def score(self, histories: object) -> Floats:
        return self._scores

    def tensors(self) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def restore(self, tensors: object) -> None:
        raise NotImplementedError


def test_choices_are_each_parts_first_items_without_the_own_history() -> None:
    asked = leave_last_out(dataset([[0, 1, 4, 2]], 6)).test  # knows 0, 1 and 4, asks for 2
    up, down = (np.arange(6, dtype=np.float32)[None] * sign for sign in (1, -1))

    choices = choices_of([_Told(up), _Told(down)], asked, 2)

    items = choices.scores[0, choices.there[0], 0].argsort().argsort()
    assert len(items) == 3  # 5 and 3 by the first, 2 by the second, which is the target: 0, 1 known
    assert choices.there[0, choices.of_target[0]]


def test_a_target_that_no_part_proposes_teaches_nothing() -> None:
    asked = leave_last_out(dataset([[0, 1, 4, 2]], 6)).test
    up = np.arange(6, dtype=np.float32)[None]

    assert not len(choices_of([_Told(up)], asked, 2).of_target)  # 5 and 3


def test_likeliest_weights_have_no_slope() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(400, 8, 2)).astype(np.float32)
    noise = rng.gumbel(size=(400, 8))
    choices = BlendCandidates(
        scores, np.ones((400, 8), bool), np.argmax(1.5 * scores[:, :, 0] + noise, axis=1)
    )

    weights = likeliest(choices)

    assert weights[0] == pytest.approx(1.5, abs=0.3)
    assert weights[1] < 0.2
