"""Predict the next item by a linear map of the history, fitted in closed form.

A ridge regression from recency-weighted histories x_t to the item that came next. All it needs are
pairs of events and how far apart they are: X'Y are directed co-visits with the input's own weights,
and X'X, what occurs together in histories, is what co-visits are cleared of.

Legend: i items of the catalogue; e events.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import linalg, sparse

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import Amount, Config, Size
from services.training.models.references.covisits import followers
from services.training.models.references.item_to_item import (
    ItemToItem,
    Table,
    ranks_from_newest,
    recency,
)

EPSILON: Final = 1e-6  # keeps items that were never met from making X'X singular


class LinearNextConfig(Config, frozen=True):
    """The input's weights, and the ridge that is best on ML-1M's validation split."""

    recency: Amount = 1.0  # an item of the history weighs 1 / (items after it + 1)^power
    read: Size = 50  # last items of the history that are read
    ridge: Amount = 30.0  # times the square root of the diagonal of X'X, which it is added to


def inputs_together(histories: Histories, n_items: int, weights: Floats) -> sparse.csr_array:
    """Return X'X, (i, i), of the histories before each event but a user's first.

    weights: (l,) of the newest input item, the one before it and so on; older ones count nothing.
    """
    rows, items = histories.rows(), histories.items
    after = ranks_from_newest(histories)  # of an event: how often it is input, at growing rank
    total = sparse.csr_array((n_items, n_items), dtype=np.float32)
    for lag in range(len(weights)):
        # Two events, lag apart, meet in the input as often as events come after the later one.
        met = np.cumsum(np.append(0, weights[: len(weights) - lag] * weights[lag:]))
        early, late = slice(None, len(items) - lag), slice(lag, None)
        same = (rows[early] == rows[late]) & (after[late] > 0)
        weight = met[np.minimum(after[late][same], len(met) - 1)].astype(np.float32)
        pairs = (items[early][same], items[late][same])
        matrix = sparse.csr_array((weight, pairs), shape=total.shape)
        total = total + matrix if lag == 0 else total + matrix + matrix.T
    return sparse.csr_array(total)


class LinearNext(ItemToItem):
    """Solves (X'X + R) B = X'Y."""

    name = "linear-next"
    paper = "ridge from history to next item; like SLIST, Choi 2021 (arXiv 2103.16104)"
    config_type = LinearNextConfig

    def table(self, data: Dataset) -> Table:
        """See ItemToItem.table."""
        of_rank = recency(np.arange(self.config.read), self.config.recency)
        together = inputs_together(data.events, data.n_items, of_rank).toarray().astype(np.float64)
        following = followers(data.events, data.n_items, of_rank).toarray().astype(np.float64)
        often = together.diagonal()
        together[np.diag_indices(len(together))] += self.config.ridge * np.sqrt(often) + EPSILON
        solved = linalg.solve(together, following, assume_a="pos", overwrite_a=True)
        table: Floats = solved.astype(np.float32)
        return table

    def weights(self, histories: Histories) -> Floats:
        """See ItemToItem.weights."""
        ranks = ranks_from_newest(histories)
        read = ranks < self.config.read
        return np.where(read, recency(ranks, self.config.recency), np.float32(0))
