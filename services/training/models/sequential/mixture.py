"""Score by several products at once, and let both sides say which counts: a mixture of logits.

2306.04039, as HSTU's authors use it on MovieLens 1M. Differs from the paper: the gates of query and
item are multiplied, and no network looks at every pair. Such scores are no product of two vectors:
they rank a catalogue, and no index finds them.

Legend: n queries; k items; d dimensions; c components.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GATE: Final = 64  # width of the gates' networks


class MixtureOfLogits(nn.Module):
    """Cosines of each query component with each item component, weighed by a softmax."""

    def __init__(
        self, dim: int, query_parts: int, item_parts: int, temperature: float, dropout: float
    ) -> None:
        super().__init__()
        self.query_parts, self.item_parts = query_parts, item_parts
        self.temperature, self.dropout = temperature, dropout
        self.of_query = nn.Linear(dim, query_parts * dim)
        self.of_item = nn.Linear(dim, item_parts * dim)
        self.query_gate = _gate(dim, query_parts * item_parts)
        self.item_gate = _gate(dim, query_parts * item_parts)

    def scores(self, queries: Tensor, items: Tensor) -> Tensor:
        """Return (n, k): of each query (n, d) for each item (k, d)."""
        some, others = self._parts(queries, items)
        logits = torch.einsum("nqd,kxd->nkqx", some, others).flatten(2)
        gates = self.query_gate(queries)[:, None] * self.item_gate(items)  # (n, k, c)
        return self._mixed(logits, gates)

    def paired(self, queries: Tensor, items: Tensor) -> Tensor:
        """Return (n,): of each query (n, d) for the item beside it (n, d)."""
        some, others = self._parts(queries, items)
        logits = torch.einsum("nqd,nxd->nqx", some, others).flatten(1)
        return self._mixed(logits, self.query_gate(queries) * self.item_gate(items))

    def _parts(self, queries: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        some = self.of_query(queries).unflatten(-1, (self.query_parts, -1))
        others = self.of_item(items).unflatten(-1, (self.item_parts, -1))
        return F.normalize(some, dim=-1) / self.temperature, F.normalize(others, dim=-1)

    def _mixed(self, logits: Tensor, gates: Tensor) -> Tensor:
        shares = F.dropout(gates.softmax(-1), self.dropout, self.training)
        return (shares * logits).sum(-1)


def _gate(dim: int, components: int) -> nn.Module:
    return nn.Sequential(nn.Linear(dim, GATE), nn.SiLU(), nn.Linear(GATE, components))
