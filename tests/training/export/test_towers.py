"""What a service runs of collaborative models says what the models say."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
import pytest

from services.training.data.histories import Floats
from services.training.learn.loop import Training
from services.training.models.collaborative.towers import TowerModel
from services.training.models.collaborative.two_tower import TwoTower
from services.training.models.collaborative.youtube import YouTubeConfig, YouTubeDnn
from services.training.models.model import Run
from tests.training.models.collaborative.test_two_tower import SMALL as TWO_TOWER
from tests.training.models.planted import contents, histories, log

SHORT = Training(epochs=2, learning_rate=0.01)


def fitted(name: str) -> TowerModel:
    options = {"length": 6, "training": SHORT}
    model: TowerModel = TwoTower(msgspec.structs.replace(TWO_TOWER, **options), contents)
    if name == "youtube-dnn":
        config = YouTubeConfig(dim=16, hidden=(32,), negatives=10, batch_events=200)
        model = YouTubeDnn(msgspec.structs.replace(config, **options))
    model.fit(log(), Run())
    return model


def run(path: Path, **inputs: np.ndarray) -> Floats:
    (found,) = ort.InferenceSession(path).run(None, inputs)
    return np.asarray(found, np.float32)


@pytest.mark.parametrize("name", ["youtube-dnn", "two-tower"])
def test_a_users_tower_asks_in_onnx_as_in_training(name: str, tmp_path: Path) -> None:
    model = fitted(name)
    rows = ([1, 2, 3], [4], [5, 6, 7, 8, 9, 10])
    expected = model.queries(histories(*rows))
    vectors = model.item_vectors()
    items, mask = np.zeros((3, 6, 16), np.float32), np.zeros((3, 6), np.float32)
    for row, history in enumerate(rows):
        items[row, 6 - len(history) :] = vectors[history]
        mask[row, 6 - len(history) :] = 1

    model.export_session(tmp_path / "session.onnx")
    queries = run(tmp_path / "session.onnx", items=items, mask=mask)
    np.testing.assert_allclose(queries, expected, rtol=1e-3, atol=1e-5)
    alone = run(tmp_path / "session.onnx", items=items[1:2], mask=mask[1:2])
    np.testing.assert_allclose(alone[0], queries[1], atol=1e-6)


def test_an_items_tower_places_new_items_in_onnx_as_in_training(tmp_path: Path) -> None:
    data = log()
    unseen = data.with_events(data.events.kept(data.events.items != 7))
    model = TwoTower(msgspec.structs.replace(TWO_TOWER, training=SHORT), contents)
    model.fit(unseen, Run())
    assert model.export_items(tmp_path / "tower.onnx")
    placed = run(tmp_path / "tower.onnx", content=contents(data).fused)
    np.testing.assert_allclose(placed[7], model.item_vectors()[7], rtol=1e-3, atol=1e-5)


def test_an_items_tower_that_no_service_can_feed_is_not_written(tmp_path: Path) -> None:
    model = TwoTower(msgspec.structs.replace(TWO_TOWER, content="all", training=SHORT), contents)
    model.fit(log(), Run())
    assert not model.export_items(tmp_path / "tower.onnx")
    assert not any(tmp_path.iterdir())
