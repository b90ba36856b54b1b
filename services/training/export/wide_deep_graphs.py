"""See candidates as a ranker does: what Wide & Deep's two parts add to each one's score.

The history is seen once a request, by a graph of its own; candidates are rows that know nothing of
each other.

Legend: b histories; l events; n candidates; d dimensions; a flags of users.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from services.training.export.onnx_file import write_onnx
from services.training.models.blended.wide_deep import WideDeep


class HistoryGraph(nn.Module):
    """The state after the last event of a history: what the deep part knows of a user's order."""

    def __init__(self, model: WideDeep) -> None:
        super().__init__()
        deep = model.module.deep
        self.history = deep.history
        with torch.no_grad():
            self.register_buffer("vectors", deep.items(model.module.content).detach().cpu())

    vectors: Tensor

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return states (b, d); items (b, l) numbers, oldest first, of which lengths (b,) count."""
        states, _ = self.history(self.vectors[items])
        at = (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2])
        newest: Tensor = states.gather(1, at)[:, 0]
        return newest


class RankerGraph(nn.Module):
    """Contributions of candidates."""

    def __init__(self, model: WideDeep) -> None:
        super().__init__()
        self.module = model.module
        with torch.no_grad():
            vectors = model.module.deep.items(model.module.content)
            self.register_buffer("vectors", vectors.detach().cpu())

    vectors: Tensor

    def forward(self, state: Tensor, user: Tensor, last: Tensor, item: Tensor) -> Tensor:
        """Return (n, 2): what the wide and the deep part add to each candidate's score.

        state: (n, d) of the candidate's user; user: (n, a) flags; last, item: (n,) numbers.
        """
        parts = self.module.parts(state, user, last, item[:, None], self.vectors)
        return parts[:, 0]


def write_history(model: WideDeep, path: Path) -> None:
    """Write the graph of the history: `items` (b, l) and `lengths` (b,) → `state` (b, d)."""
    items = torch.zeros(3, model.config.length, dtype=torch.int64)
    inputs = {"items": items, "lengths": torch.arange(1, 4)}
    write_onnx(HistoryGraph(model), path, inputs, "state")


def write_ranker(model: WideDeep, path: Path) -> None:
    """Write the ranker: `state`, `user`, `last` and `item`, a row a candidate → `parts` (n, 2)."""
    flags = model.module.user_flags.shape[1]
    inputs = {
        "state": torch.randn(3, model.config.dim),
        "user": torch.zeros(3, flags),
        "last": torch.arange(3),
        "item": torch.arange(3),
    }
    write_onnx(RankerGraph(model), path, inputs, "parts")
