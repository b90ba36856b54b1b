"""Split events into what a model learns from, what it is chosen by, and what it is tested on.

A model is handed `Split.train` and asked by `Asked`: no later event can reach it by accident, as
none is in either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.training.data.dataset import Dataset
from services.training.data.histories import Histories, Ints


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked, what is known of each by then, and the item that came next."""

    histories: Histories  # u users
    targets: Ints  # (u,) numbers of items
    among: NDArray[np.bool_] | None = None  # (i,) which items are ranked, None: all

    def __len__(self) -> int:
        """Return how many users are asked."""
        return len(self.targets)

    def take(self, rows: Ints) -> Asked:
        """Return some of the users, in this order."""
        return Asked(self.histories.take(rows), self.targets[rows], self.among)


@dataclass(frozen=True, slots=True)
class Split:
    """A dataset in parts that share no event that comes later than what it is used for."""

    name: str
    train: Dataset
    validation: Asked
    test: Asked
    parts: Mapping[str, Asked] = field(default_factory=dict)  # what else is tested, by name


def nobody_asked(data: Dataset) -> Asked:
    """Return that nobody is asked."""
    nobody = np.empty(0, np.int64)
    return Asked(data.events.take(nobody), nobody)


def leave_last_out(data: Dataset) -> Split:
    """Learn from all but each user's last two events, choose on the second last, test on the last.

    The strict form: the test's histories reach up to the second last event, but no model learns
    from that. Users with fewer than three events are learnt from and not asked.
    """
    events = data.events
    asked = np.flatnonzero(events.lengths >= 3)
    learnt = np.where(events.lengths >= 3, events.lengths - 2, events.lengths)
    some = events.take(asked)
    last = some.starts[1:] - 1
    return Split(
        "leave-last-out",
        data.with_events(events.first(learnt)),
        Asked(some.without_last(2), some.items[last - 1]),
        Asked(some.without_last(1), some.items[last]),
    )
