"""Score by a table of items: what each of the history speaks for, weighted by how recent it is.

Legend: u users; i items of the catalogue; e events.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeAlias

import numpy as np
from scipy import sparse

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints
from services.training.models.model import Model, Run, Tensors

Table: TypeAlias = "Floats | sparse.csr_array"  # (i, i)


def ranks_from_newest(histories: Histories) -> Ints:
    """Return how many events of its user came after each event, (e,)."""
    ends = np.repeat(histories.starts[1:], histories.lengths)
    ranks: Ints = ends - 1 - np.arange(len(histories.items))
    return ranks


def recency(ranks: Ints, power: float) -> Floats:
    """Return 1 / (rank + 1)^power of each rank; a power of 0 forgets the order."""
    weights: Floats = (1 / (ranks + 1.0) ** power).astype(np.float32)
    return weights


def by_item(histories: Histories, n_items: int, weights: Floats) -> sparse.csr_array:
    """Return weights (e,) as a matrix (u, i); those of an item met again add up."""
    parts = (weights, histories.items, histories.starts)
    # A copy, as summing sorts in place, and the order is what other models learn from.
    matrix = sparse.csr_array(parts, shape=(len(histories), n_items), copy=True)
    matrix.sum_duplicates()
    return matrix


def chosen(histories: Histories, n_items: int) -> sparse.csr_array:
    """Return 1 where a user chose an item, (u, i), however often."""
    matrix = by_item(histories, n_items, np.ones(len(histories.items), np.float32))
    matrix.data[:] = 1
    return matrix


class ItemToItem(Model):
    """Sums rows of a table, each by the recency of its item in the history."""

    _table: Table

    @abstractmethod
    def table(self, data: Dataset) -> Table:
        """Learn what each item (row) says of each other (column), (i, i)."""

    def weights(self, histories: Histories) -> Floats:
        """Return what each event counts as input, (e,)."""
        return np.ones(len(histories.items), np.float32)

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        self._table = self.table(data)

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        scores = by_item(histories, self._table.shape[0], self.weights(histories)) @ self._table
        dense: Floats = scores.toarray() if sparse.issparse(scores) else scores
        return dense

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        if isinstance(self._table, np.ndarray):
            return {"table": self._table}
        table = self._table
        return {"values": table.data, "columns": table.indices, "starts": table.indptr}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        if "table" in tensors:
            self._table = tensors["table"]
            return
        n_items = len(tensors["starts"]) - 1
        parts = (tensors["values"], tensors["columns"], tensors["starts"])
        self._table = sparse.csr_array(parts, shape=(n_items, n_items))
