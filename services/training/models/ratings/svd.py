"""Predict ratings by biases and factors of users and items."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from services.training.data.dataset import Dataset
from services.training.models.ratings.factors import Factors, FactorsConfig


class SvdConfig(FactorsConfig, frozen=True):
    """Surprise's choices."""


class Svd(Factors):
    """Reads nothing but who gave which rating."""

    name = "svd"
    paper = "Funk 2006; Koren, Bell & Volinsky 2009, as in Surprise, with small batches"
    config_type = SvdConfig

    def _implicit(self, data: Dataset) -> sparse.csr_array:
        return sparse.csr_array((data.n_users, data.n_items), dtype=np.float32)
