"""Recommend what others chose soon after one's last items, as the stream counts it.

Legend: i items of the catalogue; e events.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import Amount, Config, Size
from services.training.models.references.item_to_item import (
    ItemToItem,
    Table,
    ranks_from_newest,
    recency,
)


def followers(histories: Histories, n_items: int, of_lag: Floats) -> sparse.csr_array:
    """Count which item came after which, (i, i): a pair weighs of_lag[events between them]."""
    rows, items = histories.rows(), histories.items
    total = sparse.csr_array((n_items, n_items), dtype=np.float32)
    for lag, weight in enumerate(of_lag, start=1):
        same = rows[:-lag] == rows[lag:]
        pairs = (items[:-lag][same], items[lag:][same])
        counts = np.full(len(pairs[0]), weight, np.float32)
        total += sparse.csr_array((counts, pairs), shape=total.shape)
    return total


class CovisitsConfig(Config, frozen=True):
    """How far co-visits reach, and how they are read: of six, the best on ML-1M's validation."""

    reach: Size = 8  # events from an item to the last that counts as following it
    lag_power: Amount = 1.0  # a pair weighs 1 / lag^power
    prior: Amount = 20.0  # pairs that an item's own must outweigh, so that rare ones say little
    recency: Amount = 1.0  # an item of the history weighs 1 / (items after it + 1)^power
    read: Size = 10  # last items of the history that are read


class Covisits(ItemToItem):
    """Counts directed pairs within a reach, as shares of all that followed an item."""

    name = "covisits"
    paper = "directed co-occurrence; Linden 2003, with order"
    config_type = CovisitsConfig

    def table(self, data: Dataset) -> Table:
        """See ItemToItem.table."""
        config = self.config
        of_lag = recency(np.arange(config.reach), config.lag_power)
        counts = followers(data.events, data.n_items, of_lag)
        counts.setdiag(0)
        counts.eliminate_zeros()
        scale = (1 / (counts.sum(axis=1) + config.prior)).astype(np.float32)
        return sparse.csr_array(counts * scale[:, None])

    def weights(self, histories: Histories) -> Floats:
        """See ItemToItem.weights."""
        ranks = ranks_from_newest(histories)
        read = ranks < self.config.read
        return np.where(read, recency(ranks, self.config.recency), np.float32(0))
