"""Map CNN features and text vectors to unit vectors of the one serving space. Pure.

Shapes: n items, F image features (the CNN's and M colour moments), E text dimensions, k common and
o own columns, d = k + o + M. Weights: a, b, c of a picture's parts, t of a text's.

    picture → [ a · common(picture) | b · own(picture) | c · colour(picture) ]
    text    → [ t · common(text)    |        0         |          0          ]
    both    → the sum

The common columns are the text model's space, cut to k dimensions; pictures get there over a bridge
that was learnt from the classifier (deploy/models/export/fuse.py). The own columns hold looks that
no words say. Each is then brought to unit length, so what one modality lacks costs length, not
meaning: a text-only item is found by a complete one and by a picture alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shared.bundles.bundle import FUSION, arrays_in

Floats = NDArray[np.float32]

_ARRAYS = {  # by name, how many axes it has
    "image_common": 2,
    "image_own": 2,
    "colour_centre": 1,
    "colour_scale": 1,
    "text_mean": 1,
    "text_common": 2,
    "weights": 1,
}
_FARTHEST_COLOUR = 3.0  # in units of colour_scale; a black square is no more of a colour than that
_SHORTEST = 1e-6  # under this length a vector has no direction to speak of


class BadVector(ValueError):
    """Features without a direction: not finite, near zero, of the wrong width, or none at all."""


@dataclass(frozen=True, slots=True)
class FusedVectors:
    """Unit vectors of an item, float32 (d,), or (n, d) for a batch."""

    vector: Floats
    image_vector: Floats | None
    text_vector: Floats | None


@dataclass(frozen=True, slots=True)
class Fusion:
    """The day-zero fusion: one matrix a modality, and four weights."""

    image_common: Floats  # (F - M, k)
    image_own: Floats  # (F - M, o)
    colour_centre: Floats  # (M,)
    colour_scale: Floats  # (M,)
    text_mean: Floats  # (E,)
    text_common: Floats  # (E, k)
    weights: Floats  # (4,): a, b, c, t

    @classmethod
    def load(cls, npz: bytes) -> Self:
        """Read a verified fusion.npz. Raises ValueError when its arrays do not fit together."""
        try:
            arrays = arrays_in(npz, _ARRAYS)
            fusion = cls(**{name: array.astype(np.float32) for name, array in arrays.items()})
            fusion._check()
        except ValueError as error:
            raise ValueError(f"{FUSION} {error}") from None
        return fusion

    @property
    def dim(self) -> int:
        """Return d, the width of the serving vectors."""
        return self._common + self._own

    def fuse(self, image_features: Floats | None, text_embedding: Floats | None) -> FusedVectors:
        """Map what an item has, (F,) and/or (E,), or batches (n, F) and/or (n, E), to the serving
        space.

        Raises BadVector when there is neither, or one has no direction.
        """
        return self._fused(
            None if image_features is None else self._image(image_features), text_embedding
        )

    def fuse_again(self, image_vector: Floats, text_embedding: Floats | None) -> FusedVectors:
        """Map an item of whose picture only its vector (d,) is left, and what text it has now.

        Raises BadVector.
        """
        # As long as almost all pictures' parts are: see `_image`.
        length = np.linalg.norm(self.weights[:3])
        return self._fused(length * _unit(image_vector), text_embedding)

    def _fused(self, image: Floats | None, text_embedding: Floats | None) -> FusedVectors:
        """Join a picture's part, (d,) or (n, d) and as long as it weighs, with a text."""
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

    def query_image(self, image_features: Floats) -> Floats:
        """Map a picture to search with: (F,) → (d,). Raises BadVector."""
        return _unit(self._image(image_features))

    def query_text(self, text_embedding: Floats) -> Floats:
        """Map a text to search with: (E,) → (d,). Raises BadVector."""
        return _unit(self._text(text_embedding))

    @property
    def _common(self) -> int:
        return int(self.image_common.shape[1])

    @property
    def _own(self) -> int:
        return int(self.image_own.shape[1]) + len(self.colour_centre)

    def _image(self, features: Floats) -> Floats:
        """Map (…, F) → (…, d), as long as the weights say."""
        features = _checked(
            features, len(self.image_common) + len(self.colour_centre), "image features"
        )
        seen, moments = np.split(features, [len(self.image_common)], axis=-1)
        colour = (moments - self.colour_centre) / self.colour_scale
        colour = colour.clip(-_FARTHEST_COLOUR, _FARTHEST_COLOUR)
        common, own, colours, _ = self.weights
        parts = (
            common * _unit(seen @ self.image_common),
            own * _unit(seen @ self.image_own),
            # The very middle of all colours has no direction, and needs none.
            colours * colour / np.maximum(np.linalg.norm(colour, axis=-1, keepdims=True), 0.1),
        )
        return np.concatenate(parts, axis=-1)

    def _text(self, embedding: Floats) -> Floats:
        """Map (…, E) → (…, d), as long as its weight says."""
        embedding = _checked(embedding, len(self.text_mean), "text embedding")
        common = self.weights[3] * _unit((embedding - self.text_mean) @ self.text_common)
        nothing = np.zeros((*common.shape[:-1], self._own), np.float32)
        return np.concatenate((common, nothing), axis=-1)

    def _check(self) -> None:
        fits = (
            all(getattr(self, name).ndim == axes for name, axes in _ARRAYS.items())
            and self.image_own.shape[0] == self.image_common.shape[0]
            and self.text_common.shape == (len(self.text_mean), self._common)
            and self.colour_scale.shape == self.colour_centre.shape
            and self.weights.shape == (4,)
        )
        if not fits or not all(np.isfinite(getattr(self, name)).all() for name in _ARRAYS):
            raise ValueError("has arrays that do not fit together or are not finite")


def _checked(features: Floats, columns: int, name: str) -> Floats:
    features = np.asarray(features, np.float32)
    if features.shape[-1:] != (columns,):
        raise BadVector(f"{name} must have {columns} columns, was {features.shape}")
    if not np.isfinite(features).all():
        raise BadVector(f"{name} are not finite")
    if (np.abs(features).max(axis=-1, initial=0) < _SHORTEST).any():
        raise BadVector(f"{name} are all zero")
    return features


def _unit(vectors: NDArray[Any]) -> Floats:
    """Scale rows to unit length. Raises BadVector for one without direction."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if not (lengths > _SHORTEST).all():
        raise BadVector("a vector is too short to have a direction")
    unit: Floats = (vectors / lengths).astype(np.float32)
    return unit
