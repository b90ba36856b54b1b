"""Another CNN of torchvision becomes a bundle that services load."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from deploy.models.export.build import build
from deploy.models.export.drawn import drawn_pictures
from services.cli.demo import catalogue
from services.training.export import cnn
from services.training.export.cnn import picture_model
from shared.bundles.bundle import Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.golden import check_golden, started
from shared.bundles.picture import MOMENTS, decode
from shared.inputs.refusals import BadInput

SMALL = "torchvision:shufflenet_v2_x0_5"


@pytest.mark.timeout(600)
def test_a_bundle_with_another_cnn_is_loaded_and_its_pictures_are_told_apart(
    tmp_path: Path,
) -> None:
    made = build(
        tmp_path / "bundle",
        lambda step, share: None,
        picture_model=lambda _: picture_model(SMALL, random_weights=True),
    )

    bundle = Bundle.load(tmp_path / "bundle")
    assert made.space == bundle.space == "shufflenet_v2_x0_5-random-1"
    assert bundle.image_width == 1024 + MOMENTS
    encoders, fusion = Encoders(bundle, threads=1), Fusion.load(bundle.files["fusion.npz"])
    assert check_golden(bundle, encoders, fusion) > 0.999
    pictures = drawn_pictures(3, seed=5)
    features = encoders.encode_images(pictures)
    alone = encoders.encode_images(pictures[1:2])
    np.testing.assert_allclose(features[1:2], alone, rtol=1e-3, atol=1e-4)
    vectors = fusion.query_image(features)
    assert (vectors @ vectors.T)[~np.eye(3, dtype=bool)].max() < 0.999

    tried, _, tower = started(bundle, threads=1)  # as embedding starts, and publish tries it
    assert tower is None
    some = list(islice(catalogue.items(now_ms=0), 0, None, catalogue.COUNT // 9))
    seen = tried.encode_images(np.stack([decode(item.image_bytes or b"") for item in some]))
    fused = fusion.fuse(seen, tried.encode_texts([item.title for item in some])).vector
    assert fused.shape == (len(some), made.dim)
    assert np.linalg.norm(fused, axis=1) == pytest.approx(np.ones(len(some)), abs=1e-5)


def test_weights_of_a_seed_are_the_same_and_fetched_only_where_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, again = (picture_model(SMALL, random_weights=True) for _ in range(2))
    np.testing.assert_array_equal(first.classifier, again.classifier)

    def unreachable(name: str, weights: str | None) -> None:
        raise OSError(f"no way to {weights}")

    monkeypatch.setattr("torchvision.models.get_model", unreachable)
    with pytest.raises(BadInput, match="weights cannot be had: no way to DEFAULT"):
        picture_model(SMALL)


@pytest.mark.parametrize("named", ["resnet50", "torchvision:none", "timm:resnet50"])
def test_a_model_that_torchvision_has_not_is_refused(named: str) -> None:
    with pytest.raises(BadInput, match=f"must be torchvision:NAME.*was {named}"):
        picture_model(named, random_weights=True)


def test_a_cnn_without_a_linear_classifier_is_refused() -> None:
    with pytest.raises(BadInput, match="must end with a linear classifier of 1000 classes"):
        picture_model("torchvision:squeezenet1_1", random_weights=True)


def test_onnx_that_says_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "FARTHEST", -1.0)
    with pytest.raises(BadInput, match="from PyTorch's"):
        picture_model(SMALL, random_weights=True)
