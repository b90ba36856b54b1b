"""An ImageNet CNN tells the drawn kinds and styles apart: the demo rests on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.cli.demo import catalogue
from services.cli.demo.kinds import KINDS
from services.cli.demo.styles import STYLES
from shared.bundles import picture
from shared.bundles.bundle import Bundle
from shared.bundles.encoders import Encoders

DAY_ZERO = Path("deploy/models/day-zero")
EACH = 3


def test_nearest_pictures_share_kind_and_mostly_style() -> None:
    """Three of each kind and style: the nearest by cosine, where chance is 0.07 and 0.2."""
    items = [
        catalogue.item(kind, style, n) for kind in KINDS for style in STYLES for n in range(EACH)
    ]
    decoded = np.stack([picture.decode(item.image_bytes or b"") for item in items])
    features = Encoders(Bundle.load(DAY_ZERO)).encode_images(decoded)  # (n, 1280)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    alike = features @ features.T
    np.fill_diagonal(alike, -1.0)
    nearest = alike.argmax(axis=1)

    kinds = np.array([item.categories[1] for item in items])
    styles = np.array([item.categories[2] for item in items])
    assert np.mean(kinds[nearest] == kinds) > 0.95
    assert np.mean(styles[nearest] == styles) > 0.6
