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


def collect(events: Iterable[Event]) -> EventLog:
    """Collect events one by one."""
    user_numbers: dict[str, int] = {}
    item_numbers: dict[str, int] = {}
    users, items, times_ms, values = array("q"), array("q"), array("q"), array("f")
    for event in events:
        if event.type in NO_CHOICE or not event.item_id:
            continue
        users.append(user_numbers.setdefault(event.user_id, len(user_numbers)))
        items.append(item_numbers.setdefault(event.item_id, len(item_numbers)))
        if event.time_ms is not None:
            times_ms.append(event.time_ms)
        if event.value is not None:
            values.append(event.value)
    of_user, of_item = _renumbered(user_numbers), _renumbered(item_numbers)
    return EventLog(
        tuple(sorted(user_numbers)),
        tuple(sorted(item_numbers)),
        of_user[np.asarray(users)],
        of_item[np.asarray(items)],
        np.asarray(times_ms) if len(times_ms) == len(users) else None,
        np.asarray(values) if len(values) == len(users) else None,
    )


def _renumbered(numbers: Mapping[str, int]) -> Ints:
    """Return each number's place in the alphabetical order of what it stands for."""
    places = np.empty(len(numbers), np.int64)
    for place, name in enumerate(sorted(numbers)):
        places[numbers[name]] = place
    return places
