"""Recommend what looks or reads like what was chosen last, with nothing learnt from events.

Legend: u users; n items; d columns of a content vector.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from services.training.content.contents import ItemContents, contents_of
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import Config, Model, Run, Size, Tensors


class CosineConfig(Config, frozen=True):
    """How much of a history counts."""

    newest: Size = 5  # events; fewer and more did worse on ML-1M's validation split of new items


class ContentCosine(Model):
    """Scores items by the cosine to the mean of a user's newest."""

    config_type = CosineConfig

    @abstractmethod
    def _vectors_of(self, contents: ItemContents) -> Floats:
        """Return (n, d) rows, of any length."""

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        self._vectors = unit(self._vectors_of(contents_of(data)))

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        none = len(self._vectors)
        table = np.vstack([self._vectors, np.zeros_like(self._vectors[:1])])
        newest = table[histories.padded(self.config.newest, none)]  # (u, newest, d)
        scores: Floats = unit(newest.sum(axis=1)) @ self._vectors.T
        return scores

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        return {"vectors": self._vectors}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        self._vectors = tensors["vectors"]


class VisualCosine(ContentCosine):
    """By the CNN's features of their pictures."""

    name = "visual"
    paper = "Jing 2015 (Pinterest, arXiv 1505.07647): CNN features, nearest by cosine"

    def _vectors_of(self, contents: ItemContents) -> Floats:
        return contents.pictures


class TextCosine(ContentCosine):
    """By a sentence encoder's vectors of title, categories and description."""

    name = "text"
    paper = "Reimers 2019 (arXiv 1908.10084), all-MiniLM-L6-v2"

    def _vectors_of(self, contents: ItemContents) -> Floats:
        return contents.texts


class FusedCosine(ContentCosine):
    """By the day-zero bundle's serving space: what is served before anything is trained."""

    name = "content"
    paper = "text and picture in one space (shared/bundles/fusion.py)"

    def _vectors_of(self, contents: ItemContents) -> Floats:
        return contents.fused


def unit(rows: Floats) -> Floats:
    """Scale rows to unit length; zeros stay."""
    scaled: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return scaled
