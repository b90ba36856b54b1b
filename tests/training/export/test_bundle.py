"""What was learnt becomes a bundle that the services themselves take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from services.ranking.models.serving_models import ServingModels
from services.training.commands.fitting import served, train
from services.training.content.contents import ItemContents, contents_of
from services.training.data.dataset import Dataset
from services.training.export.bundle import write_trained_bundle
from services.training.export.item_tower import ItemTowerConfig
from services.training.learn.loop import Training
from services.training.models.model import Run, ServedModel
from services.training.models.registry import model_type
from services.training.models.sequential.network import NetworkConfig
from services.training.models.sequential.tower import SessionTower, SessionTowerConfig
from shared.bundles.bundle import TOWER, TOWER_ROWS, Bundle
from shared.bundles.towers import OnnxItemTower, OnnxSessionTower
from shared.inputs.refusals import BadInput
from shared.users.keys import item_key
from tests.training.models.content import planted

LENGTH = 8
EVALUATION = {"data": "planted", "split": "leave-last-out", "seed": 0, "hr@10": 1, "ndcg@10": 0.9}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return planted.dataset(tmp_path_factory.mktemp("posters"))


@pytest.fixture(scope="module")
def contents(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ItemContents:
    return contents_of(data, cache=tmp_path_factory.mktemp("contents"))


@pytest.fixture(scope="module")
def tower(data: Dataset) -> SessionTower:
    model = SessionTower(
        SessionTowerConfig(
            network=NetworkConfig(
                dim=16, length=LENGTH, block="position", positions="both", temperature=0.05
            ),
            training=Training(epochs=6, learning_rate=1e-2),
        )
    )
    model.fit(data, Run())
    return model


@pytest.fixture(scope="module")
def bundle(
    data: Dataset,
    contents: ItemContents,
    tower: SessionTower,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    config = ItemTowerConfig(width=32, training=Training(epochs=60, learning_rate=1e-2))
    write_trained_bundle(folder, tower, data, contents, EVALUATION, Run(), config=config)
    return folder


def test_items_that_were_learnt_have_their_rows_and_new_ones_those_of_their_kind(
    bundle: Path, data: Dataset, contents: ItemContents, tower: SessionTower
) -> None:
    keys = np.array([item_key(item_id) for item_id in data.item_ids], np.uint64)
    vectors = OnnxItemTower(Bundle.load(bundle)).vectors(keys, contents.fused)

    old = np.setdiff1d(np.unique(data.events.items), planted.NEW)
    np.testing.assert_allclose(vectors[old], tower.item_vectors()[old], atol=2e-3)
    nearest = (vectors[planted.NEW] @ vectors[old].T).argmax(axis=1)
    same = planted.kinds()[planted.NEW] == planted.kinds()[old][nearest]
    assert same.mean() >= 0.75


def test_a_session_asks_for_its_kind(bundle: Path, data: Dataset, contents: ItemContents) -> None:
    read = Bundle.load(bundle)
    keys = np.array([item_key(item_id) for item_id in data.item_ids], np.uint64)
    vectors = OnnxItemTower(read).vectors(keys, contents.fused)
    session = OnnxSessionTower(read)

    met = 0
    for user in range(planted.KINDS):
        query = session.query(vectors[data.events.of(user)])
        first = np.argsort(-(vectors @ query))[:5]
        met += int((planted.kinds()[first] == user % planted.KINDS).sum())
    assert met >= 0.8 * 5 * planted.KINDS


def test_ranking_takes_the_bundle(bundle: Path) -> None:
    models = ServingModels.load(bundle)

    assert models.tower is not None
    assert models.tower.length == LENGTH
    assert models.space.startswith("day-zero-1-")


@pytest.mark.parametrize("name", served())
def test_every_model_with_towers_asks_as_in_training(
    name: str,
    data: Dataset,
    contents: ItemContents,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kind = model_type(name)
    short = Training(epochs=2, learning_rate=1e-2)
    model = kind(msgspec.structs.replace(kind.config_type(), training=short))
    model.fit(data, Run())
    assert isinstance(model, ServedModel)
    folder = tmp_path / "bundle"
    config = ItemTowerConfig(width=32, training=Training(epochs=1))
    write_trained_bundle(folder, model, data, contents, EVALUATION, Run(), config=config)

    served_models, read = ServingModels.load(folder), Bundle.load(folder)
    assert served_models.tower is not None
    assert (served_models.tower.model, served_models.tower.length) == (name, model.length)
    keys = np.array([item_key(item_id) for item_id in data.item_ids], np.uint64)
    vectors = OnnxItemTower(read).vectors(keys, contents.fused)
    asked, session = planted.asked(), OnnxSessionTower(read)
    old = np.setdiff1d(np.unique(data.events.items), planted.NEW)
    for row, expected in enumerate(model.score(asked)):
        scores = vectors @ session.query(vectors[asked.of(row)])
        assert np.corrcoef(scores[old], expected[old])[0, 1] > 0.999


def test_a_space_is_named_after_what_was_learnt(
    bundle: Path, data: Dataset, contents: ItemContents, tower: SessionTower, tmp_path: Path
) -> None:
    config = ItemTowerConfig(width=32, training=Training(epochs=1))
    other = write_trained_bundle(tmp_path, tower, data, contents, EVALUATION, Run(), config=config)

    assert other.space != Bundle.load(bundle).space


def test_items_of_which_nothing_is_known_have_their_rows_alone(
    data: Dataset, contents: ItemContents, tower: SessionTower, tmp_path: Path
) -> None:
    nothing = np.zeros(data.n_items, bool)
    silent = replace(
        contents,
        texts=np.zeros_like(contents.texts),
        pictures=np.zeros_like(contents.pictures),
        fused=np.zeros_like(contents.fused),
        has_text=nothing,
        has_picture=nothing,
    )
    written = write_trained_bundle(tmp_path, tower, data, silent, EVALUATION, Run())

    assert TOWER not in written.files
    assert TOWER_ROWS in written.files


def test_a_model_that_no_service_runs_is_refused_before_it_is_fitted(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="models? that services run: .*tower.*, was ease"):
        train("ease", data=tmp_path, bundle=tmp_path / "bundle")
