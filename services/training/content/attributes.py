"""Make columns of what a table says of items: flags of categories and tags, numbers scaled."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import Floats

FLAGS_AT_MOST: Final = 64  # the most frequent; the text says the others


def attributes_of(data: Dataset) -> Floats:
    """Return (n, a) columns, the same for the same table; zero is what is not known."""
    rows = [data.items.get(item_id) for item_id in data.item_ids]
    said = [() if row is None else (*row.categories, *row.tags) for row in rows]
    counts = Counter(label for labels in said for label in set(labels))
    flags = [label for label, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]
    columns = [
        np.array([label in labels for labels in said], np.float32)
        for label in flags[:FLAGS_AT_MOST]
    ]
    numbers = sorted(
        {
            name
            for row in rows
            if row is not None
            for name, value in row.attributes.items()
            if isinstance(value, float)
        }
    )
    for name in numbers:
        values = np.array([_number(row and row.attributes.get(name)) for row in rows], np.float32)
        known = np.isfinite(values)
        spread = float(values[known].std()) or 1.0
        columns.append(np.where(known, (values - values[known].mean()) / spread, 0))
    return (
        np.stack(columns, axis=1).astype(np.float32)
        if columns
        else np.zeros((len(rows), 0), np.float32)
    )


def _number(value: object) -> float:
    return value if isinstance(value, float) else np.nan
