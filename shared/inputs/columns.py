"""Tell which field a table's column is; refuse what only looks like one (pure).

A column is a field by its name, by a name that people give it, or because `--map` says so. Any
other is further data, an attribute of the item or user or an entry of the event's context, unless
its name is near to a field that no column is: then what the file means would be lost.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Final

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.users import User
from shared.inputs.refusals import BadInput

Kind = type[Event] | type[Item] | type[User]
Mapped = tuple[tuple[str, str], ...]  # pairs of column and field, as --map gives them
IMAGE_FILE: Final = "image_file"
FURTHER: Final[Mapping[Kind, str]] = {
    Item: "attributes",
    Event: "context",
    User: "attributes",
}
NEAR: Final = 0.8  # difflib's ratio from which a name is a field's name misspelt

# Names that people give to fields, letter case and separators aside.
_ITEM_IDS: Final = "item product product_id sku article article_id movie_id film_id book_id"
_USER_IDS: Final = "user uid customer customer_id visitor visitor_id"
_UPDATED: Final = "updated updated_at modified modified_at last_modified"
_NAMES: Final[Mapping[Kind, Mapping[str, str]]] = {
    Item: {
        "item_id": f"id {_ITEM_IDS}",
        "title": "name item_name product_name product_title",
        "description": "desc product_description",
        "categories": "category genre genres",
        "tags": "tag keyword keywords",
        "image_file": "image_path",
        "image_uri": "image_url",
        "available_from_ms": "available_from",
        "available_until_ms": "available_until",
        "updated_ms": _UPDATED,
        "created_ms": "created created_at added added_at",
    },
    Event: {
        "user_id": _USER_IDS,
        "item_id": _ITEM_IDS,
        "type": "event event_type event_name action",
        "time_ms": "time timestamp ts date datetime event_time event_timestamp created_at",
        "value": "rating score",
        "session_id": "session user_session",
        "event_id": "id",
    },
    User: {
        "user_id": f"id {_USER_IDS}",
        "country": "country_code",
        "language": "lang",
        "segments": "segment",
        "updated_ms": _UPDATED,
    },
}
# Words of names that could be several fields, or a field in another form.
_UNCLEAR: Final[Mapping[Kind, Mapping[str, tuple[str, ...]]]] = {
    Item: {
        **dict.fromkeys(("image", "picture", "photo"), ("image_file", "image_uri")),
        "stock": ("in_stock",),
        "id": ("item_id",),
    },
    Event: {"id": ("user_id", "item_id")},
    User: {"id": ("user_id",)},
}
_NEEDED: Final[Mapping[Kind, tuple[str, ...]]] = {
    Item: ("item_id",),
    Event: ("user_id", "item_id", "type"),
    User: ("user_id",),
}
_PICTURE: Final[set[str | None]] = {"image_bytes", "image_file", "image_uri"}  # an item has one
_TIME_WORDS: Final = {"time", "date", "datetime", "timestamp", "ts", "at", "unixtime", "when"}
_WORD: Final = re.compile(r"[^\W\d_A-Z]+|[A-Z]+(?![a-z])|[A-Z][a-z]+")


def fields_of(kind: Kind) -> tuple[str, ...]:
    """Return the names of a kind's fields, `image_file` among those of items."""
    return (*kind.__struct_fields__, *((IMAGE_FILE,) if kind is Item else ()))


@lru_cache(maxsize=1024)  # JSONL names its columns anew in each line
def read_columns(kind: Kind, columns: tuple[str, ...], mapped: Mapped = ()) -> Mapping[str, str]:
    """Return the field of each column: `attributes.x` for further data, empty for one left out.

    Raises BadInput for names that say nothing clear, with the columns found and the remedy.
    """
    stated = dict(mapped)
    clear = {column: stated.get(column, _field(kind, column)) for column in columns}
    taken = set(clear.values())
    missing = set(fields_of(kind)) - taken - (_PICTURE if _PICTURE & taken else set())
    unclear = {
        column: near
        for column, field in clear.items()
        if field is None and (near := _near(kind, column, missing))
    }
    if unclear:
        raise BadInput(f"{_told(kind, unclear)} ({_found(columns)})")
    targets: dict[str, str] = {}
    for column, found in clear.items():
        field = f"{FURTHER[kind]}.{column}" if found is None else found
        if not _is_of(kind, field):
            raise BadInput(
                f"{_mapped(column, field)} must name one of "
                f"{', '.join(fields_of(kind))}; where one --map cannot serve all tables, "
                "import them one after the other"
            )
        if field in targets.values():
            first = next(name for name, target in targets.items() if target == field)
            raise BadInput(
                f"the columns {first!r} and {column!r} are both read as {field}: of one of them "
                f"{_ways_out(kind, column)}"
            )
        if field:
            targets[column] = field
    return targets


def check_complete(kind: Kind, columns: tuple[str, ...], found: Mapping[str, str]) -> None:
    """Check that a table's columns hold all that a row must have. Raises BadInput.

    found: the field of each column.
    """
    needed = _NEEDED[kind]
    if field := next((each for each in needed if each not in found.values()), None):
        types = "rate" if "value" in found.values() else "click"
        also = f"; or --type {types}, where all rows are of one" if field == "type" else ""
        free = [column for column in columns if "." in found.get(column, ".")]  # no field's
        near = difflib.get_close_matches(field, free, n=1, cutoff=0.5) or ["COLUMN"]
        raise BadInput(
            f"no column is {field}: name one, as in {_mapped(near[0], field)}{also} "
            f"({_found(columns)})"
        )


def check_mapped(mapped: Mapped, tables: Sequence[tuple[str, ...] | None]) -> None:
    """Check that each mapped column is in a table. Raises BadInput.

    tables: the columns of each; None where rows name their own, which nobody knows beforehand.
    """
    known = [column for columns in tables for column in columns or ()]
    for column, field in mapped:
        if column not in known and None not in tables:
            raise BadInput(f"{_mapped(column, field)} must name a column ({_found(known)})")


def parse_map(text: str) -> tuple[str, str]:
    """Parse COLUMN=FIELD; FIELD may be attributes.NAME, context.NAME, or empty to leave it out.

    Raises BadInput for anything else.
    """
    column, equals, field = text.rpartition("=")
    fields = (*fields_of(Event), *fields_of(Item), *fields_of(User))
    if not equals or not column:
        raise BadInput(f"--map must be COLUMN=FIELD, was {text!r}")
    if field and field not in fields and field.partition(".")[0] not in FURTHER.values():
        near = difflib.get_close_matches(field, fields, n=3, cutoff=0.5)
        known = ", ".join(dict.fromkeys(near or fields))
        raise BadInput(f"--map must name a field, such as {known}; was {text!r}")
    return column, field


def _is_of(kind: Kind, field: str) -> bool:
    return not field or field in fields_of(kind) or field.startswith(f"{FURTHER[kind]}.")


def _field(kind: Kind, column: str) -> str | None:
    if column.startswith(f"{FURTHER[kind]}."):
        return column
    return _known(kind).get(_folded(column))


def _near(kind: Kind, column: str, missing: Collection[str]) -> list[str]:
    """Return the missing fields that a name is near to: misspelt, among its words, or a time."""
    name = _folded(column)
    words = {_folded(word) for word in _WORD.findall(column)}
    unclear = _UNCLEAR[kind]
    long_enough = [each for each in _known(kind) if len(each) > 3]  # `uid` is not `id` misspelt
    misspelt = difflib.get_close_matches(name, long_enough, cutoff=NEAR)
    near = [_known(kind)[each] for each in misspelt]
    near += [field for each, field in _known(kind).items() if each in words - unclear.keys()]
    near += [field for each, fields in unclear.items() if each in words for field in fields]
    if words & _TIME_WORDS:
        near += [field for field in fields_of(kind) if field.endswith("_ms")]
    return [field for field in dict.fromkeys(near) if field in missing]


@lru_cache(maxsize=3)
def _known(kind: Kind) -> Mapping[str, str]:
    """Return the fields by all their names, folded."""
    known = {_folded(field): field for field in fields_of(kind)}
    for field, names in _NAMES[kind].items():
        known |= {_folded(name): field for name in names.split()}
    return known


def _folded(column: str) -> str:
    return re.sub(r"[\W_]+", "", column).casefold()


def _told(kind: Kind, unclear: Mapping[str, Sequence[str]]) -> str:
    """Tell which columns are near to which fields, and for the first what can be said of it."""
    each = [
        f"column {column!r} is no field, but near to {' or '.join(near)}"
        for column, near in unclear.items()
    ]
    column, near = next(iter(unclear.items()))
    meant = _mapped(column, near[0] if len(near) == 1 else "FIELD")
    return f"{'; '.join(each)}: {meant} says what it is, {_ways_out(kind, column)}"


def _mapped(column: str, field: str) -> str:
    return f"--map {shlex.quote(f'{column}={field}')}"


def _ways_out(kind: Kind, column: str) -> str:
    keep = f"{FURTHER[kind]}.{column}"
    return f"{_mapped(column, keep)} keeps it, {_mapped(column, '')} leaves it out"


def _found(columns: Sequence[str]) -> str:
    return f"columns found: {', '.join(columns)}"
