"""Turn a table's rows into events, items and users (pure but for pictures that `image_file` names).

docs/importing.md says what is read as what.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from freshet.contract import forms
from freshet.contract.events import Event
from freshet.contract.events import check as check_event
from freshet.contract.items import Item, check_item
from freshet.contract.users import User, check_user
from shared.inputs import cells
from shared.inputs.columns import (
    FURTHER,
    IMAGE_FILE,
    Kind,
    Mapped,
    check_complete,
    read_columns,
)
from shared.inputs.refusals import BadInput, located
from shared.inputs.rows import Fields, Table

_LISTS: Final = ("categories", "tags", "segments")
_DECIMALS: Final = ("price", "value")


@dataclass(frozen=True, slots=True)
class Reading:
    """How rows are to be read: what the command line says, and what holds for their table."""

    mapped: Mapped = ()
    time_unit: str | None = None  # of numbers; None: as the column's name or the number tells
    event_type: str | None = None  # of events where no column says it
    columns: Mapping[str, str] | None = None  # the table's; None: each row names its own
    typed: bool = True  # else all values are text, as in CSV
    decimal_comma: bool = False  # as Excel writes numbers where semicolons separate

    @property
    def fields(self) -> frozenset[str]:
        """The fields that a table's columns are."""
        return frozenset((self.columns or {}).values())

    def of_table(self, kind: Kind, table: Table) -> Reading:
        """Return how this table is to be read. Raises BadInput if its columns do not say enough."""
        if table.columns is None:
            return self
        with located(table.name):
            columns = read_columns(kind, table.columns, self.mapped)
            stated = {"--type": "type"} if self.event_type else {}
            check_complete(kind, table.columns, {**columns, **stated})
        comma = table.delimiter == ";"
        return replace(self, columns=columns, typed=table.typed, decimal_comma=comma)


def item_of(fields: Fields, images: Path | None, reading: Reading) -> Item:
    """Make an item; `image_file` is read from below a folder. Raises BadInput or BadRecord.

    images: that folder, None where there is none.
    """
    known = _read(fields, Item, reading)
    if (named := known.pop(IMAGE_FILE, None)) is not None:
        known["image_bytes"] = _picture(images, named)
    item = forms.read(Item, known)
    check_item(item)
    return item


def event_of(fields: Fields, reading: Reading) -> Event:
    """Make an event. Raises BadInput or BadRecord."""
    known = _read(fields, Event, reading)
    if reading.event_type is not None:
        known.setdefault("type", reading.event_type)
    event = forms.read(Event, known)
    check_event(event)
    return event


def user_of(fields: Fields, reading: Reading) -> User:
    """Make a user. Raises BadInput or BadRecord."""
    user = forms.read(User, _read(fields, User, reading))
    check_user(user)
    return user


def _read(fields: Fields, kind: Kind, reading: Reading) -> Fields:
    """Read each column's value, so that what is refused is named as the table names it."""
    columns = reading.columns or read_columns(kind, tuple(fields), reading.mapped)
    further_field = FURTHER[kind]
    known: Fields = {}
    further: Fields = {}
    for column, value in fields.items():
        field = columns.get(column, "")
        called = column if column == field else f"{column} ({field})"
        if field == further_field:
            _add(further, cells.mapping(called, value))
        elif field.startswith(f"{further_field}."):
            guess = kind is not Event and not reading.typed  # entries of a context are text
            name = field.removeprefix(f"{further_field}.")
            _add(further, {name: cells.guessed(value) if guess else value})
        elif field.endswith("_ms"):
            unit = reading.time_unit or ("ms" if column.lower().endswith("ms") else None)
            known[field] = cells.time_ms(called, value, unit)
        elif field == IMAGE_FILE:
            known[field] = forms.read_text(called, value)
        elif field:
            if field in _LISTS:
                value = cells.split(called, value)
            elif field in _DECIMALS and reading.decimal_comma:
                value = cells.with_point(value)
            known[field] = forms.read_field(kind, field, value, called)
    return {**known, further_field: further}


def _add(further: Fields, new: Fields) -> None:
    for name in new.keys() & further.keys():
        raise BadInput(f"{name!r} must be given once, by a column or by JSON, was given twice")
    further |= new


def picture_path(images: Path | None, named: str) -> Path:
    """Return where a picture is that a table names, of which the operator need not be the author.

    images: the folder that it must be in. Raises BadInput for one that is not there.
    """
    if images is None:
        raise BadInput(f"{IMAGE_FILE} must be below a folder that --images names, was {named!r}")
    path = images / named
    try:
        real = path.resolve()
        outside = not real.is_relative_to(images.resolve())
        if not outside and real.is_file():  # a pipe would be waited for
            return real
        missing = not outside and not real.exists()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, no name of a file
        raise _unreadable(path, error) from None
    if missing:
        raise _unreadable(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    where = f"below {images} (--images names another folder)" if outside else "with a picture"
    raise BadInput(f"{IMAGE_FILE} must be a file {where}, was {path}, which is {real}")


def _picture(images: Path | None, named: str) -> bytes:
    path = picture_path(images, named)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> BadInput:
    told = error.strerror if isinstance(error, OSError) else error
    return BadInput(f"{IMAGE_FILE} must be a readable file, was {path}: {told}")
