"""Predict ratings by factors that also hear which items a user rated at all."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from services.training.data.dataset import Dataset
from services.training.models.model import Positive, Size
from services.training.models.ratings.factors import Factors, FactorsConfig
from services.training.models.references.item_to_item import chosen


class SvdPlusPlusConfig(FactorsConfig, frozen=True):
    """Surprise's choices."""

    factors: Size = 20
    learning_rate: Positive = 0.007


class SvdPlusPlus(Factors):
    """Adds the sum of what the rated items say, over the root of their number."""

    name = "svdpp"
    paper = "Koren 2008: Factorization meets the neighborhood, as in Surprise, with small batches"
    config_type = SvdPlusPlusConfig

    def _implicit(self, data: Dataset) -> sparse.csr_array:
        return rated_items(data)


def rated_items(data: Dataset) -> sparse.csr_array:
    """Return 1 / √(items that the user rated) at each of them, (u, i)."""
    rated = chosen(data.events, data.n_items)
    rated.data /= np.sqrt(np.repeat(np.diff(rated.indptr), np.diff(rated.indptr)))
    return rated
