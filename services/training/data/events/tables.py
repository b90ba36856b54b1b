"""Read a folder of tables of one's own: interactions, what is known of items and of users.

`interactions.{csv,tsv,jsonl,parquet}`, and where there are any `items.*`, `users.*` and pictures in
`images/`; columns are what the import takes them for (docs/importing.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.users import User
from services.training.data.dataset import Dataset
from services.training.data.events.bulk import read_bulk
from services.training.data.events.log import EventLog, collect
from shared.inputs import convert
from shared.inputs.columns import IMAGE_FILE, Mapped, check_mapped, read_columns
from shared.inputs.convert import Reading
from shared.inputs.refusals import BadInput, located
from shared.inputs.rows import Fields, Table, open_table

INTERACTIONS, ITEMS, USERS = "interactions", "items", "users"
ENDINGS: Final = (
    *(".parquet", ".csv", ".tsv", ".jsonl", ".ndjson"),
    *(".csv.gz", ".csv.zst", ".tsv.gz", ".tsv.zst", ".jsonl.gz", ".jsonl.zst"),
)
PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class TableForm:
    """How tables are written, as far as they do not say it themselves."""

    reading: Reading = Reading()
    encoding: str | None = None  # of text; None: UTF-8, or as its first bytes tell

    @property
    def mapped(self) -> Mapped:
        """What columns are told to be."""
        return self.reading.mapped


AS_IT_SAYS: Final = TableForm()


def found(folder: Path, name: str) -> Path | None:
    """Return a folder's table of a name, whatever its ending."""
    paths = (folder / f"{name}{ending}" for ending in ENDINGS)
    return next((path for path in paths if path.exists()), None)


def read(folder: Path, form: TableForm = AS_IT_SAYS) -> Dataset:
    """Read the folder. Raises BadInput that says which file, where in it, and what is wrong."""
    interactions = found(folder, INTERACTIONS)
    if interactions is None:
        raise BadInput(f"{folder}: must hold interactions.csv, .tsv, .jsonl or .parquet")
    check_mapped(form.mapped, [_columns(file, form) for file in _files(folder)])
    log = read_events(interactions, form)
    data = log.dataset(folder.resolve().name)
    known = set(log.item_ids)
    items: dict[str, Item] = {}
    pictures: dict[str, Path] = {}
    if table := found(folder, ITEMS):
        for item, picture in _items(table, form):
            if item.item_id in known:
                items[item.item_id] = item
                if picture is not None:
                    pictures[item.item_id] = picture
    for item_id, path in _pictures(folder / "images").items():
        if item_id in known:
            pictures.setdefault(item_id, path)
    attributes = {}
    if table := found(folder, USERS):
        people = set(log.user_ids)
        said = {user.user_id: user.features for user in _users(table, form)}
        attributes = {user_id: each for user_id, each in said.items() if user_id in people}
    return replace(data, items=items, pictures=pictures, attributes=attributes)


def read_events(file: Path, form: TableForm = AS_IT_SAYS) -> EventLog:
    """Read a table of events, the same whether row by row or all at once. Raises BadInput."""
    with open_table(str(file), form.encoding) as table:
        reading = reading_of_events(table, form)
        log = read_bulk(file, table, reading) if form.encoding is None else None
        if log is None:  # row by row: what is wrong is then said with its place
            log = collect(_made(table, partial(convert.event_of, reading=reading)))
    if not len(log):
        raise BadInput(f"{file}: must hold events, has none")
    return log


def reading_of_events(table: Table, form: TableForm = AS_IT_SAYS) -> Reading:
    """Return how a table is read; events without a type are ratings, or clicks without a value."""
    columns = table.columns or ()
    with located(table.name):
        fields = read_columns(Event, columns, form.mapped).values()
    event_type = "rate" if "value" in fields else "click"
    return replace(form.reading, event_type=event_type).of_table(Event, table)


def _files(folder: Path) -> Iterator[Path]:
    for name in (INTERACTIONS, ITEMS, USERS):
        if (file := found(folder, name)) is not None:
            yield file


def _columns(file: Path, form: TableForm) -> tuple[str, ...] | None:
    with open_table(str(file), form.encoding) as table:
        return table.columns


def _items(file: Path, form: TableForm) -> Iterator[tuple[Item, Path | None]]:
    """Yield items without the bytes of their pictures, which models read when they need them."""
    images = file.parent

    def made(fields: Fields, reading: Reading) -> tuple[Item, Path | None]:
        columns = reading.columns or read_columns(Item, tuple(fields), reading.mapped)
        column = next((name for name, field in columns.items() if field == IMAGE_FILE), None)
        named = fields.pop(column, None) if column else None
        picture = None if named is None else convert.picture_path(images, str(named))
        return convert.item_of(fields, images, reading), picture

    with open_table(str(file), form.encoding) as table:
        yield from _made(table, partial(made, reading=form.reading.of_table(Item, table)))


def _users(file: Path, form: TableForm) -> Iterator[User]:
    with open_table(str(file), form.encoding) as table:
        reading = form.reading.of_table(User, table)
        yield from _made(table, partial(convert.user_of, reading=reading))


def _made(table: Table, make: Callable[[Fields], Made]) -> Iterator[Made]:
    for origin, read_row in table.rows:
        with located(origin):
            one = make(read_row())
        yield one


def _pictures(folder: Path) -> dict[str, Path]:
    """Return the pictures that bear an item's id, by it."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES}
