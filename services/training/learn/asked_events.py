"""Ask what came next after each event of windows, with the events held where the weights are.

Legend: b windows; l events of one; n events asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from services.training.data.dataset import Dataset
from services.training.data.histories import Ints
from services.training.learn.batches import Windows
from services.training.learn.distributed import share


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Windows that a step asks, by rows of the epoch's."""

    windows: Windows
    rows: Ints  # (b,)


@dataclass(frozen=True, slots=True)
class AskedEvents:
    """Events of windows that are asked what comes next, on the device."""

    seen: Tensor  # (b, l) items, from the first column on
    is_asked: Tensor  # (b, l)
    users: Tensor  # (b,) numbers of users; that of nobody is how many users there are
    windows: Tensor  # (n,) whose window each asked event is
    targets: Tensor  # (n,) items that came next
    ages: Tensor  # (n,) of those in training's time, 0 newest to 1; 0 where no times are known
    in_step: Tensor  # (m,) all items that came next in the step, whichever process asks them
    weight: float  # of the mean loss, where several processes share a step


class EventsOnDevice:
    """Holds the events where the weights are, so that a step brings nothing but numbers of rows."""

    def __init__(self, data: Dataset, device: str) -> None:
        events = data.events
        self._items = torch.from_numpy(events.items).to(device)
        self._users = torch.from_numpy(events.users[events.rows()]).to(device)
        ages = np.zeros(len(events.items), np.float32)
        if events.times_s is not None and len(ages):
            span_s = max(int(np.ptp(events.times_s)), 1)
            ages = ((events.times_s.max() - events.times_s) / span_s).astype(np.float32)
        self._ages = torch.from_numpy(ages).to(device)
        self._nobody = data.n_users

    def asked(self, batch: WindowRows, unknown_users: float) -> AskedEvents:
        """Return what this process asks in a step; some of its users are taken for nobody.

        unknown_users: the probability of that.
        """
        device = self._items.device
        starts = torch.from_numpy(batch.windows.starts[batch.rows]).to(device)
        lengths = batch.windows.lengths[batch.rows] - 1
        columns = torch.arange(int(lengths.max()), device=device)
        is_asked = columns < torch.from_numpy(lengths).to(device)[:, None]
        at = torch.where(is_asked, starts[:, None] + columns, starts[:, None])
        unknown = torch.rand(len(starts), device=device) < unknown_users
        users = torch.where(unknown, self._nobody, self._users[starts])
        in_step = self._items[at[is_asked] + 1]
        rows, weight = share(lengths)
        own = torch.from_numpy(rows).to(device)
        at, is_asked = at[own], is_asked[own]
        following = at[is_asked] + 1
        return AskedEvents(
            seen=self._items[at],
            is_asked=is_asked,
            users=users[own],
            windows=is_asked.nonzero()[:, 0],
            targets=self._items[following],
            ages=self._ages[following],
            in_step=in_step,
            weight=weight,
        )
