"""Make small datasets from who chose what in which order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import grouped

Log = Sequence[Sequence[int]]


def dataset(
    log: Log,
    n_items: int,
    times_s: Log | None = None,
    values: Sequence[Sequence[float]] | None = None,
) -> Dataset:
    """Return a dataset; log: items by user, oldest first; times and ratings as they stand there."""
    users = np.repeat(np.arange(len(log)), [len(items) for items in log]).astype(np.int64)

    def flat(rows: Sequence[Sequence[float]], kind: type) -> np.ndarray:
        return np.array([each for row in rows for each in row], kind)

    events = grouped(
        users,
        flat(log, np.int64),
        len(log),
        None if times_s is None else flat(times_s, np.int64),
        None if values is None else flat(values, np.float32),
    )
    item_ids = tuple(map(str, range(n_items)))
    return Dataset("log", item_ids, tuple(f"u{each}" for each in range(len(log))), events)
