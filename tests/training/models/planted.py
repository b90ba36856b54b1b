"""Make logs with something to find in them, and contents that tell of it.

Items are a ring of numbers in groups of ten; a user of group g chooses its items, each followed by
the next number of the group.
"""

from __future__ import annotations

import numpy as np

from services.training.content.contents import ItemContents
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, grouped

GROUPS = 3
OF_GROUP = 10
ITEMS = GROUPS * OF_GROUP


def log(users: int = 120, *, seed: int = 0, planted: bool = True, ratings: bool = False) -> Dataset:
    """Return histories of 3 to 8 events, in which users keep to a group, or of any items."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 9, users)
    rows = np.repeat(np.arange(users), lengths)
    steps = np.concatenate([np.arange(length) for length in lengths])
    first = np.repeat(rng.integers(0, OF_GROUP, users), lengths)
    items = rows % GROUPS * OF_GROUP + (first + steps) % OF_GROUP
    if not planted:
        items = rng.integers(0, ITEMS, len(rows))
    values = np.where((rows + items) % 2, 5.0, 1.0).astype(np.float32) if ratings else None
    names, people = tuple(map(str, range(ITEMS))), tuple(map(str, range(users)))
    told = {person: {"group": str(int(person) % GROUPS)} for person in people}
    times_s = 1_000_000 + 60 * steps
    events = grouped(rows, items, users, times_s, values)
    return Dataset("planted", names, people, events, attributes=told)


def contents(data: Dataset) -> ItemContents:
    """Return contents that tell of each item its group and its place on the ring."""
    numbers = np.arange(data.n_items)
    angles = 2 * np.pi * (numbers % OF_GROUP) / OF_GROUP
    group = np.eye(GROUPS, dtype=np.float32)[numbers // OF_GROUP]
    place = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    both: Floats = np.concatenate([group, place], axis=1)
    whole = both / np.float32(np.sqrt(2))
    there = np.ones(data.n_items, bool)
    return ItemContents(group, place, whole, there, there, group)


def histories(*rows: list[int], users: list[int] | None = None) -> Histories:
    """Return histories of these items, of nobody who is known unless users are named."""
    lengths = [len(row) for row in rows]
    items = np.array([item for row in rows for item in row], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    who = np.array(users if users is not None else [-1] * len(rows), np.int64)
    return Histories(who, starts, items, np.arange(len(items)))


def best_is_of(group: int, scores: np.ndarray, history: Histories) -> bool:
    """Say whether the item that is best beyond one's own is the group's."""
    scores = scores.copy()
    scores[history.items] = -np.inf
    return int(scores.argmax()) // OF_GROUP == group
