"""See a session as a service's session tower does: item vectors padded in front, one query out.

What the newest event alone decides is calculated for it alone: the last layer's query and all that
follows it, a third of the whole.

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
from services.training.models.sequential.blocks import SoftmaxBlock, causal
from services.training.models.sequential.network import Network

NOT_SEEN: Final = -1e9  # added to a weight before its softmax; of rows of nothing else no NaN comes


class SessionGraph(nn.Module):
    """A network of softmax layers and cosines over vectors in place of numbers of items."""

    def __init__(self, network: Network) -> None:
        """Raises ValueError for a network whose layers or scores are others."""
        super().__init__()
        config = network.config
        if config.block != "softmax" or not config.temperature or config.time_buckets:
            raise ValueError("a session tower has softmax layers, cosines and no times")
        self.length, self.heads, self.dim = config.length, config.heads, config.dim
        self.places, self.last = network.places, network.last
        layers = list(network.encoder.children())
        self.layers = nn.ModuleList(layers)
        for layer in layers:
            assert isinstance(layer, SoftmaxBlock)

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        """Return queries (b, t) of unit length; items (b, l, t), mask (b, l) 1 where one stands."""
        events = items
        if self.places is not None:
            at = (mask.cumsum(1).long() - 1).clamp_min(0)
            events = events + self.places.weight[at]
        absent = ((1 - mask) * NOT_SEEN)[:, None, None]  # (b, 1, 1, l)
        later = torch.where(causal(self.length, items.device), 0.0, NOT_SEEN)
        newest = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, SoftmaxBlock)
            bias = later if layer.relations is None else later + layer.relations(self.length, None)
            if number == newest:
                events = self._through(layer, events, bias[..., -1:, :] + absent, 1)
            else:
                events = self._through(layer, events, bias + absent, self.length)
        return F.normalize(self.last(events[:, -1]), dim=1)

    def _through(self, layer: SoftmaxBlock, events: Tensor, bias: Tensor, asked: int) -> Tensor:
        """Return the last `asked` events as the layer lets them be seen."""
        normal = layer.before_attention(events)
        events = events[:, -asked:]
        of_query, of_rest = torch.split(layer.inputs.weight, [self.dim, 2 * self.dim])
        query_offset, rest_offset = torch.split(layer.inputs.bias, [self.dim, 2 * self.dim])
        scale = 1 / math.sqrt(self.dim // self.heads)
        queries = layer.split(F.linear(normal[:, -asked:], of_query * scale, query_offset * scale))
        keys, values = F.linear(normal, of_rest, rest_offset).chunk(2, -1)
        weights = queries @ layer.split(keys).transpose(-1, -2) + bias
        mixed = (weights.softmax(-1) @ layer.split(values)).transpose(1, 2).flatten(2)
        events = events + layer.output(mixed)
        fed: Tensor = layer.feed_out(F.relu(layer.feed(layer.before_feed(events))))
        return events + fed


def write_session(network: Network, path: Path) -> None:
    """Write session.onnx: `items` (b, l, t) and `mask` (b, l) → `query` (b, t)."""
    graph = SessionGraph(network)
    examples = {
        "items": F.normalize(torch.randn(3, graph.length, graph.dim), dim=-1),
        "mask": torch.ones(3, graph.length),
    }
    write_onnx(graph, path, examples, "query")
