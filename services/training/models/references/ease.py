"""Predict what a user chose from all else that the user chose, by a linear map in closed form."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import Amount, Config
from services.training.models.references.item_to_item import (
    ItemToItem,
    Table,
    chosen,
    ranks_from_newest,
    recency,
)


class EaseConfig(Config, frozen=True):
    """The ridge, as the paper has it for such data, and what counts as input; not tuned."""

    ridge: Amount = 500.0  # added to the diagonal of X'X
    recency: Amount = 0.0  # an item of the history weighs 1 / (items after it + 1)^power


class Ease(ItemToItem):
    """Solves for the item weights, none of an item to itself."""

    name = "ease"
    paper = "Steck 2019 (arXiv 1905.03375)"
    config_type = EaseConfig

    def table(self, data: Dataset) -> Table:
        """See ItemToItem.table."""
        users = chosen(data.events, data.n_items)
        together = (users.T @ users).toarray().astype(np.float64)
        together[np.diag_indices(len(together))] += self.config.ridge
        factor = linalg.cho_factor(together, overwrite_a=True, check_finite=False)
        inverse = linalg.cho_solve(factor, np.eye(len(together)), overwrite_b=True)
        weights: Floats = (inverse / -np.diag(inverse)).astype(np.float32)
        np.fill_diagonal(weights, 0)
        return weights

    def weights(self, histories: Histories) -> Floats:
        """See ItemToItem.weights."""
        return recency(ranks_from_newest(histories), self.config.recency)


class EaseRecencyConfig(EaseConfig, frozen=True):
    """The same, the newest first."""

    recency: Amount = 1.0


class EaseRecency(Ease):
    """Is fitted without order, and asked with the newest items first."""

    name = "ease-recency"
    paper = "Steck 2019 (arXiv 1905.03375); the input weighted by recency is not in it"
    config_type = EaseRecencyConfig
