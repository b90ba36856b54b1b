"""Model bundles for tests: day zero's models in a space of another name and other axes."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.bundles.bundle import describe
from tests.servers import ROOT

DAY_ZERO: Final = ROOT / "deploy" / "models" / "day-zero"
EVALUATION: Final = {
    "data": "drawn",
    "split": "leave-last-out",
    "seed": 0,
    "hr@10": 0.3,
    "ndcg@10": 0.18,
    "day_zero": {"hr@10": 0.27, "ndcg@10": 0.16},
}


def make_bundle(
    folder: Path, space: str, *, seed: int = 0, evaluation: Mapping[str, Any] = EVALUATION
) -> Path:
    """Write a bundle whose common columns are turned by a rotation that the seed draws.

    Within it all is as like as in day zero's space; to vectors of day zero nothing is.
    """
    shutil.copytree(DAY_ZERO, folder)
    with np.load(folder / "fusion.npz") as file:
        arrays = dict(file)
    common = arrays["text_common"].shape[1]
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(common, common)))
    for name in ("text_common", "image_common"):
        arrays[name] = (arrays[name] @ rotation).astype(arrays[name].dtype)
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    (folder / "fusion.npz").write_bytes(packed.getvalue())
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name in ("text_vectors", "picture_vectors"):
        vectors = np.array(manifest["golden"][name])
        vectors[:, :common] = vectors[:, :common] @ rotation
        manifest["golden"][name] = vectors.round(5).tolist()
    manifest["files"]["fusion.npz"] = describe(packed.getvalue())
    manifest |= {"space": space, "evaluation": dict(evaluation)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
