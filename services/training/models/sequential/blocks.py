"""Mix what came before into each event: blocks of layers with one signature.

Legend: b rows; l events; d dimensions; h heads. Rows are filled from the left; what stands right of
a row's end is never looked at from within it, as no event looks at a later one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS: Final = 1e-6


class Relations(nn.Module):
    """Says how much an event counts for another by how far apart they are, whatever they are."""

    def __init__(self, heads: int, length: int, time_buckets: int) -> None:
        super().__init__()
        self.by_position = nn.Parameter(torch.zeros(heads, length))
        self.by_time = nn.Parameter(torch.zeros(heads, time_buckets)) if time_buckets else None

    def forward(self, length: int, times_s: Tensor | None) -> Tensor:
        """Return (1 or b, h, l, l): of the column's event for the row's."""
        # Entry [h, row, column] is by_position[h, row - column], 0 for what is later.
        padded = F.pad(self.by_position[:, :length], (length - 1, 0))
        found = padded.unfold(1, length, 1).flip(-1)[None]
        if self.by_time is None or times_s is None:
            return found
        seconds = (times_s[:, :, None] - times_s[:, None, :]).clamp_min(0)
        # Four buckets where the time between doubles: from seconds to years in about a hundred.
        bucket = (4 * torch.log2(1 + seconds)).long().clamp_max(self.by_time.shape[1] - 1)
        return found + self.by_time[:, bucket].transpose(0, 1)


def causal(length: int, device: torch.device) -> Tensor:
    """Return (l, l) where the column's event is not later than the row's."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


class Block(nn.Module, ABC):
    """One layer of an encoder; `relations` where its attention knows how far apart events are."""

    def __init__(
        self, dim: int, heads: int, length: int, dropout: float, relative: bool, time_buckets: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.relations = Relations(heads, length, time_buckets) if relative else None
        self.dropout = dropout

    @abstractmethod
    def forward(self, events: Tensor, times_s: Tensor | None) -> Tensor:
        """Return the events (b, l, d) as those before them let them be seen."""

    def split(self, values: Tensor) -> Tensor:
        """Return (b, l, d) as (b, h, l, d / h)."""
        rows, length, dim = values.shape
        return values.view(rows, length, self.heads, dim // self.heads).transpose(1, 2)

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, times_s: Tensor | None
    ) -> Tensor:
        """Return softmax attention over what came before, (b, l, d)."""
        mask = None
        if self.relations is not None:
            length = queries.shape[1]
            mask = self.relations(length, times_s).masked_fill(
                ~causal(length, queries.device), -torch.inf
            )
            mask = mask.to(queries.dtype)
        mixed = F.scaled_dot_product_attention(
            self.split(queries),
            self.split(keys),
            self.split(values),
            attn_mask=mask,
            dropout_p=0.0,
            is_causal=mask is None,
        )
        return mixed.transpose(1, 2).flatten(2)

    def drop(self, values: Tensor) -> Tensor:
        """Drop some values out while it is trained."""
        return F.dropout(values, self.dropout, self.training)


class SoftmaxBlock(Block):
    """SASRec's layer (1808.09781), normalised before each half as is done today."""

    def __init__(
        self, dim: int, heads: int, length: int, dropout: float, relative: bool, time_buckets: int
    ) -> None:
        super().__init__(dim, heads, length, dropout, relative, time_buckets)
        self.before_attention = nn.LayerNorm(dim, EPS)
        self.inputs = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.before_feed = nn.LayerNorm(dim, EPS)
        self.feed = nn.Linear(dim, dim)
        self.feed_out = nn.Linear(dim, dim)

    def forward(self, events: Tensor, times_s: Tensor | None) -> Tensor:
        """See Block.forward."""
        queries, keys, values = self.inputs(self.before_attention(events)).chunk(3, -1)
        events = events + self.drop(self.output(self.attend(queries, keys, values, times_s)))
        fed = self.drop(F.relu(self.feed(self.before_feed(events))))
        return events + self.drop(self.feed_out(fed))


class GatedBlock(Block):
    """LiGR's layer (2502.03417) as eSASRec uses it (2508.06450): a gate on what each half adds."""

    def __init__(
        self, dim: int, heads: int, length: int, dropout: float, relative: bool, time_buckets: int
    ) -> None:
        super().__init__(dim, heads, length, dropout, relative, time_buckets)
        self.before_attention = nn.LayerNorm(dim, EPS)
        self.inputs = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.attention_gate = nn.Linear(dim, dim)
        self.before_feed = nn.LayerNorm(dim, EPS)
        self.feed = nn.Linear(dim, 4 * dim)  # both halves of SwiGLU
        self.feed_out = nn.Linear(2 * dim, dim)
        self.feed_gate = nn.Linear(dim, dim)

    def forward(self, events: Tensor, times_s: Tensor | None) -> Tensor:
        """See Block.forward."""
        queries, keys, values = self.inputs(self.before_attention(events)).chunk(3, -1)
        mixed = self.drop(self.output(self.attend(queries, keys, values, times_s)))
        events = events + mixed * self.attention_gate(events).sigmoid()
        fed, gate = self.feed(self.before_feed(events)).chunk(2, -1)
        fed = self.drop(self.feed_out(self.drop(F.silu(gate) * fed)))
        opened: Tensor = self.feed_gate(events).sigmoid()
        return events + fed * opened


class PointwiseBlock(Block):
    """HSTU's layer (2402.17152): no softmax, each event's weight on its own; a gate for the sum.

    Weights are divided by how many events came before, not by the length that is padded to.
    """

    def __init__(
        self, dim: int, heads: int, length: int, dropout: float, relative: bool, time_buckets: int
    ) -> None:
        super().__init__(dim, heads, length, dropout, relative, time_buckets)
        self.before_attention = nn.LayerNorm(dim, EPS)
        self.inputs = nn.Linear(dim, 4 * dim, bias=False)
        self.after_attention = nn.LayerNorm(dim, EPS)
        self.output = nn.Linear(dim, dim)

    def forward(self, events: Tensor, times_s: Tensor | None) -> Tensor:
        """See Block.forward."""
        inputs = F.silu(self.inputs(self.before_attention(events)))
        gate, values, queries, keys = inputs.chunk(4, -1)
        length = events.shape[1]
        weights = self.split(queries) @ self.split(keys).transpose(-1, -2)
        if self.relations is not None:
            weights = weights + self.relations(length, times_s)
        before = torch.arange(1, length + 1, device=events.device)[:, None]
        weights = F.silu(weights) * (causal(length, events.device) / before).to(weights.dtype)
        mixed = (weights @ self.split(values)).transpose(1, 2).flatten(2)
        added: Tensor = self.output(self.drop(gate * self.after_attention(mixed)))
        return events + added


class PositionBlock(Block):
    """FuXi-beta's layer (2508.10615): how far apart events are in place of queries and keys.

    Its weights are the same for every row where there are no times: one product for all rows.
    """

    def __init__(
        self, dim: int, heads: int, length: int, dropout: float, relative: bool, time_buckets: int
    ) -> None:
        super().__init__(dim, heads, length, dropout, True, time_buckets)
        assert self.relations is not None
        with torch.no_grad():  # begin with what is nearest
            self.relations.by_position.copy_(1 / torch.arange(1, length + 1))
        self.before_attention = nn.LayerNorm(dim, EPS)
        self.inputs = nn.Linear(dim, 2 * dim, bias=False)
        self.after_attention = nn.LayerNorm(dim, EPS)
        self.output = nn.Linear(dim, dim)
        self.before_feed = nn.LayerNorm(dim, EPS)
        self.feed = nn.Linear(dim, 4 * dim, bias=False)
        self.feed_out = nn.Linear(2 * dim, dim, bias=False)

    def forward(self, events: Tensor, times_s: Tensor | None) -> Tensor:
        """See Block.forward."""
        assert self.relations is not None
        gate, values = F.silu(self.inputs(self.before_attention(events))).chunk(2, -1)
        length = events.shape[1]
        weights = self.relations(length, times_s) * causal(length, events.device)
        mixed = (weights.to(values.dtype) @ self.split(values)).transpose(1, 2).flatten(2)
        events = events + self.output(self.drop(gate * self.after_attention(mixed)))
        fed, fed_gate = self.feed(self.before_feed(events)).chunk(2, -1)
        return events + self.drop(self.feed_out(F.silu(fed_gate) * fed))


BLOCKS: Final[Mapping[str, type[Block]]] = {
    "softmax": SoftmaxBlock,
    "gated": GatedBlock,
    "pointwise": PointwiseBlock,
    "position": PositionBlock,
}
