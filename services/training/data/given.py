"""Take a split as a folder has it: what to choose by and to test on are tables of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from freshet.contract.events import Event
from services.training.data.dataset import Dataset
from services.training.data.events import tables
from services.training.data.events.tables import AS_IT_SAYS, TableForm
from services.training.data.histories import Histories, Ints
from services.training.data.splits import Asked, Split, nobody_asked
from shared.inputs import convert
from shared.inputs.refusals import BadInput
from shared.inputs.rows import open_table

GIVEN: Final = "given"
VALIDATION, TEST = "validation", "test"  # .csv and so on, beside `interactions`


def given(data: Dataset, folder: Path, form: TableForm = AS_IT_SAYS) -> Split:
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
        nobody_asked(data) if validation is None else _asked(data, validation, form),
        _asked(data, test, form),
    )


def _asked(data: Dataset, file: Path, form: TableForm) -> Asked:
    log = tables.read_events(file, form)
    place_of = partial(_place_of, file, form)
    users = _numbers(log.user_ids, data.user_ids, "user_id", place_of)
    items = _numbers(log.item_ids, data.item_ids, "item_id", place_of)
    events: Histories = log.histories()
    order = np.argsort(users)
    return Asked(data.events.take(users[order]), items[events.items[events.starts[:-1]]][order])


def _numbers(
    ids: Sequence[str], known: Sequence[str], field: str, place_of: Callable[[str, str], str]
) -> Ints:
    """Return the dataset's number of each id. Raises BadInput for one that it has not."""
    numbers = {each: number for number, each in enumerate(known)}
    for each in ids:
        if each not in numbers:
            raise BadInput(
                f"{place_of(field, each)}: {field} must be one that interactions have, as nothing"
                f" is learnt of any other, was {each}"
            )
    return np.array([numbers[each] for each in ids], np.int64)


def _place_of(file: Path, form: TableForm, field: str, wanted: str) -> str:
    """Return where an id stands first."""
    with open_table(str(file), form.encoding) as table:
        reading = tables.reading_of_events(table, form)
        for origin, read_row in table.rows:
            event: Event = convert.event_of(read_row(), reading)
            if getattr(event, field) == wanted:
                return origin
    return str(file)
