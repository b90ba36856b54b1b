"""Models of content place what nobody chose yet by what it is, and by nothing that came later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
import torch

from services.training.content.contents import contents_of
from services.training.data.dataset import Dataset
from services.training.learn.loop import Training
from services.training.models.content.dropoutnet import DropoutNet
from services.training.models.content.movie import MovieConfig, MovieNetworks
from services.training.models.content.pinsage import alike_neighbours, walked_neighbours
from services.training.models.model import FitFailed, Model, Run
from services.training.models.registry import model_type
from tests.training.models.content.planted import (
    ITEMS,
    KINDS,
    NEW,
    asked,
    dataset,
    keep_contents,
    kinds,
    share_of_own_kind,
)

FEW: dict[str, object] = {"training": Training(epochs=40, learning_rate=0.02, patience=0)}
SMALL: dict[str, dict[str, object]] = {
    "visual": {},
    "text": {},
    "content": {},
    "vbpr": {"factors": 8, **FEW},
    "cdl": {"factors": 8, "hidden": 16, "rounds": 3, "item_weight": 10.0, "user_weight": 1.0},
    "pinsage": {"width": 16, "hidden": 16, "share": 1.0, **FEW},
    "dropoutnet": {"width": 16, "hidden": 16, "share": 1.0, **FEW},
    "movie": {"width": 16, "side": 16, "channels": (8, 8), "share": 1.0, "newest": 5, **FEW},
}
LEARNT = ("vbpr", "cdl", "pinsage", "dropoutnet")
TWO_EPOCHS: dict[str, object] = {"training": Training(epochs=2, patience=0)}
SHORT: dict[str, dict[str, object]] = {
    "vbpr": TWO_EPOCHS,
    "cdl": {"rounds": 1, "epochs": 2},
    "pinsage": TWO_EPOCHS,
    "dropoutnet": TWO_EPOCHS,
    "movie": TWO_EPOCHS,
}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return dataset(tmp_path)


def fitted(name: str, data: Dataset, seed: int = 0, **options: object) -> Model:
    kind = model_type(name)
    model = kind(msgspec.structs.replace(kind.config_type(), **{**SMALL[name], **options}))
    model.fit(data, Run(seed=seed))
    return model


@pytest.mark.parametrize("name", SMALL)
def test_new_items_come_to_those_who_choose_their_kind(
    name: str, data: Dataset, tmp_path: Path
) -> None:
    keep_contents(data)
    model = fitted(name, data)
    scores = model.score(asked())
    assert share_of_own_kind(scores) >= 0.75

    model.save(tmp_path / "kept")
    loaded = type(model).load(tmp_path / "kept")
    np.testing.assert_allclose(loaded.score(asked()), scores, rtol=1e-4, atol=1e-5)
    alone = model.score(asked().take(np.array([2])))
    np.testing.assert_allclose(alone[0], scores[2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LEARNT)
def test_contents_that_tell_nothing_teach_nothing_of_new_items(name: str, data: Dataset) -> None:
    keep_contents(data, told=False)
    assert share_of_own_kind(fitted(name, data).score(asked())) <= 0.6


@pytest.mark.parametrize("name", [*LEARNT, "movie"])
def test_a_seed_makes_a_fit(name: str, data: Dataset) -> None:
    keep_contents(data)
    first, again, other = (
        fitted(name, data, seed, **SHORT[name]).score(asked()) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_pictures_are_what_bpr_lacks_for_new_items(data: Dataset) -> None:
    keep_contents(data)
    with_pictures = share_of_own_kind(fitted("vbpr", data).score(asked()))
    without = share_of_own_kind(fitted("vbpr", data, visual=False).score(asked()))
    assert with_pictures > without


def test_an_item_tower_gives_in_onnx_what_an_item_without_a_row_has(
    data: Dataset, tmp_path: Path
) -> None:
    keep_contents(data)
    model = fitted("dropoutnet", data, inputs="fused")
    assert isinstance(model, DropoutNet)
    assert model.export_items(tmp_path / "tower.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "tower.onnx")
    fused = contents_of(data).fused
    (given,) = session.run(["tower"], {"content": fused})
    np.testing.assert_allclose(np.linalg.norm(given, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(given[NEW], model.item_vectors()[NEW], atol=1e-5)
    (alone,) = session.run(["tower"], {"content": fused[5:6]})
    np.testing.assert_allclose(alone, given[5:6], atol=1e-6)

    seeing_more = fitted("dropoutnet", data, training=Training(epochs=2, patience=0))
    assert isinstance(seeing_more, DropoutNet)
    assert not seeing_more.export_items(tmp_path / "none.onnx")


@pytest.mark.parametrize("name", [*LEARNT, "movie"])
def test_items_without_text_or_picture_are_fitted_all_the_same(name: str, data: Dataset) -> None:
    bare = replace(data, items={}, pictures={})
    assert np.isfinite(fitted(name, bare, 0, **SHORT[name]).score(asked())).all()


def test_gradients_reach_poster_words_and_behaviour() -> None:
    config = MovieConfig(width=16, side=16, channels=(8, 8), words=4, newest=3)
    networks = MovieNetworks(ITEMS, 20, config)
    rng = np.random.default_rng(0)
    pictures = torch.from_numpy(rng.integers(0, 255, (6, 16, 16, 3), dtype=np.uint8))
    words = torch.from_numpy(rng.integers(1, 20, (6, 4)))
    newest = torch.from_numpy(rng.integers(0, ITEMS, (6, 3)))

    scores = networks.queries(newest) @ networks.items(pictures, words).T
    torch.autograd.backward(torch.nn.functional.cross_entropy(scores, torch.arange(6)))

    for part in (networks.poster, networks.text, networks.behaviour):
        assert part is not None
        gradients = []
        for name, weights in part.named_parameters():
            assert weights.grad is not None, name
            gradients.append(weights.grad)
        reached = [gradient for gradient in gradients if gradient.abs().sum() > 0]
        assert len(reached) > len(gradients) / 2


@pytest.mark.parametrize("left_out", ["poster", "text", "behaviour"])
def test_a_movie_models_part_can_be_left_out(left_out: str, data: Dataset) -> None:
    model = fitted("movie", data, **{left_out: False})
    scores = model.score(asked())
    if left_out == "behaviour":
        np.testing.assert_allclose(scores, np.tile(scores[:1], (KINDS, 1)), rtol=1e-5)
    else:  # either tells the kind
        assert share_of_own_kind(scores) >= 0.75


def test_a_movie_model_needs_a_poster_or_a_text(data: Dataset) -> None:
    with pytest.raises(FitFailed, match="poster or text"):
        fitted("movie", data, poster=False, text=False)


def test_walks_visit_what_the_same_users_chose_and_new_items_have_their_like(
    data: Dataset,
) -> None:
    found, weights = walked_neighbours(data.events, ITEMS, 50, 5, np.random.default_rng(0))
    learnt = np.isin(np.arange(ITEMS), NEW, invert=True)
    assert (kinds()[found] == kinds()[:, None])[weights > 0].all()
    assert (found != np.arange(ITEMS)[:, None])[weights > 0].all()
    np.testing.assert_allclose(weights[learnt].sum(axis=1), 1, rtol=1e-5)
    assert not weights[NEW].any()

    alike, shares = alike_neighbours(np.eye(KINDS, dtype=np.float32)[kinds()], learnt, 5)
    assert (kinds()[alike] == kinds()[:, None]).all()
    assert not np.isin(alike, NEW).any()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
