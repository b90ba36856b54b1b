"""Turn a table's rows into events and items (pure but for pictures named by `image_file`).

Columns are the contract's field names. What a table cannot hold is written so: lists as
`one|two`, times as milliseconds or as ISO 8601, and any further column becomes an attribute of
the item, or an entry of the event's context.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from freshet.contract.events import Event
from freshet.contract.events import check as check_event
from freshet.contract.items import Item, check_item
from freshet.contract.records import shorten
from services.cli.inputs.rows import BadInput, Fields

T = TypeVar("T", bound=msgspec.Struct)
IMAGE_FILE: Final = "image_file"
_LISTS: Final = ("categories", "tags")
_NUMBERS: Final = ("price", "value", "position")
_TIMES: Final = ("time_ms", "available_from_ms", "available_until_ms", "updated_ms")
_YES_OR_NO: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def item_of(fields: Fields, folder: Path) -> Item:
    """Make an item; `image_file` is read from beside the table. Raises BadInput or BadRecord."""
    named = fields.pop(IMAGE_FILE, None)
    known, further = _split(fields, Item)
    if named is not None:
        known["image_bytes"] = _picture(folder / str(named))
    if further:
        attributes = known.setdefault("attributes", {})
        attributes |= {name: _attribute(name, value) for name, value in further.items()}
    item = _convert(known, Item)
    check_item(item)
    return item


def event_of(fields: Fields) -> Event:
    """Make an event. Raises BadInput or BadRecord."""
    known, further = _split(fields, Event)
    if further:
        known["context"] = known.get("context", {}) | {
            name: str(value) for name, value in further.items()
        }
    event = _convert(known, Event)
    check_event(event)
    return event


def _split(fields: Fields, kind: type[msgspec.Struct]) -> tuple[Fields, Fields]:
    """Parse the known columns' texts; return the known and the further columns."""
    known = {name: value for name, value in fields.items() if name in kind.__struct_fields__}
    further = {name: value for name, value in fields.items() if name not in known}
    for names, parse in _PARSERS:
        for name in names:
            if name in known:
                known[name] = parse(name, known[name])
    for name in ("user_id", "item_id"):
        if isinstance(known.get(name), int):
            known[name] = str(known[name])
    return known, further


def _convert(known: Fields, kind: type[T]) -> T:
    try:
        return msgspec.convert(known, kind)
    except msgspec.ValidationError as error:
        raise BadInput(str(error)) from None


def _list(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split("|") if part.strip()]
    return value


def _number(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        raise BadInput(f"{name} must be a number, was {shorten(value)}") from None
    return int(number) if number.is_integer() else number


def _time(name: str, value: Any) -> Any:
    """Read milliseconds, an ISO 8601 text or a date-time; without a zone it is UTC."""
    if isinstance(value, str):
        if value.isdecimal():
            return int(value)
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            raise BadInput(
                f"{name} must be milliseconds since 1970 or ISO 8601, was {shorten(value)}"
            ) from None
    if isinstance(value, datetime.datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return round(zoned.timestamp() * 1000)
    return value


def _flag(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() not in _YES_OR_NO:
        raise BadInput(f"{name} must be true or false, was {shorten(value)}")
    return _YES_OR_NO[value.lower()]


def _attribute(name: str, value: Any) -> str | float | bool:
    if isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    raise BadInput(f"{name} must be text, a number or true/false, was {type(value).__name__}")


def _picture(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{IMAGE_FILE} {path}: {error.strerror}") from None


_PARSERS: Final[tuple[tuple[Iterable[str], Callable[[str, Any], Any]], ...]] = (
    (_LISTS, _list),
    (_NUMBERS, _number),
    (_TIMES, _time),
    (("in_stock",), _flag),
)
