"""Encode a dataset's items by a bundle, as the embedding service encodes what arrives."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats
from shared.bundles.bundle import Bundle
from shared.bundles.content import text_of
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.picture import BadPicture, decode

log = logging.getLogger(__name__)

_AT_ONCE: Final = 64  # pictures that stand decoded in memory: 150 kB each


def encoded(
    data: Dataset, bundle_folder: Path
) -> tuple[Floats, Floats, Floats, np.ndarray, np.ndarray]:
    """Return (n, E) texts, (n, F) pictures, (n, d) fused, and (n,) which have either.

    A picture that cannot be decoded counts as none, as in the service. Raises BadBundle.
    """
    bundle = Bundle.load(bundle_folder)
    encoders, fusion = Encoders(bundle), Fusion.load(bundle.files["fusion.npz"])
    said = [
        "" if (item := data.items.get(item_id)) is None else text_of(item)
        for item_id in data.item_ids
    ]
    has_text = np.array([bool(text) for text in said], bool)
    texts = np.zeros((data.n_items, bundle.text_width), np.float32)
    texts[has_text] = encoders.encode_texts([text for text in said if text])
    pictures = _pictures(data, encoders)
    has_picture = np.asarray(pictures.any(axis=1))
    return texts, pictures, _fused(fusion, texts, pictures), has_text, has_picture


def _pictures(data: Dataset, encoders: Encoders) -> Floats:
    features = np.zeros((data.n_items, encoders.bundle.image_width), np.float32)
    numbers = [row for row, item_id in enumerate(data.item_ids) if item_id in data.pictures]
    for start in range(0, len(numbers), _AT_ONCE):
        rows, decoded = [], []
        for row in numbers[start : start + _AT_ONCE]:
            path = data.pictures[data.item_ids[row]]
            try:
                decoded.append(decode(path.read_bytes()))
                rows.append(row)
            except BadPicture as error:
                log.warning("%s: %s", path, error)
        if rows:
            features[rows] = encoders.encode_images(np.stack(decoded))
    return features


def _fused(fusion: Fusion, texts: Floats, pictures: Floats) -> Floats:
    """Fuse what each item has; the zero vector where it has nothing."""
    vectors = np.zeros((len(texts), fusion.dim), np.float32)
    has_text, has_picture = texts.any(axis=1), pictures.any(axis=1)
    for rows, seen, said in (
        (has_text & has_picture, pictures, texts),
        (has_text & ~has_picture, None, texts),
        (~has_text & has_picture, pictures, None),
    ):
        if rows.any():
            vectors[rows] = fusion.fuse(
                None if seen is None else seen[rows], None if said is None else said[rows]
            ).vector
    return vectors
