"""Start a bundle, and check that it gives on this machine what it gave where it was built.

The int8 kernels of ONNX Runtime differ by CPU: without VNNI, products saturate. A bundle that comes
out quite different would fill the index with vectors that no query finds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.bundles.bundle import FUSION, GOLDEN_VECTORS, BadBundle, Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.picture import SIDE
from shared.bundles.ranker import ranker_of
from shared.bundles.towers import (
    OnnxItemTower,
    item_tower_of,
    rounded,
    session_tower_of,
)
from shared.faults import SystemFault

TEXTS = (
    "a red ceramic mug",
    "space adventure",
    "Nordic oak armchair with a wool seat. For long evenings with a book.",
)
PICTURES = 3
LEAST_COSINE = 0.9  # between machines; on one it is 1


def golden_vectors(encoders: Encoders, fusion: Fusion) -> dict[str, Any]:
    """Return what the manifest keeps: the inputs and the vectors that they give."""
    return {
        "texts": list(TEXTS),  # the pictures are drawn by golden_pictures
        "text_vectors": rounded(fusion.query_text(encoders.encode_texts(TEXTS))),
        "picture_vectors": rounded(fusion.query_image(encoders.encode_images(golden_pictures()))),
    }


def check_golden(bundle: Bundle, encoders: Encoders, fusion: Fusion) -> float:
    """Encode the golden inputs → the lowest cosine to the golden outputs. Raises BadBundle."""
    if fusion.dim != bundle.dim:
        raise BadBundle(f"bundle {bundle.space}: fusion.npz has dim {fusion.dim}, not {bundle.dim}")
    try:
        here = golden_vectors(encoders, fusion)
    except (SystemFault, ValueError) as error:  # models that do not fit together
        raise BadBundle(f"bundle {bundle.space} encodes nothing: {error}") from None
    cosines = [
        (np.array(here[name]) * bundle.golden_rows(name, bundle.dim, len(here[name]))).sum(axis=1)
        for name in GOLDEN_VECTORS
    ]
    lowest = float(np.concatenate(cosines).min())
    if not lowest >= LEAST_COSINE:
        raise BadBundle(
            f"bundle {bundle.space} gives other vectors here than where it was built: "
            f"cosine {lowest:.3f}, at least {LEAST_COSINE} is needed"
        )
    return lowest


def started(
    bundle: Bundle, threads: int | None = None
) -> tuple[Encoders, Fusion, OnnxItemTower | None]:
    """Start what encodes items, each model with `threads`. Raises BadBundle.

    All that the bundle holds is tried, what makes lists too: items that are encoded for nothing
    would be served to nobody.
    """
    encoders = Encoders(bundle, threads)
    try:
        fusion = Fusion.load(bundle.files[FUSION])
    except ValueError as error:
        raise BadBundle(f"bundle {bundle.space}: {error}") from None
    check_golden(bundle, encoders, fusion)
    session_tower_of(bundle)
    ranker_of(bundle)
    return encoders, fusion, item_tower_of(bundle)


def golden_pictures() -> NDArray[np.uint8]:
    """Return (PICTURES, 224, 224, 3): discs before gradients, in integers, the same everywhere."""
    y, x = np.mgrid[:SIDE, :SIDE]
    pictures = []
    for number in range(PICTURES):
        centre, radius = 70 + 40 * number, 80 - 20 * number
        disc = (x - centre) ** 2 + (y - 112) ** 2 < radius**2
        red = np.where(disc, 220 - 60 * number, x)
        green = np.where(disc, 40 + 70 * number, y)
        blue = np.where(disc, 30, (x + y) // 2)
        pictures.append(np.stack((red, green, blue), axis=-1))
    return np.stack(pictures).astype(np.uint8)
