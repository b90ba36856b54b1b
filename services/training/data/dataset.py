"""Hold what is learnt from: events of users, what is known of items and of the users themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from freshet.contract.items import Item
from services.training.data.histories import Histories, Ints

Attributes = Mapping[str, str | float | bool]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Events by user, with the tables that numbers point into."""

    name: str
    item_ids: tuple[str, ...]  # number → id
    user_ids: tuple[str, ...]
    events: Histories  # row r is user r
    items: Mapping[str, Item] = field(default_factory=dict)  # by id, where a table tells of it
    attributes: Mapping[str, Attributes] = field(default_factory=dict)  # by user id
    pictures: Mapping[str, Path] = field(default_factory=dict)  # by item id

    @property
    def n_items(self) -> int:
        """Return how many items there are; numbers run from 0."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """Return how many users there are; numbers run from 0."""
        return len(self.user_ids)

    def counts(self) -> Ints:
        """Return how often each item was chosen, (n_items,)."""
        return np.bincount(self.events.items, minlength=self.n_items)

    def with_events(self, events: Histories) -> Dataset:
        """Return the same tables with other events."""
        return replace(self, events=events)
