"""Take a split as a folder has it: what to choose by and to test on are tables of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from freshet.contract.events import Event
from services.training.data.dataset import Dataset
from services.training.data.events import tables
from services.training.data.histories import Histories, Ints
from services.training.data.splits import Asked, Split, nobody_asked
from shared.inputs import convert
from shared.inputs.refusals import BadInput
from shared.inputs.rows import open_table

GIVEN: Final = "given"
VALIDATION, TEST = "validation", "test"  # .csv and so on, beside `interactions`


def given(data: Dataset, folder: Path) -> Split:
    """Learn from `interactions.*`, choose by `validation.*` where there is one, test on `test.*`.

    Each user of a table is asked for the first event there, by what is learnt. Raises BadInput,
    also for a user or an item that only such a table has: where it stands.
    """
    files = {name: tables.found(folder, name) for name in (VALIDATION, TEST)}
    if (test := files[TEST]) is None:
        raise BadInput(f"{folder}: the split {GIVEN} needs test.csv, .tsv, .jsonl or .parquet")
    validation = files[VALIDATION]
    return Split(
        GIVEN,
        data,
        nobody_asked(data) if validation is None else _asked(data, validation),
        _asked(data, test),
    )


def _asked(data: Dataset, file: Path) -> Asked:
    log = tables.read_events(file)
    users = _numbers(log.user_ids, data.user_ids, file, "user_id")
    items = _numbers(log.item_ids, data.item_ids, file, "item_id")
    events: Histories = log.histories()
    order = np.argsort(users)
    return Asked(data.events.take(users[order]), items[events.items[events.starts[:-1]]][order])


def _numbers(ids: Sequence[str], known: Sequence[str], file: Path, field: str) -> Ints:
    """Return the dataset's number of each id. Raises BadInput for one that it has not."""
    numbers = {each: number for number, each in enumerate(known)}
    for each in ids:
        if each not in numbers:
            where = _place_of(file, field, each)
            raise BadInput(
                f"{where}: {field} must be one that interactions have, as nothing is learnt of any"
                f" other, was {each}"
            )
    return np.array([numbers[each] for each in ids], np.int64)


def _place_of(file: Path, field: str, wanted: str) -> str:
    """Return where an id stands first."""
    with open_table(str(file)) as table:
        reading = tables.reading_of_events(table)
        for origin, read_row in table.rows:
            event: Event = convert.event_of(read_row(), reading)
            if getattr(event, field) == wanted:
                return origin
    return str(file)
