"""Tell those who were asked apart: by how much is known of them, and by what they chose next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.training.data.dataset import Dataset
from services.training.data.histories import Ints
from services.training.data.splits import Asked

LENGTHS: Final = (0, 20, 50, 100, 200)  # events known, the last of each segment
FIFTHS: Final = ("rarest fifth", "rare", "middle", "popular", "most popular fifth")
AGES_DAYS: Final = (7, 30, 90, 365)
YEARS: Final = (1960, 1970, 1980, 1990, 1995, 2000)
DAY_S: Final = 86_400

Rows = NDArray[np.int64]


def segments(asked: Asked, learnt: Dataset) -> dict[str, dict[str, Rows]]:
    """Return rows of those asked, by what tells them apart, then by segment in its order.

    history: how many events are known; item_popularity: how often the target was chosen in
    training, in fifths of those asked; item_age: how long before the user's newest known event it
    was first chosen there, where there are times; item_year: where items have a `year`.
    """
    of_all = {
        "history": _by_length(asked),
        "item_popularity": _by_popularity(asked, learnt),
        "item_age": _by_age(asked, learnt),
        "item_year": _by_year(asked, learnt),
    }
    return {
        by: rows_of
        for by, labels in of_all.items()
        if (rows_of := {name: rows for name, rows in labels.items() if len(rows)})
    }


def _by_length(asked: Asked) -> Mapping[str, Rows]:
    return _cut(asked.histories.lengths, LENGTHS, "over {}", first="0")


def _by_popularity(asked: Asked, learnt: Dataset) -> Mapping[str, Rows]:
    counts = learnt.counts()[asked.targets]
    if not len(counts):
        return {}
    bounds = np.quantile(counts, np.arange(1, len(FIFTHS)) / len(FIFTHS), method="lower")
    fifths = np.searchsorted(bounds, counts)  # equal counts stay together
    return {name: np.flatnonzero(fifths == at) for at, name in enumerate(FIFTHS)}


def _by_age(asked: Asked, learnt: Dataset) -> Mapping[str, Rows]:
    if asked.histories.times_s is None or learnt.events.times_s is None:
        return {}
    never = np.iinfo(np.int64).max
    first_s = np.full(learnt.n_items, never)
    np.minimum.at(first_s, learnt.events.items, learnt.events.times_s)
    known = np.flatnonzero(asked.histories.lengths)
    now_s = asked.histories.times_s[asked.histories.starts[1:][known] - 1]
    born_s = first_s[asked.targets[known]]
    seen = born_s < never
    days = np.maximum(now_s[seen] - born_s[seen], 0) // DAY_S
    by_days = _cut(days, AGES_DAYS, "over {} days", first=f"up to {AGES_DAYS[0]} days")
    named = {name: known[seen][rows] for name, rows in by_days.items()}
    return {"never learnt": known[~seen], **named}


def _by_year(asked: Asked, learnt: Dataset) -> Mapping[str, Rows]:
    years = np.array(
        [
            year
            if item in learnt.items
            and isinstance(year := learnt.items[item].attributes.get("year"), float)
            else np.nan
            for item in learnt.item_ids
        ]
    )[asked.targets]
    told = np.flatnonzero(~np.isnan(years))
    by_year = _cut(years[told], YEARS, "after {}", first=f"until {YEARS[0]}")
    return {name: told[rows] for name, rows in by_year.items()}


def _cut(
    numbers: Ints | NDArray[np.float64], ends: Sequence[int], last: str, first: str
) -> dict[str, Rows]:
    """Return the rows of numbers up to each end, and beyond the last of them."""
    between = [f"{low + 1}-{high}" for low, high in zip(ends, ends[1:], strict=False)]
    at = np.searchsorted(ends, numbers)
    names = [first, *between, last.format(ends[-1])]
    return {name: np.flatnonzero(at == which) for which, name in enumerate(names)}
