"""See a session as a service's session tower does: item vectors padded in front, one query out.

What the newest event alone decides is calculated for it alone: the last layer's part of it and all
that follows, about half of the whole.

Legend: b histories; l events; t dimensions of the tower; h heads.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.export.onnx_file import write_onnx
from services.training.models.sequential.blocks import PositionBlock, SoftmaxBlock, causal
from services.training.models.sequential.network import Network

NOT_SEEN: Final = -1e9  # added to a weight before its softmax; of rows of nothing else no NaN comes


class SessionGraph(nn.Module):
    """A network of softmax or position layers and cosines, over vectors in place of numbers."""

    def __init__(self, network: Network) -> None:
        """Raises ValueError for a network whose layers or scores are others."""
        super().__init__()
        config = network.config
        layers = list(network.encoder.children())
        known = all(isinstance(layer, SoftmaxBlock | PositionBlock) for layer in layers)
        if not known or not config.temperature or config.time_buckets:
            raise ValueError("a session tower has softmax or position layers, cosines and no times")
        self.length, self.heads, self.dim = config.length, config.heads, config.dim
        self.places, self.last = network.places, network.last
        self.layers = nn.ModuleList(layers)

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        """Return queries (b, t) of unit length; items (b, l, t), mask (b, l) 1 where one stands."""
        events = items
        if self.places is not None:
            at = (mask.cumsum(1).long() - 1).clamp_min(0)
            events = events + self.places.weight[at]
        for number, layer in enumerate(self.layers, 1):
            asked = self.length if number < len(self.layers) else 1
            if isinstance(layer, SoftmaxBlock):
                events = self._by_softmax(layer, events, mask, asked)
            else:
                assert isinstance(layer, PositionBlock)
                events = self._by_position(layer, events, mask, asked)
        return F.normalize(self.last(events[:, -1]), dim=1)

    def _by_softmax(self, layer: SoftmaxBlock, events: Tensor, mask: Tensor, asked: int) -> Tensor:
        """Return the last `asked` events as the layer lets them be seen."""
        absent = ((1 - mask) * NOT_SEEN)[:, None, None]  # (b, 1, 1, l)
        bias = torch.where(causal(self.length, mask.device), 0.0, NOT_SEEN)
        if layer.relations is not None:
            bias = bias + layer.relations(self.length, None)
        normal = layer.before_attention(events)
        of_query, of_rest = torch.split(layer.inputs.weight, [self.dim, 2 * self.dim])
        query_offset, rest_offset = torch.split(layer.inputs.bias, [self.dim, 2 * self.dim])
        scale = 1 / math.sqrt(self.dim // self.heads)
        queries = layer.split(F.linear(normal[:, -asked:], of_query * scale, query_offset * scale))
        keys, values = F.linear(normal, of_rest, rest_offset).chunk(2, -1)
        weights = queries @ layer.split(keys).transpose(-1, -2)
        shares = (weights + bias[..., -asked:, :] + absent).softmax(-1)
        mixed = (shares @ layer.split(values)).transpose(1, 2).flatten(2)
        events = events[:, -asked:] + layer.output(mixed)
        fed: Tensor = layer.feed_out(F.relu(layer.feed(layer.before_feed(events))))
        return events + fed

    def _by_position(
        self, layer: PositionBlock, events: Tensor, mask: Tensor, asked: int
    ) -> Tensor:
        """Return the last `asked` events as the layer lets them be seen."""
        assert layer.relations is not None
        weights = layer.relations(self.length, None) * causal(self.length, mask.device)
        normal = layer.before_attention(events)
        of_gate, of_values = torch.split(layer.inputs.weight, [self.dim, self.dim])
        gate = F.silu(F.linear(normal[:, -asked:], of_gate))
        values = F.silu(F.linear(normal, of_values)) * mask[:, :, None]
        mixed = (weights[..., -asked:, :] @ layer.split(values)).transpose(1, 2).flatten(2)
        events = events[:, -asked:] + layer.output(gate * layer.after_attention(mixed))
        fed, fed_gate = layer.feed(layer.before_feed(events)).chunk(2, -1)
        added: Tensor = layer.feed_out(F.silu(fed_gate) * fed)
        return events + added


def write_session(network: Network, path: Path) -> None:
    """Write session.onnx: `items` (b, l, t) and `mask` (b, l) → `query` (b, t)."""
    graph = SessionGraph(network)
    examples = {
        "items": F.normalize(torch.randn(3, graph.length, graph.dim), dim=-1),
        "mask": torch.ones(3, graph.length),
    }
    write_onnx(graph, path, examples, "query")
