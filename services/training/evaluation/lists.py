"""Say what lists are like beside being right: coverage, novelty, diversity, popularity.

Legend: u users; k places of a list; i items of the catalogue; c categories.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats, Histories, Ints

Flags = NDArray[np.float32]


def first_items(scores: Floats, k: int) -> Ints:
    """Return the k best items, best first: (u, i) → (u, k); of equals, the lower number first."""
    k = min(k, scores.shape[1])
    some = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    some.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def coverage(lists: Ints, n_items: int) -> float:
    """Return which share of the catalogue stands in any list."""
    return len(np.unique(lists)) / n_items


def counts_of_users(events: Histories, n_items: int) -> Ints:
    """Return how many users chose each item, (i,); who chose it twice counts once."""
    pairs = np.unique(events.rows() * n_items + events.items)
    return np.bincount(pairs % n_items, minlength=n_items)


def novelty(lists: Ints, chosen_by: Ints, users: int) -> float:
    """Return how surprising the listed items are: the mean of -log2 of who chose each, in bits.

    chosen_by: (i,) of so many users. An item that nobody chose counts as if one had.
    """
    bits = -np.log2(np.maximum(chosen_by, 1) / max(users, 1))
    return float(bits[lists].mean())


def popularity_bias(lists: Ints, histories: Histories, chosen_by: Ints) -> float:
    """Return how much more popular the listed items are than those that users chose themselves.

    The mean over users' lists, over that over their histories: 1 is none, 2 twice as popular. Users
    without events count in neither.
    """
    some = histories.lengths > 0
    if not some.any():
        return float("nan")
    own = np.bincount(histories.rows(), chosen_by[histories.items], len(histories))
    own_mean = (own[some] / histories.lengths[some]).mean()
    return float(chosen_by[lists[some]].mean() / own_mean)


def category_flags(data: Dataset) -> Flags:
    """Return which categories each item has, (i, c)."""
    of_items = [data.items[item].categories if item in data.items else () for item in data.item_ids]
    column = {name: at for at, name in enumerate(sorted({each for of in of_items for each in of}))}
    flags = np.zeros((len(of_items), len(column)), np.float32)
    for row, categories in enumerate(of_items):
        flags[row, [column[each] for each in categories]] = 1
    return flags


def diversity(lists: Ints, flags: Flags) -> float:
    """Return how little two items of a list have in common: 1 - Jaccard of their categories.

    flags: (i, c). The mean over pairs and lists; items without categories are as far as can be.
    """
    k = lists.shape[1]
    if k < 2:
        return 0.0
    listed = flags[lists]  # (u, k, c)
    both = listed @ listed.transpose(0, 2, 1)  # (u, k, k) categories in common
    sizes = listed.sum(axis=2)
    either = sizes[:, :, None] + sizes[:, None, :] - both
    alike = both / np.maximum(either, 1)
    above = np.triu_indices(k, 1)
    return float(1 - alike[:, above[0], above[1]].mean())
