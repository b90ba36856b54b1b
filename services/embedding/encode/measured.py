"""Encoders whose batches are measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.embedding.encode.batcher import Encodes
from shared.runtime import metrics


class MeasuredEncoders:
    """Passes batches on and notes how large they are."""

    def __init__(self, encoders: Encodes) -> None:
        self._encoders = encoders

    def encode_images(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        metrics.ENCODE_BATCH.labels("image").observe(len(pictures))
        return self._encoders.encode_images(pictures)

    def encode_texts(self, texts: list[str]) -> NDArray[np.float32]:
        metrics.ENCODE_BATCH.labels("text").observe(len(texts))
        return self._encoders.encode_texts(texts)
