"""Recommend what stands in sessions like the present one, the newest items counting most.

Legend: u users; i items of the catalogue; s sessions; k neighbours.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories
from services.training.models.model import Amount, Config, Model, Run, Size, Tensors
from services.training.models.references.item_knn import nearest
from services.training.models.references.item_to_item import (
    by_item,
    chosen,
    ranks_from_newest,
    recency,
)


class SessionKnnConfig(Config, frozen=True):
    """What a session is, and whom it is compared with; not tuned."""

    length: Size = 20  # events of a session: a history is cut into runs of them
    neighbours: Size = 500
    recency: Amount = 1.0  # an item of the present session weighs 1 / (items after it + 1)^power


class SessionKnn(Model):
    """Is V-SKNN over runs of each history, as none of these logs says where a session ends."""

    name = "session-knn"
    paper = "V-SKNN, Ludewig & Jannach 2018 (arXiv 1803.09587)"
    config_type = SessionKnnConfig

    def fit(self, data: Dataset, run: Run) -> None:
        """See Model.fit."""
        events = data.events
        begins = np.arange(len(events.items)) - np.repeat(events.starts[:-1], events.lengths)
        starts = np.flatnonzero(begins % self.config.length == 0)
        bounds = np.append(starts, len(events.items))
        runs = Histories(np.full(len(starts), -1), bounds, events.items)
        self._sessions = chosen(runs, data.n_items)

    def score(self, histories: Histories) -> Floats:
        """See Model.score."""
        present = histories.newest(self.config.length)
        weights = recency(ranks_from_newest(present), self.config.recency)
        asked = by_item(present, self._sessions.shape[1], weights)  # (u, i)
        lengths = np.sqrt(self._sessions.sum(axis=1))
        alike = sparse.csr_array(asked @ self._sessions.T)  # (u, s)
        alike.data /= lengths[alike.indices]
        alike = nearest(alike, self.config.neighbours)
        # Who met the newest items counts most: the largest weight of an item in common.
        rows = np.repeat(np.arange(len(histories)), np.diff(alike.indptr))
        theirs = sparse.csr_array(self._sessions[alike.indices])  # (k of all users, i)
        common = asked.toarray()[np.repeat(rows, np.diff(theirs.indptr)), theirs.indices]
        if len(common):
            alike.data *= np.maximum.reduceat(common, theirs.indptr[:-1])
        scores: Floats = (alike @ self._sessions).toarray()
        return scores

    def tensors(self) -> Tensors:
        """See Model.tensors."""
        shape = np.array(self._sessions.shape)
        return {"items": self._sessions.indices, "starts": self._sessions.indptr, "shape": shape}

    def restore(self, tensors: Tensors) -> None:
        """See Model.restore."""
        items, starts = tensors["items"], tensors["starts"]
        ones = np.ones(len(items), np.float32)
        self._sessions = sparse.csr_array((ones, items, starts), tuple(tensors["shape"]))
