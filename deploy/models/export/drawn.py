"""Draw pictures from a seed: blurred patches of colour, ellipses and boxes, noise.

They stand in for photographs where none may be shipped: the ranges of the CNN's activations are
calibrated on them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from shared.bundles.picture import SIDE


def drawn_pictures(count: int, seed: int) -> NDArray[np.uint8]:
    """Draw pictures: (count, 224, 224, 3) uint8 RGB, the same for the same seed."""
    random = np.random.default_rng(seed)
    return np.stack([_drawn(random) for _ in range(count)])


def _drawn(random: np.random.Generator) -> NDArray[np.uint8]:
    patches = random.integers(0, 256, (*[int(random.integers(2, 9))] * 2, 3), dtype=np.uint8)
    image = Image.fromarray(patches).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    canvas = ImageDraw.Draw(image)
    for _ in range(int(random.integers(3, 25))):
        x, y, width, height = (
            int(n) for n in (*random.integers(0, SIDE, 2), *random.integers(4, SIDE, 2))
        )
        red, green, blue = (int(n) for n in random.integers(0, 256, 3))
        shape = canvas.ellipse if random.random() < 0.5 else canvas.rectangle
        shape(
            (x - width // 2, y - height // 2, x + width // 2, y + height // 2),
            fill=(red, green, blue),
        )
    image = image.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 2))))
    noise = random.normal(0, random.uniform(0, 20), (SIDE, SIDE, 3))
    return (np.asarray(image) + noise).clip(0, 255).astype(np.uint8)
