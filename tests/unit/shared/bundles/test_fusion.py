from __future__ import annotations

import io

import numpy as np
import pytest

from services.cli.demo.catalogue import item
from services.cli.demo.kinds import KINDS
from services.cli.demo.styles import STYLES
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import BadVector, Fusion
from shared.bundles.golden import golden_pictures
from shared.bundles.picture import decode

VECTOR = [0.1280, -0.0430, 0.2342, 0.0481, 0.0227]  # golden picture 0 with "space adventure"


@pytest.fixture(scope="module")
def features(encoders: Encoders) -> np.ndarray:
    return encoders.encode_images(golden_pictures())


@pytest.fixture(scope="module")
def texts(encoders: Encoders) -> np.ndarray:
    return encoders.encode_texts(["space adventure", "a red ceramic mug", "an oak armchair"])


def altered(bundle_npz: bytes, **changes: np.ndarray | None) -> bytes:
    arrays = dict(np.load(io.BytesIO(bundle_npz), allow_pickle=False))
    arrays |= changes
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()


def test_a_fixed_item_gives_a_fixed_vector(
    fusion: Fusion, features: np.ndarray, texts: np.ndarray
) -> None:
    assert fusion.fuse(features[0], texts[0]).vector[:5] == pytest.approx(VECTOR, abs=0.02)


def test_every_vector_has_unit_length(
    fusion: Fusion, features: np.ndarray, texts: np.ndarray
) -> None:
    for image, text in (
        (features, None),
        (None, texts),
        (features, texts),
        (features[0], texts[0]),
    ):
        fused = fusion.fuse(image, text)
        for vectors in (fused.vector, fused.image_vector, fused.text_vector):
            if vectors is not None:
                assert vectors.dtype == np.float32
                assert vectors.shape[-1] == fusion.dim == 96
                assert np.linalg.norm(vectors, axis=-1) == pytest.approx(1, abs=1e-5)


def test_what_an_item_lacks_has_no_vector(
    fusion: Fusion, features: np.ndarray, texts: np.ndarray
) -> None:
    picture_only, text_only = fusion.fuse(features[0], None), fusion.fuse(None, texts[0])
    assert picture_only.text_vector is None
    assert text_only.image_vector is None
    assert np.array_equal(picture_only.vector, fusion.query_image(features[0]))
    assert np.array_equal(text_only.vector, fusion.query_text(texts[0]))


def test_a_picture_of_which_its_vector_is_left_is_as_near_as_the_picture(
    fusion: Fusion, features: np.ndarray, texts: np.ndarray
) -> None:
    fused = fusion.fuse(features[0], texts[0])
    assert fused.image_vector is not None
    left = fused.image_vector.astype(np.float16).astype(np.float32)  # as it is published
    again = fusion.fuse_again(left, texts[0])
    assert again.image_vector is not None
    assert again.vector @ fused.vector > 0.9999
    assert again.image_vector @ fused.image_vector > 0.9999
    assert fusion.fuse_again(left, None).vector @ fused.image_vector > 0.9999


def test_a_batch_gives_the_rows_that_single_items_give(
    fusion: Fusion, features: np.ndarray, texts: np.ndarray
) -> None:
    batch = fusion.fuse(features, texts).vector
    for row in range(3):
        assert fusion.fuse(features[row], texts[row]).vector == pytest.approx(batch[row], abs=1e-6)


def test_a_complete_item_is_near_to_its_picture_alone_and_to_its_text_alone(
    fusion: Fusion, features: np.ndarray, texts: np.ndarray
) -> None:
    both = fusion.fuse(features, texts).vector
    to_text, to_picture = both @ fusion.query_text(texts).T, both @ fusion.query_image(features).T
    assert (np.diag(to_text) > 0.5).all()
    assert (to_text.argmax(axis=1) == np.arange(3)).all()
    assert (np.diag(to_picture) > 0.5).all()


def test_words_find_pictures_of_what_they_mean(encoders: Encoders, fusion: Fusion) -> None:
    """No picture was ever seen with its words, and yet the bridge tells drawings apart by them."""
    items = [item(kind, style, 0) for kind in KINDS for style in STYLES]
    pictures = fusion.query_image(
        encoders.encode_images(np.stack([decode(one.image_bytes or b"") for one in items]))
    )
    words = fusion.query_text(encoders.encode_texts([kind.name for kind in KINDS]))
    nearest = (words @ pictures.T).argmax(axis=1) // len(STYLES)
    assert (nearest == np.arange(len(KINDS))).mean() > 0.6  # by chance 1/14


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(
    fusion: Fusion, features: np.ndarray, texts: np.ndarray, bad: float
) -> None:
    for broken in (features.copy(), texts.copy()):
        broken[1, 7] = bad
        with pytest.raises(BadVector, match="not finite"):
            fusion.fuse(*((broken, None) if broken.shape[1] > 1000 else (None, broken)))


@pytest.mark.parametrize("rows", [(), (2,)])
def test_zeros_have_no_direction(fusion: Fusion, rows: tuple[int, ...]) -> None:
    with pytest.raises(BadVector, match="all zero"):
        fusion.fuse(np.zeros((*rows, 1286), np.float32), None)
    with pytest.raises(BadVector, match="all zero"):
        fusion.fuse(None, np.zeros((*rows, 384), np.float32))


def test_what_is_left_of_a_mean_or_of_colours_alone_has_no_direction(
    fusion: Fusion, features: np.ndarray
) -> None:
    with pytest.raises(BadVector, match="too short"):
        fusion.query_image(np.concatenate((np.zeros(1280, np.float32), features[0, -6:])))
    with pytest.raises(BadVector, match="too short"):
        fusion.query_text(fusion.text_mean)


def test_other_widths_are_refused(fusion: Fusion, features: np.ndarray) -> None:
    with pytest.raises(BadVector, match=r"image features must have 1286 columns, was \(384,\)"):
        fusion.query_image(features[0, :384])
    with pytest.raises(BadVector, match=r"text embedding must have 384 columns, was \(1286,\)"):
        fusion.query_text(features[0])


def test_an_item_with_neither_is_refused(fusion: Fusion) -> None:
    with pytest.raises(BadVector, match="neither picture nor text"):
        fusion.fuse(None, None)


def test_the_very_middle_of_all_colours_is_a_colour_too(
    fusion: Fusion, features: np.ndarray
) -> None:
    grey = np.concatenate((features[0, :-6], fusion.colour_centre))
    assert fusion.query_image(grey)[-6:] == pytest.approx(np.zeros(6))


def test_a_fusion_whose_arrays_do_not_fit_is_refused(bundle_npz: bytes) -> None:
    with pytest.raises(ValueError, match="lacks image_own"):
        Fusion.load(altered(bundle_npz, image_own=None))
    for changes in (
        {"image_own": np.zeros((1281, 26), np.float32)},
        {"text_common": np.zeros((384, 63), np.float32)},
        {"text_mean": np.zeros(383, np.float32)},
        {"weights": np.ones(3, np.float32)},
        {"weights": np.array([1, 1, 1, np.nan], np.float32)},
        {"colour_scale": np.ones(5, np.float32)},
    ):
        with pytest.raises(ValueError, match="do not fit together or are not finite"):
            Fusion.load(altered(bundle_npz, **changes))


def test_pickled_arrays_are_never_unpickled(bundle_npz: bytes) -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Fusion.load(altered(bundle_npz, weights=np.array([print], dtype=object)))
