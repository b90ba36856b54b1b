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

if TYPE_CHECKING:  # which write themselves by this module
    from services.training.models.collaborative.towers import UserTower
    from services.training.models.collaborative.two_tower import ItemTower


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


class ContentGraph(nn.Module):
    """The item's tower for items without number."""

    def __init__(self, item: ItemTower) -> None:
        super().__init__()
        self.item = item

    def forward(self, content: Tensor) -> Tensor:
        """Return unit vectors (n, t) for contents (n, d)."""
        return F.normalize(self.item(content), dim=1)


def write_user_tower(user: UserTower, others: Tensor, path: Path) -> None:
    """Write session.onnx: `items` (b, l, t) and `mask` (b, l) → `query` (b, t)."""
    items = F.normalize(torch.randn(3, user.length, user.dim), dim=2)
    inputs = {"items": items, "mask": torch.ones(3, user.length)}
    write_onnx(UserGraph(user, others), path, inputs, "query")


def write_content_tower(item: ItemTower, columns: int, path: Path) -> None:
    """Write tower.onnx: `content` (n, d) → `tower` (n, t)."""
    content = F.normalize(torch.randn(3, columns), dim=1)
    write_onnx(ContentGraph(item), path, {"content": content}, "tower")
