"""See users and new items as a service does: towers of cosines over vectors instead of numbers.

Legend: b histories; l events; n items; t dimensions of the towers; d of the bundle's content.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from services.training.export.onnx_file import write_onnx

if TYPE_CHECKING:  # which writes itself by this module
    from services.training.models.collaborative.towers import UserTower


class UserGraph(nn.Module):
    """The user's tower where nothing but the history is known."""

    def __init__(self, user: UserTower, others: Tensor) -> None:
        """others: (1, ·) what the tower takes beside the history, of nobody."""
        super().__init__()
        self.user = user
        self.register_buffer("others", others)

    others: Tensor

    def forward(self, items: Tensor, mask: Tensor) -> Tensor:
        """Return queries (b, t) of unit length; items (b, l, t), mask (b, l) 1 where one stands."""
        views = self.user.newest(items, mask)
        queries: Tensor = self.user(views, self.others.expand(len(views), -1))
        return queries


class UnitGraph(nn.Module):
    """Layers whose rows are brought to unit length: an item's tower for items without number."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, content: Tensor) -> Tensor:
        """Return unit vectors (n, t) for contents (n, d)."""
        return F.normalize(self.layers(content), dim=1)


def write_session_tower(
    graph: nn.Module, length: int, dim: int, path: Path, *, recurrent: bool = False
) -> None:
    """Write what sees histories: `items` (b, length, dim) and `mask` (b, length) → `query`."""
    items = F.normalize(torch.randn(3, length, dim), dim=2)
    inputs = {"items": items, "mask": torch.ones(3, length)}
    write_onnx(graph, path, inputs, "query", recurrent=recurrent)


def write_item_tower(graph: nn.Module, columns: int, path: Path) -> None:
    """Write what sees new items: `content` (n, columns) → `tower`."""
    content = F.normalize(torch.randn(3, columns), dim=1)
    write_onnx(graph, path, {"content": content}, "tower")
