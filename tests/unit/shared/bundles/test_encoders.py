from __future__ import annotations

import numpy as np
import pytest

from shared.bundles.encoders import BUCKETS, Encoders
from shared.bundles.golden import golden_pictures
from shared.faults import SystemFault

# First values of features and vectors. The tolerance leaves room for other CPUs' int8 kernels.
PICTURE_FEATURES = [0.0, 0.1905, 2.498, 0.0, 0.0, 0.0]
PICTURE_COLOURS = [0.6594, 0.3208, 0.3366, 0.2588, 0.2681, 0.2345]
TEXT_VECTOR = [-0.0022, 0.0314, 0.0436, 0.0344, -0.1026, 0.0024]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / lengths)


def test_a_fixed_picture_gives_fixed_features(encoders: Encoders) -> None:
    features = encoders.encode_images(golden_pictures()[:1])
    assert features.shape == (1, 1286)
    assert features.dtype == np.float32
    assert features[0, :6] == pytest.approx(PICTURE_FEATURES, abs=0.3)
    assert features[0, -6:] == pytest.approx(PICTURE_COLOURS, abs=1e-3)


def test_a_fixed_text_gives_a_fixed_vector(encoders: Encoders) -> None:
    vectors = encoders.encode_texts(["space adventure"])
    assert vectors.shape == (1, 384)
    assert vectors.dtype == np.float32
    assert vectors[0, :6] == pytest.approx(TEXT_VECTOR, abs=0.01)
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)


def test_texts_of_like_meaning_are_near(encoders: Encoders) -> None:
    cup, mug, bicycle = encoders.encode_texts(["a cup for tea", "mug", "a bicycle for two"])
    assert cup @ mug > 0.5 > cup @ bicycle


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 16, 17, 33])
def test_a_picture_has_the_same_features_in_every_batch(encoders: Encoders, count: int) -> None:
    pictures = np.concatenate([golden_pictures()] * 11)[:count]
    alone = np.concatenate([encoders.encode_images(picture[None]) for picture in golden_pictures()])
    features = encoders.encode_images(pictures)
    assert len(features) == count
    assert features == pytest.approx(alone[np.arange(count) % 3], abs=1e-4)


def test_a_text_has_the_same_vector_in_every_batch(encoders: Encoders) -> None:
    texts = ["mug", "a much longer text about a red armchair " * 4, "lamp", "", "ünïcödé 🛋️"] * 4
    alone = np.concatenate([encoders.encode_texts([text]) for text in texts[:5]])
    assert encoders.encode_texts(texts) == pytest.approx(np.concatenate([alone] * 4), abs=1e-5)


def test_results_stand_in_the_order_of_the_texts(encoders: Encoders) -> None:
    texts = [f"{'very ' * (7 * number % 19)}number {number}" for number in range(40)]
    together = encoders.encode_texts(texts)
    assert (
        cosines(together, np.concatenate([encoders.encode_texts([t]) for t in texts])).min() > 0.999
    )


def test_long_texts_are_cut_and_odd_ones_encoded(encoders: Encoders) -> None:
    start = "a blue vase " * 300
    vectors = encoders.encode_texts([start, start + "and then a crocodile", "\0", " ", "🦤" * 5000])
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-6)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)


def test_no_inputs_give_no_rows(encoders: Encoders) -> None:
    assert encoders.encode_images(np.empty((0, 224, 224, 3), np.uint8)).shape == (0, 1286)
    assert encoders.encode_texts([]).shape == (0, 384)


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((1, 224, 224, 3), np.float32),
        np.zeros((224, 224, 3), np.uint8),
        np.zeros((1, 9, 9, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused_with_what_would_be_right(
    encoders: Encoders, pictures: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 \(n, 224, 224, 3\), was"):
        encoders.encode_images(pictures)


def test_a_model_that_fails_is_no_picture_s_or_text_s_fault(
    encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def run(self, *_: object) -> list[np.ndarray]:
            raise RuntimeError("a tensor cannot be allocated")

    monkeypatch.setattr(encoders, "_image", Failing())
    monkeypatch.setattr(encoders, "_text", Failing())
    with pytest.raises(SystemFault, match="the model of features fails: a tensor cannot be"):
        encoders.encode_images(np.zeros((1, 224, 224, 3), np.uint8))
    with pytest.raises(SystemFault, match="the model of embedding fails: a tensor cannot be"):
        encoders.encode_texts(["lamp"])


def test_only_the_batch_sizes_of_the_buckets_reach_the_model(
    encoders: Encoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    class Recording:
        def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            sizes.append(len(inputs["image"]))
            return [np.zeros((len(inputs["image"]), 1280), np.float32)]

    monkeypatch.setattr(encoders, "_image", Recording())
    for count in range(1, 40):
        assert len(encoders.encode_images(np.zeros((count, 224, 224, 3), np.uint8))) == count
    assert set(sizes) == set(BUCKETS)
