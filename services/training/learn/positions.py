"""Ask at places of histories: what was chosen there, and the few choices before it.

Legend: e events; b places of a batch; k events before each.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from services.training.data.histories import Histories, Ints


class Positions:
    """Every event that has one of its user before it. Stands on a device."""

    def __init__(self, events: Histories, newest: int, none: int, device: str) -> None:
        """newest: k. none: the number that fills up where there are fewer."""
        before = np.arange(len(events.items)) - np.repeat(events.starts[:-1], events.lengths)
        self._asked = np.flatnonzero(before > 0)
        self._items = torch.from_numpy(events.items).to(device)
        self._users = torch.from_numpy(events.users[events.rows()]).to(device)
        self._before = torch.from_numpy(before).to(device)
        self._offsets = torch.arange(-newest, 0, device=device)
        self._none = none

    def batches(self, rng: np.random.Generator, size: int, share: float = 1.0) -> list[Tensor]:
        """Return a random share of the places in batches; an epoch of it."""
        count = max(1, round(len(self._asked) * share))
        order: Ints = rng.permutation(self._asked)[:count]
        chosen = torch.from_numpy(order).to(self._items.device)
        return list(torch.split(chosen, size))

    def context(self, places: Tensor) -> Tensor:
        """Return the items before each place, (b, k), the newest last."""
        there = self._before[places][:, None] + self._offsets >= 0
        return torch.where(
            there, self._items[(places[:, None] + self._offsets).clamp(min=0)], self._none
        )

    def targets(self, places: Tensor) -> Tensor:
        """Return what was chosen there, (b,)."""
        return self._items[places]

    def users(self, places: Tensor) -> Tensor:
        """Return who chose, (b,) numbers."""
        return self._users[places]
