"""Contents are encoded once, and known again by what they are made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from freshet.contract.items import Item
from services.training.content.attributes import attributes_of
from services.training.content.contents import DAY_ZERO, ItemContents, content_key, contents_of
from services.training.content.features import features_of, main_directions
from services.training.content.small_inputs import UNKNOWN, small_pictures, words_of
from services.training.data.dataset import Dataset
from tests.unit.training.logs import dataset

RED = Item(item_id="0", title="Red war", categories=("War",), attributes={"year": 1990.0})
BLUE = Item(item_id="1", title="Blue love war", categories=("Love",), attributes={"year": 2000.0})


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Return three items: with text and picture, with text and a broken picture, with nothing."""
    Image.new("RGB", (40, 60), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    pictures = {"0": tmp_path / "red.png", "1": tmp_path / "broken.png"}
    return replace(dataset([[0, 1, 2]], 3), items={"0": RED, "1": BLUE}, pictures=pictures)


def test_what_an_item_has_is_encoded_once_as_the_service_does(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = contents_of(data, cache=tmp_path / "cache")

    assert contents.has_text.tolist() == [True, True, False]
    assert contents.has_picture.tolist() == [True, False, False]
    assert contents.texts.shape == (3, 384)
    assert contents.pictures.shape == (3, 1286)
    lengths = np.linalg.norm(contents.fused, axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 0], atol=1e-3)  # kept in half the bytes

    monkeypatch.setattr("services.training.content.encode.encoded", None)  # would fail if asked
    again = contents_of(data, cache=tmp_path / "cache")
    for name in ItemContents.__slots__:
        np.testing.assert_array_equal(getattr(again, name), getattr(contents, name))


def test_other_text_or_picture_is_other_content(data: Dataset, tmp_path: Path) -> None:
    before = content_key(data, DAY_ZERO)
    assert content_key(data, DAY_ZERO) == before
    assert content_key(replace(data, items={"0": RED}), DAY_ZERO) != before
    Image.new("RGB", (40, 60), "blue").save(tmp_path / "red.png")
    assert content_key(data, DAY_ZERO) != before


def test_attributes_are_flags_and_numbers_of_mean_0(data: Dataset) -> None:
    np.testing.assert_allclose(
        attributes_of(data),
        [[0, 1, -1], [1, 0, 1], [0, 0, 0]],  # Love, War, year
    )


def test_directions_are_those_of_learnt_items_alone() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 6)).astype(np.float32)
    learnt = np.arange(20) < 15
    found = main_directions(rows, learnt, 3)
    rows[15:] *= 100
    np.testing.assert_allclose(main_directions(rows, learnt, 3)[:15], found[:15])
    assert found.shape == (20, 3)
    np.testing.assert_allclose(found[:15].mean(axis=0), 0, atol=1e-5)


def test_features_need_no_pictures(data: Dataset, tmp_path: Path) -> None:
    contents = contents_of(replace(data, pictures={}), cache=tmp_path / "cache")
    features = features_of(contents, np.array([True, True, False]))
    assert len(features) == 3
    assert np.isfinite(features).all()


def test_a_network_of_its_own_sees_small_pictures_and_words(data: Dataset) -> None:
    pictures = small_pictures(data, 8)
    assert pictures.shape == (3, 8, 8, 3)
    np.testing.assert_array_equal(pictures[0, 4, 4], [255, 0, 0])
    assert not pictures[1:].any()

    table, numbers = words_of(data, np.array([True, True, False]), 4)
    assert numbers == UNKNOWN + 2  # `war` alone stands in two
    assert table.tolist() == [[1, 2, 2, 0], [1, 1, 2, 1], [0, 0, 0, 0]]
