"""Make a log in which everybody chooses one kind of item, and contents that tell the kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from freshet.contract.items import Item
from services.training.content.contents import (
    DAY_ZERO,
    ItemContents,
    cache_folder,
    content_key,
)
from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, grouped

KINDS, ITEMS, USERS = 4, 48, 80
NEW = np.arange(ITEMS - 2 * KINDS, ITEMS)  # items that nobody chose, two of each kind
_COLOURS = ((220, 30, 30), (30, 220, 30), (30, 30, 220), (220, 220, 30))
_WORDS = ("war soldier", "love wedding", "robot space", "horse sheriff")


def kinds() -> np.ndarray:
    """Return each item's kind, (ITEMS,)."""
    return np.arange(ITEMS) % KINDS


def dataset(folder: Path) -> Dataset:
    """Return users who each choose old items of one kind, user u those of kind u % KINDS.

    folder: for posters in the colour of the kind.
    """
    rng = np.random.default_rng(0)
    lengths = rng.integers(6, 12, USERS)
    users = np.repeat(np.arange(USERS), lengths)
    old = (ITEMS - len(NEW)) // KINDS
    items = (
        np.concatenate([rng.choice(old, length, replace=True) for length in lengths]) * KINDS
        + users % KINDS
    )
    ids = tuple(map(str, range(ITEMS)))
    pictures = {}
    for item, kind in zip(ids, kinds(), strict=True):
        pictures[item] = folder / f"{item}.png"
        Image.new("RGB", (32, 32), _COLOURS[kind]).save(pictures[item])
    described = {
        item: Item(item_id=item, title=f"{_WORDS[kind]} {item}", categories=(f"k{kind}",))
        for item, kind in zip(ids, kinds(), strict=True)
    }
    events = grouped(users, items, USERS)
    people = tuple(f"u{each}" for each in range(USERS))
    return Dataset("planted", ids, people, events, described, {}, pictures)


def keep_contents(data: Dataset, *, told: bool = True) -> None:
    """Put contents where models look for them, so that no encoder has to run.

    told: whether they say of what kind an item is.
    """
    rng = np.random.default_rng(1)
    said = kinds() if told else rng.permutation(kinds())

    def vectors(columns: int) -> Floats:
        rows = 0.3 * rng.normal(size=(ITEMS, columns)) / np.sqrt(columns)
        rows += np.eye(KINDS, columns)[said]
        unit: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit

    everything = np.ones(ITEMS, bool)
    flags = np.zeros((ITEMS, 1), np.float32)
    ItemContents(vectors(24), vectors(16), vectors(12), everything, everything, flags).save(
        cache_folder() / f"{data.name}-{content_key(data, DAY_ZERO)}.npz"
    )


def asked() -> Histories:
    """Return the histories of one user of each kind, as many users as there are kinds."""
    rows = [[kind, kind + KINDS, kind + 2 * KINDS] for kind in range(KINDS)]
    users = np.repeat(np.arange(KINDS), 3)
    return grouped(users, np.array(rows).ravel(), KINDS)


def share_of_own_kind(scores: np.ndarray) -> float:
    """Return how much of the first two of the new items is of each user's kind; scores (KINDS, n).

    By chance it is a quarter.
    """
    first = NEW[np.argsort(-scores[:, NEW], axis=1, kind="stable")[:, :2]]
    return float((kinds()[first] == np.arange(KINDS)[:, None]).mean())
