"""Recommend what is chosen by the same people as one's items: cosine of items over users."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from services.training.data.dataset import Dataset
from services.training.models.model import Amount, Config, Size
from services.training.models.references.item_to_item import ItemToItem, Table, chosen


class ItemKnnConfig(Config, frozen=True):
    """How many neighbours speak."""

    neighbours: Size = 200  # kept of each item
    shrinkage: Amount = 0.0  # added to the norms, so that few users in common say less


class ItemKnn(ItemToItem):
    """Keeps each item's nearest by cosine."""

    name = "item-knn"
    paper = "Sarwar 2001"
    config_type = ItemKnnConfig

    def table(self, data: Dataset) -> Table:
        """See ItemToItem.table."""
        users = chosen(data.events, data.n_items)
        norms = np.sqrt(users.sum(axis=0))
        together = sparse.csr_array(users.T @ users)
        rows = np.repeat(np.arange(data.n_items), np.diff(together.indptr))
        together.data /= norms[rows] * norms[together.indices] + self.config.shrinkage
        together.setdiag(0)
        return nearest(together, self.config.neighbours)


def nearest(table: sparse.csr_array, at_most: int) -> sparse.csr_array:
    """Keep each row's largest values; of equals, those of the lower column."""
    rows = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
    order = np.lexsort((table.indices, -table.data, rows))
    rank = np.arange(len(order)) - table.indptr[rows[order]]
    kept = order[rank < at_most]
    return sparse.csr_array((table.data[kept], (rows[kept], table.indices[kept])), table.shape)
