"""Turn a table's rows into events and items (pure but for pictures named by `image_file`).

Columns are the contract's field names, their values in every form that the contract reads
(freshet/contract/forms.py). A list in one cell is `one|two`, and any further column becomes an
attribute of the item, or an entry of the event's context.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from freshet.contract import forms
from freshet.contract.events import Event
from freshet.contract.events import check as check_event
from freshet.contract.items import Item, check_item
from services.cli.inputs.rows import BadInput, Fields

IMAGE_FILE: Final = "image_file"
_LISTS: Final = ("categories", "tags")


def item_of(fields: Fields, folder: Path) -> Item:
    """Make an item; `image_file` is read from beside the table. Raises BadInput or BadRecord."""
    named = fields.pop(IMAGE_FILE, None)
    known = {name: _list(value) if name in _LISTS else value for name, value in fields.items()}
    if named is not None:
        known["image_bytes"] = _picture(folder / str(named))
    item = forms.read(Item, known, further="attributes")
    check_item(item)
    return item


def event_of(fields: Fields) -> Event:
    """Make an event. Raises BadRecord."""
    event = forms.read(Event, fields, further="context")
    check_event(event)
    return event


def _list(value: Any) -> Any:
    """Split what one cell holds."""
    if isinstance(value, str):
        return [part.strip() for part in value.split("|") if part.strip()]
    return value


def _picture(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{IMAGE_FILE} {path}: {error.strerror}") from None
