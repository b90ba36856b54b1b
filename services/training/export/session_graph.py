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

from services.training.export.tower_graphs import write_session_tower
from services.training.models.sequential.blocks import PositionBlock, SoftmaxBlock, causal
from services.training.models.sequential.network import Network, Recurrent

NOT_SEEN: Final = -1e9  # added to a weight before its softmax; of rows of nothing else no NaN comes


class SessionGraph(nn.Module):
    """A network of softmax or position layers and cosines, over vectors in place of numbers."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        config = network.config
        self.length, self.heads, self.dim = config.length, config.heads, config.dim
        self.places, self.last = network.places, network.last
        self.layers = network.encoder

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        """Return queries (b, t) of unit length; items (b, l, t), mask (b, l) 1 where one stands."""
        events = items
        if self.places is not None:
            at = (mask.cumsum(1).long() - 1).clamp_min(0)
            events = events + self.places.weight[at]
        layers = list(self.layers.children())
        for number, layer in enumerate(layers, 1):
            asked = self.length if number < len(layers) else 1
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


class RecurrentSessionGraph(nn.Module):
    """A network of recurrent units and cosines, over vectors in place of numbers."""

    def __init__(self, network: Network, units: nn.GRU) -> None:
        super().__init__()
        self.units, self.last = units, network.last

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        """Return queries (b, t) of unit length; items (b, l, t), mask (b, l) 1 where one stands."""
        length = mask.sum(1, keepdim=True).long()
        # To the front, as nothing may come before the first event.
        at = (torch.arange(mask.shape[1], device=mask.device) - length) % mask.shape[1]
        states, _ = self.units(items.gather(1, at[:, :, None].expand_as(items)))
        newest = (length - 1).clamp_min(0)[:, :, None].expand_as(states[:, :1])
        states = states.gather(1, newest)[:, 0]
        return F.normalize(self.last(states), dim=1)


def write_session(network: Network, path: Path) -> None:
    """Write a network of cosines as a session tower, as ServedModel says."""
    length, dim, encoder = network.config.length, network.config.dim, network.encoder
    if isinstance(encoder, Recurrent):
        graph = RecurrentSessionGraph(network, encoder.units)
        write_session_tower(graph, length, dim, path, recurrent=True)
    else:
        write_session_tower(SessionGraph(network), length, dim, path)
