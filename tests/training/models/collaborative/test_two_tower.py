"""New items enter the two-tower model by their content, and an index finds what it scores best."""

from __future__ import annotations

import msgspec
import numpy as np

from services.training.data.dataset import Dataset
from services.training.evaluation.by_index import index_recall
from services.training.learn.loop import Training
from services.training.models.collaborative.two_tower import TwoTower, TwoTowerConfig
from services.training.models.model import Run
from tests.training.models.planted import GROUPS, OF_GROUP, contents, histories, log

SMALL = TwoTowerConfig(
    dim=16,
    length=8,
    hidden=(32,),
    item_hidden=32,
    batch_events=200,
    training=Training(epochs=30, learning_rate=0.01),
)
NEW = [group * OF_GROUP + 5 for group in range(GROUPS)]  # items that training has never seen


def without_new(data: Dataset) -> Dataset:
    return data.with_events(data.events.kept(~np.isin(data.events.items, NEW)))


def fitted(**options: object) -> TwoTower:
    model = TwoTower(msgspec.structs.replace(SMALL, **options), contents)
    model.fit(without_new(log(240)), Run())
    return model


def ranks_of_new(model: TwoTower) -> list[int]:
    """Return the rank of each new item for one who chose what stands before it on the ring."""
    found = []
    for item in NEW:
        scores = model.score(histories([item - 3, item - 2, item - 1]))[0]
        found.append(int((scores > scores[item]).sum()))
    return found


def test_a_new_item_is_found_by_its_content() -> None:
    assert max(ranks_of_new(fitted())) <= 5
    assert np.mean(ranks_of_new(fitted(content="none"))) > 5


def test_what_is_known_of_a_user_counts() -> None:
    """Users of a group choose its items: who says so is met by them without any event."""
    model = fitted()
    told = model.score(histories([], users=[1]))[0].argmax()
    assert told // OF_GROUP == 1


def test_an_index_finds_what_exact_scores_find() -> None:
    model = fitted(training=Training(epochs=3, learning_rate=0.01))
    asked = histories(*[[at, at + 1] for at in range(20)])
    np.testing.assert_allclose(np.linalg.norm(model.item_vectors(), axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(model.queries(asked) @ model.item_vectors().T, model.score(asked))
    assert index_recall(model, asked, 5) > 0.95
