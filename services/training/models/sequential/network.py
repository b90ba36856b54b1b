"""See a history as one vector that lies near those of the items that come next.

Legend: b rows; l events; d dimensions; i items; n events asked.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.models.model import Amount, Config, Count, Share, Size, check_heads
from services.training.models.sequential.blocks import BLOCKS, EPS

INITIAL: Final = 0.02  # standard deviation of vectors at first


class NetworkConfig(Config, frozen=True):
    """What a network looks like."""

    block: Literal["softmax", "gated", "pointwise", "position", "gru"] = "softmax"
    dim: Size = 64  # larger ones learn MovieLens 1M by heart
    blocks: Size = 2
    heads: Size = 1
    length: Size = 200  # events that it sees, the newest
    dropout: Share = 0.2
    positions: Literal["absolute", "relative", "both"] = "absolute"
    time_buckets: Count = 0  # of relative times, for data that has times
    # 0: scores are products; else cosines divided by this, so that popularity is no vector's length
    temperature: Amount = 0.0
    learn_temperature: bool = False

    def __post_init__(self) -> None:
        check_heads("dim", self.dim, self.heads)


class Network(nn.Module):
    """Item vectors, an encoder of their sequence, and scores by the very same vectors."""

    def __init__(self, config: NetworkConfig, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = nn.Embedding(items, config.dim)
        relative = config.positions != "absolute"
        has_places = config.positions != "relative" and config.block != "gru"
        self.places = nn.Embedding(config.length, config.dim) if has_places else None
        if config.block == "gru":
            self.encoder: nn.Module = Recurrent(config)
        else:
            of = BLOCKS[config.block]
            layer = (config.dim, config.heads, config.length, config.dropout)
            self.encoder = nn.ModuleList(
                of(*layer, relative, config.time_buckets) for _ in range(config.blocks)
            )
        self.last = nn.LayerNorm(config.dim, EPS)
        scale = math.log(1 / config.temperature) if config.temperature else 0.0
        self.log_scale = nn.Parameter(torch.tensor(scale), requires_grad=config.learn_temperature)
        for embedding in (self.items, self.places):
            if embedding is not None:
                nn.init.trunc_normal_(embedding.weight, std=INITIAL)

    def forward(self, items: Tensor, times_s: Tensor | None = None) -> Tensor:
        """Return (b, l, d): how each event and those before it let the next be expected.

        items: (b, l) numbers, each row's from its first column on.
        """
        return self.encode(self.item_vectors()[items], times_s)

    def encode(self, vectors: Tensor, times_s: Tensor | None = None) -> Tensor:
        """Return (b, l, d) for events given as item vectors."""
        # Items and places must be of one size at first, whatever the dimensions.
        events = vectors if self.config.temperature else vectors * math.sqrt(self.config.dim)
        if self.places is not None:
            events = events + self.places.weight[: vectors.shape[1]]
        events = F.dropout(events, self.config.dropout, self.training)
        if isinstance(self.encoder, Recurrent):
            events = self.encoder(events)
        else:
            assert isinstance(self.encoder, nn.ModuleList)
            for block in self.encoder:
                events = block(events, times_s)
        seen: Tensor = self.last(events)
        return seen

    def item_vectors(self) -> Tensor:
        """Return (i, d): unit vectors where scores are cosines."""
        weight = self.items.weight
        return F.normalize(weight, dim=1) if self.config.temperature else weight

    def queries(self, hidden: Tensor) -> Tensor:
        """Return (…, d) whose products with item vectors are scores."""
        if not self.config.temperature:
            return hidden
        return F.normalize(hidden.float(), dim=-1) * self.log_scale.exp()


class Recurrent(nn.Module):
    """Gated recurrent units, one state an event: what a service can advance event by event."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.units = nn.GRU(
            config.dim,
            config.dim,
            config.blocks,
            batch_first=True,
            dropout=config.dropout if config.blocks > 1 else 0.0,
        )
        self.dropout = config.dropout

    def forward(self, events: Tensor) -> Tensor:
        """Return the state after each event, (b, l, d)."""
        states, _ = self.units(events)
        return F.dropout(states, self.dropout, self.training)
