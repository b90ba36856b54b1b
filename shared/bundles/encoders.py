"""Run the only ONNX Runtime sessions of this service: pictures → features, texts → vectors.

Shapes: n pictures or texts, F = bundle.image_width, E = bundle.text_width, l tokens.
Batches are padded to a few sizes, because the memory arena keeps what its largest shape once
needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from shared.bundles.bundle import BadBundle, Bundle
from shared.bundles.cpus import usable_cpus
from shared.bundles.onnx_model import BadModel, open_model
from shared.bundles.picture import SIDE, colour_moments
from shared.faults import SystemFault

BUCKETS = (1, 2, 4, 8, 16)
_Inputs = TypeVar("_Inputs", list[str], NDArray[np.uint8])
_TOKENS_STEP = 8  # token counts are padded to multiples of this


class Encoders:
    """Both encoders of a bundle. Blocking: call it from one thread at a time (see Batcher)."""

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Start both sessions, each with `threads` (default: usable CPUs). Raises BadBundle."""
        self.bundle = bundle
        threads = threads or usable_cpus()
        self._image = _session(bundle, "image.onnx", threads)
        self._text = _session(bundle, "text.onnx", threads)
        self._tokenizer = _tokenizer(bundle)

    def encode_images(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encode (n, 224, 224, 3) uint8 RGB → (n, F) float32: CNN features, then colour moments."""
        if (
            pictures.ndim != 4
            or pictures.shape[1:] != (SIDE, SIDE, 3)
            or pictures.dtype != np.uint8
        ):
            raise ValueError(
                f"pictures must be uint8 (n, {SIDE}, {SIDE}, 3), "
                f"was {pictures.dtype} {pictures.shape}"
            )
        if not len(pictures):
            return np.empty((0, self.bundle.image_width), np.float32)
        features = _in_buckets(self._encode_pictures, pictures)
        return np.concatenate((features, colour_moments(pictures)), axis=1)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode n texts → (n, E) float32, unit length. Beyond `max_tokens` a text is cut."""
        if not texts:
            return np.empty((0, self.bundle.text_width), np.float32)
        # Equal lengths together: a title beside a long description would pay for its padding.
        order = np.argsort([len(text) for text in texts], kind="stable")
        vectors = _in_buckets(self._encode_tokens, [texts[i] for i in order])
        return vectors[np.argsort(order)]

    def _encode_pictures(self, pictures: NDArray[np.uint8], rows: int) -> NDArray[np.float32]:
        padded = np.zeros((rows, *pictures.shape[1:]), np.uint8)
        padded[: len(pictures)] = pictures
        return _run(self._image, "features", {"image": padded})

    def _encode_tokens(self, texts: list[str], rows: int) -> NDArray[np.float32]:
        tokenized = self._tokenizer.encode_batch(texts)
        longest = max(1, *(len(tokens.ids) for tokens in tokenized))
        columns = min(-(-longest // _TOKENS_STEP) * _TOKENS_STEP, self.bundle.max_tokens)
        ids = np.zeros((rows, columns), np.int64)  # (rows, l)
        mask = np.zeros((rows, columns), np.int64)
        mask[:, 0] = 1  # a padding row must not divide by zero
        for row, tokens in enumerate(tokenized):
            ids[row, : len(tokens.ids)] = tokens.ids
            mask[row, : len(tokens.ids)] = 1
        return _run(self._text, "embedding", {"input_ids": ids, "attention_mask": mask})


def _run(
    session: ort.InferenceSession, output: str, inputs: dict[str, NDArray[Any]]
) -> NDArray[np.float32]:
    """Run a model. Raises SystemFault: no picture or text of a good shape makes a model fail."""
    try:
        found: NDArray[np.float32] = session.run([output], inputs)[0]
    except Exception as error:  # ONNX Runtime raises its own classes, none of them public
        raise SystemFault(f"the model of {output} fails: {error}") from error
    return found


def _in_buckets(
    encode: Callable[[_Inputs, int], NDArray[np.float32]], inputs: _Inputs
) -> NDArray[np.float32]:
    """Cut inputs into batches of at most BUCKETS[-1] and pad each to the next bucket."""
    parts = []
    for start in range(0, len(inputs), BUCKETS[-1]):
        part = inputs[start : start + BUCKETS[-1]]
        rows = next(bucket for bucket in BUCKETS if bucket >= len(part))
        parts.append(encode(part, rows)[: len(part)])
    return np.concatenate(parts)


def _session(bundle: Bundle, name: str, threads: int) -> ort.InferenceSession:
    try:
        # The fused operator runs a fifth slower than the two that it replaces (ONNX Runtime 1.31).
        return open_model(bundle.files[name], threads, without=["SkipLayerNormFusion"])
    except BadModel as error:
        raise BadBundle(f"{name} {error}") from None


def _tokenizer(bundle: Bundle) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(bundle.files["tokenizer.json"])
    except Exception as error:  # the only class that it raises
        raise BadBundle(f"tokenizer.json cannot be loaded: {error}") from None
    tokenizer.enable_truncation(bundle.max_tokens)
    tokenizer.no_padding()
    return tokenizer
