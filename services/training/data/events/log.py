"""Collect events, from wherever they are read, into a dataset's histories.

What says no to an item is left out: models learn what was chosen.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from freshet.contract.events import FORGET, Event
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints, grouped

# Types of events that choose nothing, or undo.
NO_CHOICE: Final = frozenset({"dislike", "hide", "remove", "unhide", "undislike", "refund", FORGET})

NONE: Final = -1  # stands for a time that an event has not


@dataclass(frozen=True, slots=True)
class EventLog:
    """Events in the order in which they were read, with tables of ids in alphabetical order."""

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    users: Ints  # (e,) numbers
    items: Ints  # (e,)
    times_ms: Ints | None = None  # (e,) None where an event has none
    values: Floats | None = None  # (e,) None where an event has none

    def __len__(self) -> int:
        """Return how many events there are."""
        return len(self.items)

    def histories(self) -> Histories:
        """Return the events by user, oldest first; of one time, in the order of reading."""
        order = np.argsort(self.users if self.times_ms is None else self.times_ms, kind="stable")
        return grouped(
            self.users[order],
            self.items[order],
            len(self.user_ids),
            None if self.times_ms is None else self.times_ms[order] // 1000,
            None if self.values is None else self.values[order],
        )

    def dataset(self, name: str) -> Dataset:
        """Return the dataset of these events, whose items and users nobody tells of yet."""
        return Dataset(name, self.item_ids, self.user_ids, self.histories())


class EventCollector:
    """Takes events one by one; those of a user before a `forget` never were."""

    def __init__(self) -> None:
        self._user_numbers: dict[str, int] = {}
        self._item_numbers: dict[str, int] = {}
        self._forgotten: dict[int, int] = {}  # events until then, by number of the user
        self._users, self._items, self._times_ms = array("q"), array("q"), array("q")
        self._values = array("f")

    def add(self, event: Event) -> None:
        """Take an event."""
        if event.type == FORGET and (user := self._user_numbers.get(event.user_id)) is not None:
            self._forgotten[user] = len(self._users)
        if event.type in NO_CHOICE or not event.item_id:
            return
        numbers = self._user_numbers
        self._users.append(numbers.setdefault(event.user_id, len(numbers)))
        numbers = self._item_numbers
        self._items.append(numbers.setdefault(event.item_id, len(numbers)))
        self._times_ms.append(NONE if event.time_ms is None else event.time_ms)
        self._values.append(float("nan") if event.value is None else event.value)

    def log(self) -> EventLog:
        """Return what was taken; times and values only where every event has one."""
        users, items = np.asarray(self._users), np.asarray(self._items)
        times_ms, values = np.asarray(self._times_ms), np.asarray(self._values)
        until = np.zeros(len(self._user_numbers), np.int64)
        until[list(self._forgotten)] = list(self._forgotten.values())
        kept = np.flatnonzero(np.arange(len(users)) >= until[users])
        users, items, times_ms, values = users[kept], items[kept], times_ms[kept], values[kept]
        user_ids, users = _in_order(self._user_numbers, users)
        item_ids, items = _in_order(self._item_numbers, items)
        return EventLog(
            user_ids,
            item_ids,
            users,
            items,
            None if (times_ms == NONE).any() else times_ms,
            None if np.isnan(values).any() else values,
        )


def collect(events: Iterable[Event]) -> EventLog:
    """Collect events one by one."""
    collector = EventCollector()
    for event in events:
        collector.add(event)
    return collector.log()


def _in_order(numbers: Mapping[str, int], events: Ints) -> tuple[tuple[str, ...], Ints]:
    """Return the ids that events have, in alphabetical order, and the events' places in it."""
    names = np.array([*numbers, ""], object)[:-1]
    used = np.unique(events)
    order = used[np.argsort(names[used], kind="stable")]
    places = np.empty(len(numbers), np.int64)
    places[order] = np.arange(len(order))
    return tuple(names[order].tolist()), places[events]
