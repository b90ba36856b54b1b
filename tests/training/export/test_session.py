"""What a service runs says what the model says."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from services.training.data.histories import Floats
from services.training.export.item_tower import ItemTowerConfig, fit_item_tower
from services.training.export.tower_graphs import write_item_tower
from services.training.learn.loop import Training
from services.training.models.model import Run
from services.training.models.sequential.tower import SessionTower, SessionTowerConfig
from tests.training.models.sequential.test_sequential import histories, log

LENGTH, DIM = 6, 16


def fitted(**network: object) -> SessionTower:
    config = SessionTowerConfig()
    shape = msgspec.structs.replace(config.network, dim=DIM, length=LENGTH, **network)
    config = msgspec.structs.replace(
        config, network=shape, training=Training(epochs=5, learning_rate=0.01), batch_events=200
    )
    model = SessionTower(config)
    model.fit(log(), Run())
    return model


def as_served(model: SessionTower, *rows: list[int]) -> tuple[Floats, Floats]:
    """Return `items` and `mask` of histories, zeros in front."""
    vectors = model.item_vectors()
    items, mask = np.zeros((len(rows), LENGTH, DIM)), np.zeros((len(rows), LENGTH))
    for row, history in enumerate(rows):
        items[row, LENGTH - len(history) :] = vectors[history]
        mask[row, LENGTH - len(history) :] = 1
    return items.astype(np.float32), mask.astype(np.float32)


@pytest.mark.parametrize(
    ("block", "positions"),
    [
        ("gru", "absolute"),
        *product(("softmax", "position"), ("absolute", "relative", "both")),
    ],
)
def test_a_session_tower_ranks_in_onnx_as_in_training(
    block: str, positions: str, tmp_path: Path
) -> None:
    model = fitted(block=block, heads=2, positions=positions)
    model.export_session(tmp_path / "session.onnx")
    assert [each.name for each in tmp_path.iterdir()] == ["session.onnx"]
    onnx.checker.check_model(tmp_path / "session.onnx", full_check=True)
    session = ort.InferenceSession(tmp_path / "session.onnx")
    assert [each.name for each in session.get_inputs()] == ["items", "mask"]
    assert [each.name for each in session.get_outputs()] == ["query"]

    rows = ([1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [3, 1])
    items, mask = as_served(model, *rows)
    (queries,) = session.run(None, {"items": items, "mask": mask})
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
    scores = queries @ model.item_vectors().T
    expected = model.score(histories(*rows))
    scale = float(model.tensors()["log_scale"])
    np.testing.assert_allclose(scores * np.exp(scale), expected, rtol=1e-3, atol=1e-4)

    alone = session.run(None, {"items": items[1:2], "mask": mask[1:2]})[0]
    np.testing.assert_allclose(alone[0], queries[1], atol=1e-6)


def test_a_network_that_no_service_runs_is_refused() -> None:
    told = {"network": {"block": "gated", "temperature": 0.05}}
    with pytest.raises(msgspec.ValidationError, match="position, softmax, gru, .* was gated"):
        msgspec.convert(told, SessionTowerConfig)


def test_content_leads_to_the_rows_that_events_taught(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    contents = rng.normal(size=(300, 12)).astype(np.float32)
    contents /= np.linalg.norm(contents, axis=1, keepdims=True)
    rows = contents @ rng.normal(size=(12, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    config = ItemTowerConfig(width=64, dropout=0.0, training=Training(epochs=100, patience=0))

    tower, curve = fit_item_tower(contents, rows, config, Run())
    assert curve.best > 0.9
    _, by_chance = fit_item_tower(contents, rng.permutation(rows), config, Run())
    assert by_chance.best < 0.6

    write_item_tower(tower, 12, tmp_path / "tower.onnx")
    session = ort.InferenceSession(tmp_path / "tower.onnx")
    (found,) = session.run(["tower"], {"content": contents[:5]})
    with torch.inference_mode():
        expected = tower(torch.from_numpy(contents[:5])).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_an_item_is_mapped_by_each_view_of_its_content() -> None:
    rng = np.random.default_rng(0)
    words, picture = rng.normal(size=(2, 300, 6)).astype(np.float32)
    rows = np.concatenate([words, words], 1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    nothing = np.zeros_like(words)
    views = np.stack([np.concatenate([words, picture], 1), np.concatenate([words, nothing], 1)])
    config = ItemTowerConfig(width=64, dropout=0.0, training=Training(epochs=60, patience=0))

    def nearness(contents: Floats) -> float:
        tower, _ = fit_item_tower(contents, rows, config, Run())
        with torch.inference_mode():
            return float((tower(torch.from_numpy(views[1])).numpy() * rows).sum(1).mean())

    assert nearness(views) > nearness(views[0])
