"""Recommend by a tower of the user and one of the item that knows its picture and its words.

The softmax is over the items of the step, each corrected by how often it stands there (Yi et al.
2019, Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations). A share of
items is seen without number in each step (id dropout, as DropoutNet, Volkovs et al. 2017), so that
an item without events enters by its content alone.

Differs from Yi et al.: the history is seen through the item's tower; frequencies are counted, not
estimated from a stream; equal items of a step are summed up into one with a weight.

Legend: n events asked; t dimensions; i items; c columns of content.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.content.contents import ItemContents, contents_of
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats
from services.training.export.tower_graphs import UnitGraph, write_item_tower
from services.training.learn.asked_events import AskedEvents
from services.training.learn.losses import full_softmax
from services.training.models.collaborative.towers import (
    TowerConfig,
    TowerModel,
    Towers,
    log_share,
    rows_of_normal,
)
from services.training.models.model import Share, Size, Tensors


class TwoTowerConfig(TowerConfig, frozen=True):
    """What it can be told."""

    dim: Size = 128  # by validation on MovieLens 1M: NDCG@10 .175, of 64 .146 in the same time
    hidden: tuple[Size, ...] = (512,)
    # `serving`: the vector that the embedding service makes of text and picture, so that new items
    # enter live; `all`: text, picture and attributes, each as its encoder gives it; or none
    content: Literal["serving", "all", "none"] = "serving"
    item_hidden: Size = 256  # of the layer between content and vector
    id_dropout: Share = 0.2  # share of a step's items that are seen by content alone


class ItemTower(nn.Module):
    """Makes an item's vector from its content: what a service runs for new items."""

    def __init__(self, columns: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.above = nn.Sequential(
            nn.Linear(columns, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, dim)
        )

    def forward(self, content: Tensor) -> Tensor:
        """Return (i, t), of no certain length, for (i, c)."""
        found: Tensor = self.above(content)
        return found


class _ByContent(Towers):
    """An item's vector is that of its content and, once it has events, of its number."""

    def __init__(
        self,
        config: TwoTowerConfig,
        user_flags: Floats,
        content: Floats,  # (i, c)
        counts: Floats,  # (i,) events
    ) -> None:
        super().__init__(config, user_flags, 0)
        self.id_dropout = config.id_dropout if content.shape[1] else 0.0
        self.register_buffer("content", torch.from_numpy(content))
        self.register_buffer("counts", torch.from_numpy(counts))
        self.ids = rows_of_normal(len(counts), config.dim)
        columns = content.shape[1]
        self.item = ItemTower(columns, config.item_hidden, config.dim) if columns else None

    content: Tensor
    counts: Tensor

    def items(self, numbers: Tensor) -> Tensor:
        """See Towers.items."""
        by_number = (self.counts[numbers] > 0).float()
        if self.training and self.id_dropout:
            kept = torch.rand(len(self.counts), device=numbers.device) >= self.id_dropout
            by_number = by_number * kept[numbers]
        vectors = self.ids(numbers) * by_number[:, None]
        if self.item is not None:
            vectors = vectors + self.item(self.content[numbers])
        return F.normalize(vectors, dim=1)

    @property
    def n_items(self) -> int:
        """See Towers.n_items."""
        return self.ids.num_embeddings


class TwoTower(TowerModel):
    """User tower of history and attributes, item tower of number and content."""

    name = "two-tower"
    paper = "Yi et al. 2019; id dropout as Volkovs et al. 2017"
    config_type = TwoTowerConfig
    config: TwoTowerConfig

    def __init__(
        self,
        config: TwoTowerConfig | None = None,
        contents: Callable[[Dataset], ItemContents] = contents_of,
    ) -> None:
        super().__init__(config)
        self._contents = contents

    def build(self, data: Dataset, user_flags: Floats) -> Towers:
        """See TowerModel.build."""
        counts = data.counts().astype(np.float32)
        return _ByContent(self.config, user_flags, self._content(data), counts)

    def _content(self, data: Dataset) -> Floats:
        if self.config.content == "none":
            return np.zeros((data.n_items, 0), np.float32)
        contents = self._contents(data)
        if self.config.content == "serving":
            return contents.fused
        parts = (contents.texts, contents.pictures, contents.attributes)
        return np.concatenate([_even(part) for part in parts], axis=1)

    def rebuilt(self, tensors: Tensors) -> Towers:
        """See TowerModel.rebuilt."""
        return _ByContent(self.config, tensors["user_flags"], tensors["content"], tensors["counts"])

    def export_items(self, path: Path) -> bool:
        """See ServedModel.export_items: its item tower, where that sees what a service does."""
        towers = self.towers.cpu()
        assert isinstance(towers, _ByContent)
        if self.config.content != "serving" or towers.item is None:
            return False
        write_item_tower(UnitGraph(towers.item), towers.content.shape[1], path)
        return True

    def loss(self, queries: Tensor, asked: AskedEvents, known: Tensor, vectors: Tensor) -> Tensor:
        """See TowerModel.loss: the softmax over the items that came next in the step."""
        times = torch.bincount(torch.searchsorted(known, asked.in_step), minlength=len(known))
        # How often it stands here for how often it was to be expected: the sum over the step's
        # items is then, in the mean, that over all items.
        towers = self.towers
        assert isinstance(towers, _ByContent)
        expected = log_share(towers.counts)[known] + np.log(len(asked.in_step))
        weights = times.float().log() - expected  # -inf: it came next nowhere in this step
        standing = times > 0
        column = torch.cumsum(standing, 0) - 1
        # A dimension more holds the weights, so that this is a softmax like any other.
        ones = torch.ones_like(queries[:, :1])
        return full_softmax(
            torch.cat([queries / self.config.temperature, ones], 1),
            torch.cat([vectors, weights[:, None]], 1)[standing],
            column[torch.searchsorted(known, asked.targets)],
        )


def _even(part: Floats) -> Floats:
    """Return rows that are as long in the mean as those of the other parts."""
    length = np.sqrt(np.square(part).sum(axis=1).mean()) if part.size else 1.0
    return part / (length or 1.0)
