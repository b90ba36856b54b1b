"""Map contents into a space of what is chosen next, so that a new item stands beside its like.

A learnt item's vector is what its content says and a row of its own, which is left out at random
while learning (as DropoutNet leaves out), so that an item without one is no stranger. The query is
a weighted sum of the newest choices' vectors with a small network beside it.

Legend: b histories; n items; f columns of features; k newest choices; t columns of the tower.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.content.contents import contents_of
from services.training.content.features import features_of
from services.training.data.dataset import Dataset
from services.training.export.tower_graphs import (
    UnitGraph,
    write_item_tower,
    write_session_tower,
)
from services.training.models.content.placing import PlacingConfig, PlacingModel, PlacingModule
from services.training.models.model import Preset, Share, Size


class DropoutNetConfig(PlacingConfig, frozen=True):
    """Sizes and weights; not tuned."""

    inputs: Literal["all", "fused"] = "all"  # fused: the serving vector alone, which is exported
    texts: Size = 64  # main directions of texts that `all` takes
    pictures: Size = 32
    width: Size = 64  # t
    hidden: Size = 128
    dropout: Share = 0.2
    left_out: Share = 0.5  # share of items' own rows that a step leaves out

    @classmethod
    def of(cls, preset: Preset) -> DropoutNetConfig:
        """See Config.of."""
        return cls() if preset == "quick" else cls(share=1.0)


class _Towers(PlacingModule):
    def __init__(self, features: Tensor, known: Tensor, config: DropoutNetConfig) -> None:
        super().__init__()
        self._config = config
        self.register_buffer("features", features)  # (n, f)
        self.register_buffer("known", known)  # (n, 1) 1 where events are known
        width = config.width
        self.content = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(features.shape[1], config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, width),
        )
        self.own = nn.Parameter(torch.randn(len(features), width) * 0.02)
        self.recency = nn.Parameter(-0.2 * torch.arange(config.newest, 0, -1.0))
        self.query = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    features: Tensor
    known: Tensor

    def items(self) -> Tensor:
        """See PlacingModule.items."""
        said = F.normalize(self.content(self.features), dim=1)
        own = self.own * self.known
        if self.training:
            own = own * (torch.rand(len(own), 1, device=own.device) >= self._config.left_out)
        return F.normalize(said + own, dim=1)

    def queries(self, items: Tensor, newest: Tensor) -> Tensor:
        """See PlacingModule.queries."""
        there = (newest < len(items)).to(items.dtype)[:, :, None]
        return self.query_of(F.pad(items, (0, 0, 0, 1))[newest], there)

    def query_of(self, chosen: Tensor, there: Tensor) -> Tensor:
        """Return (b, t) unit rows of vectors (b, k, t) that are there, 1, or not, 0, (b, k, 1)."""
        weights = (self.recency[:, None] + (there - 1) * 1e9).softmax(1)
        recent = (weights * there * chosen).sum(1)
        mean = (there * chosen).sum(1) / there.sum(1).clamp(min=1)
        return F.normalize(recent + self.query(torch.cat([recent, mean], 1)), dim=1)


class _QueryGraph(nn.Module):
    """The query as a service asks for it."""

    def __init__(self, towers: _Towers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        return self.towers.query_of(items, mask[:, :, None])


class DropoutNet(PlacingModel):
    """Learns by a softmax over the learnt items."""

    name = "dropoutnet"
    paper = "Volkovs 2017 (DropoutNet, NeurIPS), by a softmax over items (YouTube, RecSys 2019)"
    config_type = DropoutNetConfig
    config: DropoutNetConfig
    _module: _Towers

    def _begun(self, data: Dataset, learnt: NDArray[np.bool_], rng: np.random.Generator) -> _Towers:
        config, contents = self.config, contents_of(data)
        features = (
            contents.fused
            if config.inputs == "fused"
            else features_of(contents, learnt, config.texts, config.pictures)
        )
        known = learnt[:, None].astype(np.float32)
        return _Towers(torch.from_numpy(features), torch.from_numpy(known), config)

    def _restored(self, tensors: dict[str, Tensor]) -> _Towers:
        return _Towers(tensors["features"], tensors["known"], self.config)

    def export_session(self, path: Path) -> None:
        """See ServedModel.export_session."""
        graph = _QueryGraph(self._module)
        write_session_tower(graph, self.length, self.config.width, path)

    def export_items(self, path: Path) -> bool:
        """See ServedModel.export_items: where it has learnt from the serving vector alone."""
        if self.config.inputs != "fused":
            return False
        write_item_tower(UnitGraph(self._module.content), self._module.features.shape[1], path)
        return True
