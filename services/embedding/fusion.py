"""CNN features and text vectors → unit vectors of the one serving space. Pure.

Shapes: n items, F image features, E text dimensions, c common and o own columns, d = c + o.

    picture → [ a · common(picture) | b · own(picture) ]
    text    → [     common(text)    |        0         ]
    both    → the sum, weighted

The common columns are the text model's space, cut to c dimensions; pictures get there over a bridge
that was learnt from the classifier (export/fuse.py). The own columns hold looks that no words say.
Each is then brought to unit length, so what one modality lacks costs length, not meaning: a
text-only item is found by a complete one and by a picture alike.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  # (n, d), or (d,) for one

_ARRAYS = ("image_mean", "image_common", "image_own", "text_mean", "text_common", "weights")
_SHORTEST = 1e-6  # under this length a vector has no direction to speak of


class BadVector(ValueError):
    """Features without a direction: not finite, near zero, of the wrong width, or none at all."""


@dataclass(frozen=True, slots=True)
class FusedVectors:
    """Unit vectors of an item, float32 (d,), or (n, d) for a batch."""

    vector: Vectors
    image_vector: Vectors | None
    text_vector: Vectors | None


@dataclass(frozen=True, slots=True)
class Fusion:
    """The day-zero fusion: one matrix a modality, and three weights."""

    image_mean: Vectors  # (F,)
    image_common: Vectors  # (F, c)
    image_own: Vectors  # (F, o)
    text_mean: Vectors  # (E,)
    text_common: Vectors  # (E, c)
    weights: Vectors  # (3,): common part of a picture, its own part, common part of a text

    @classmethod
    def load(cls, npz: bytes) -> Self:
        """Read a verified fusion.npz. Raises ValueError when its arrays do not fit together."""
        with np.load(io.BytesIO(npz), allow_pickle=False) as file:
            missing = [name for name in _ARRAYS if name not in file]
            if missing:
                raise ValueError(f"fusion.npz lacks {', '.join(missing)}")
            fusion = cls(**{name: file[name].astype(np.float32) for name in _ARRAYS})
        fusion._check()
        return fusion

    @property
    def dim(self) -> int:
        """d, the width of the serving vectors."""
        return int(self.image_common.shape[1] + self.image_own.shape[1])

    def fuse(self, image_features: Vectors | None, text_embedding: Vectors | None) -> FusedVectors:
        """Map what an item has, (F,) and/or (E,), or batches (n, F) and/or (n, E), to the serving
        space.

        Raises BadVector when there is neither, or one has no direction.
        """
        image = None if image_features is None else self._image(image_features)
        text = None if text_embedding is None else self._text(text_embedding)
        if image is None and text is None:
            raise BadVector("neither picture nor text")
        both = image if text is None else text if image is None else image + text
        assert both is not None
        return FusedVectors(
            vector=_unit(both),
            image_vector=None if image is None else _unit(image),
            text_vector=None if text is None else _unit(text),
        )

    def query_image(self, image_features: Vectors) -> Vectors:
        """Map a picture to search with: (F,) → (d,). Raises BadVector."""
        return _unit(self._image(image_features))

    def query_text(self, text_embedding: Vectors) -> Vectors:
        """Map a text to search with: (E,) → (d,). Raises BadVector."""
        return _unit(self._text(text_embedding))

    def _image(self, features: Vectors) -> Vectors:
        """(…, F) → (…, d), as long as the weights say."""
        centred = _checked(features, self.image_mean, "image features")
        common, own, _ = self.weights
        parts = (common * _unit(centred @ self.image_common), own * _unit(centred @ self.image_own))
        return np.concatenate(parts, axis=-1)

    def _text(self, embedding: Vectors) -> Vectors:
        """(…, E) → (…, d), as long as its weight says."""
        centred = _checked(embedding, self.text_mean, "text embedding")
        common = self.weights[2] * _unit(centred @ self.text_common)
        nothing = np.zeros((*common.shape[:-1], self.image_own.shape[1]), np.float32)
        return np.concatenate((common, nothing), axis=-1)

    def _check(self) -> None:
        features, common = self.image_common.shape
        fits = (
            self.image_mean.shape == (features,)
            and self.image_own.shape[0] == features
            and self.text_common.shape == (len(self.text_mean), common)
            and self.weights.shape == (3,)
        )
        if not fits or not all(np.isfinite(getattr(self, name)).all() for name in _ARRAYS):
            raise ValueError("fusion.npz: the arrays do not fit together or are not finite")


def _checked(features: Vectors, mean: Vectors, name: str) -> Vectors:
    """Return the features less their mean."""
    features = np.asarray(features, np.float32)
    if features.shape[-1:] != mean.shape:
        raise BadVector(f"{name} must have {len(mean)} columns, was {features.shape}")
    if not np.isfinite(features).all():
        raise BadVector(f"{name} are not finite")
    if (np.abs(features).max(axis=-1, initial=0) < _SHORTEST).any():
        raise BadVector(f"{name} are all zero")
    return features - mean


def _unit(vectors: Vectors) -> Vectors:
    """Scale rows to unit length. Raises BadVector for one without direction."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (lengths > _SHORTEST).all():
        raise BadVector("a vector is too short to have a direction")
    unit: Vectors = (vectors / lengths).astype(np.float32)
    return unit
