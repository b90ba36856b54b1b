"""Convolve contents over random-walk neighbours, so that an item is seen with its company.

Neighbours are what walks from an item over its users visit most, weighted by how often. An item
that nobody chose yet has no walks: its neighbours are the learnt items nearest by content, weighted
by cosine, so it is placed by its like's company; while learning, some items are looked at so, too.
Differs from the paper: one machine and the whole graph at once; pairs are choices one after
another; a softmax over the other pairs' items in place of the hinge, with the hardest neighbours
among them by themselves.

Legend: n items; f columns of features; m neighbours; t columns; b pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.content.contents import contents_of
from services.training.content.features import features_of
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints
from services.training.export.tower_graphs import write_session_tower
from services.training.learn.loop import Training
from services.training.models.content.cosine import unit
from services.training.models.content.placing import PlacingConfig, PlacingModel, PlacingModule
from services.training.models.model import Positive, Share, Size

BUFFERS: Final = (
    "features",
    "is_walked",
    "walked",
    "walked_weights",
    "alike",
    "alike_weights",
)


class PinSageConfig(PlacingConfig, frozen=True):
    """Sizes and weights; not tuned."""

    width: Size = 64  # t
    hidden: Size = 128
    neighbours: Size = 10  # m
    walks: Size = 400  # from each item, each over one user to another item
    newest: Size = 5  # choices whose mean is asked with
    as_new: Share = 0.3  # share of learnt items that a step looks at as if they were new
    dropout: Share = 0.2
    temperature: Positive = 0.1
    training: Training = Training(
        epochs=6, learning_rate=3e-3, weight_decay=0.01, schedule="cosine", warm_up=50, patience=0
    )


class _Convolutions(PlacingModule):
    def __init__(self, tensors: dict[str, Tensor], config: PinSageConfig) -> None:
        super().__init__()
        self._config = config
        for name, value in tensors.items():
            self.register_buffer(name, value)
        hidden, width = config.hidden, config.width
        self.entry = nn.Sequential(
            nn.Dropout(config.dropout), nn.Linear(self.features.shape[1], hidden), nn.GELU()
        )
        self.of_neighbours = nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(2)])
        self.joined = nn.ModuleList([nn.Linear(2 * hidden, hidden) for _ in range(2)])
        self.exit = nn.Sequential(nn.GELU(), nn.Linear(hidden, width))

    features: Tensor
    walked: Tensor
    is_walked: Tensor
    walked_weights: Tensor
    alike: Tensor
    alike_weights: Tensor

    def items(self) -> Tensor:
        """See PlacingModule.items."""
        walked = self.is_walked
        if self.training:
            drawn = torch.rand(walked.shape, device=walked.device)
            walked = walked & (drawn >= self._config.as_new)
        neighbours = torch.where(walked, self.walked, self.alike)  # (n, m)
        weights = torch.where(walked, self.walked_weights, self.alike_weights)[:, :, None]
        x = self.entry(self.features)
        for of_neighbours, joined in zip(self.of_neighbours, self.joined, strict=True):
            company = (weights * F.relu(of_neighbours(x))[neighbours]).sum(1)
            x = F.normalize(F.relu(joined(torch.cat([x, company], 1))), dim=1)
        return F.normalize(self.exit(x), dim=1)

    def queries(self, items: Tensor, newest: Tensor) -> Tensor:
        """Return the means of the newest choices; see PlacingModule.queries."""
        return F.normalize(F.pad(items, (0, 0, 0, 1))[newest].sum(1), dim=1)


class _MeanQuery(nn.Module):
    """The query as a service asks for it: the mean of the newest choices."""

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        return F.normalize((items * mask[:, :, None]).sum(1), dim=1)


class PinSage(PlacingModel):
    """Places items by content and company; asks with the mean of the newest choices."""

    name = "pinsage"
    paper = "Ying 2018 (arXiv 1806.01973)"
    config_type = PinSageConfig
    config: PinSageConfig

    def _begun(
        self, data: Dataset, learnt: NDArray[np.bool_], rng: np.random.Generator
    ) -> _Convolutions:
        config = self.config
        features = features_of(contents_of(data), learnt)
        walked = walked_neighbours(data.events, data.n_items, config.walks, config.neighbours, rng)
        alike = alike_neighbours(features, learnt, config.neighbours)
        buffers = (features, learnt[:, None], *walked, *alike)
        named = zip(BUFFERS, map(torch.from_numpy, buffers), strict=True)
        return _Convolutions(dict(named), config)

    def _restored(self, tensors: dict[str, Tensor]) -> _Convolutions:
        return _Convolutions({name: tensors[name] for name in BUFFERS}, self.config)

    def export_session(self, path: Path) -> None:
        """See ServedModel.export_session."""
        write_session_tower(_MeanQuery(), self.length, self.config.width, path)


def walked_neighbours(
    events: Histories, n_items: int, walks: int, neighbours: int, rng: np.random.Generator
) -> tuple[Ints, Floats]:
    """Return (n, m) items that walks of two steps visit most, with their shares of the visits.

    An item without events, or with none beside it, has itself alone, at weight 0.
    """
    by_item = np.argsort(events.items, kind="stable")
    ends = np.searchsorted(events.items[by_item], np.arange(n_items + 1))
    users = events.rows()[by_item]  # who chose an item: users[ends[i]:ends[i + 1]]
    found = np.tile(np.arange(n_items)[:, None], neighbours)
    weights = np.zeros((n_items, neighbours), np.float32)
    for item in np.flatnonzero(np.diff(ends)):
        through = users[rng.integers(ends[item], ends[item + 1], walks)]
        reached = events.items[rng.integers(events.starts[through], events.starts[through + 1])]
        visited, counts = np.unique(reached[reached != item], return_counts=True)
        most = np.argsort(-counts, kind="stable")[:neighbours]
        found[item, : len(most)] = visited[most]
        weights[item, : len(most)] = counts[most] / max(counts[most].sum(), 1)
    return found, weights


def alike_neighbours(features: Floats, learnt: np.ndarray, neighbours: int) -> tuple[Ints, Floats]:
    """Return (n, m) learnt items nearest by content, themselves left out, with weights of sum 1."""
    rows = unit(features)
    cosines = rows @ rows.T
    cosines[:, ~learnt] = -np.inf
    np.fill_diagonal(cosines, -np.inf)
    found = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
    weights = np.maximum(np.take_along_axis(cosines, found, axis=1), 1e-3)
    return found, weights / weights.sum(axis=1, keepdims=True)
