"""Split at moments that hold for everybody: what happened later is neither learnt nor known."""

from __future__ import annotations

from typing import Final

import numpy as np

from services.training.data.dataset import Dataset
from services.training.data.histories import Ints
from services.training.data.splits import Asked, Split
from shared.inputs.refusals import BadInput

CHOSEN_FROM: Final = 0.8  # of all events, those that are learnt from
TESTED_FROM: Final = 0.9


def global_time(data: Dataset, seed: int = 0) -> Split:
    """Learn until one moment, choose by what users did first after it, test likewise later.

    The moments are those of four fifths and nine tenths of all events; what happened at a moment
    is before it. Users may be asked of whom nothing is known yet. Raises BadInput without times.
    """
    times_s = _times_of(data)
    choose_s, test_s = np.quantile(times_s, [CHOSEN_FROM, TESTED_FROM], method="lower").tolist()
    return Split(
        "global-time",
        data.with_events(data.events.kept(times_s <= choose_s)),
        _first_after(data, times_s, choose_s, until_s=test_s),
        _first_after(data, times_s, test_s, until_s=int(times_s.max())),
    )


def earliest(data: Dataset, share: float) -> Dataset:
    """Return the dataset as it was when that share of all events had happened, 0 to 1.

    What shares its moment with the first of the others is left out, too, so that whoever replays
    the rest meets nothing that was learnt from. Raises BadInput without times.
    """
    times_s = _times_of(data)
    count = int(share * len(times_s))
    if count == len(times_s):
        return data
    return data.with_events(data.events.kept(times_s < np.partition(times_s, count)[count]))


def _times_of(data: Dataset) -> Ints:
    if data.events.times_s is None:
        raise BadInput(
            f"{data.name}: a split by time needs events with times, has their order only"
        )
    return data.events.times_s


def _first_after(data: Dataset, times_s: Ints, moment_s: int, *, until_s: int) -> Asked:
    """Ask each user with an event after a moment for the first of them."""
    events = data.events
    before = np.bincount(events.rows()[times_s <= moment_s], minlength=len(events))
    rows = np.flatnonzero(before < events.lengths)
    next_event = (events.starts[:-1] + before)[rows]
    in_time = times_s[next_event] <= until_s
    return Asked(
        events.first(before).take(rows[in_time]),
        events.items[next_event[in_time]],
    )
