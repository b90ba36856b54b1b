"""Write the demo shop as tables that `freshet train` and `freshet import files` read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from freshet.contract.events import encode_event
from services.cli.demo import catalogue, shoppers
from shared.inputs.columns import IMAGE_FILE

ITEMS = "items.jsonl"
EVENTS = "interactions.jsonl"
IMAGES = "images"


def write_tables(folder: Path, now_ms: int) -> None:
    """Write items, their pictures and what shoppers did in the weeks before the demo's days.

    Whom the demo asks for lists is not among them. Raises OSError.
    """
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    items = list(catalogue.items(now_ms))
    with (folder / ITEMS).open("wb") as file:
        for item in items:
            assert item.image_bytes is not None
            picture = f"{IMAGES}/{item.item_id}.jpg"
            (folder / picture).write_bytes(item.image_bytes)
            told = msgspec.to_builtins(msgspec.structs.replace(item, image_bytes=None))
            file.write(msgspec.json.encode({**told, IMAGE_FILE: picture}) + b"\n")
    with (folder / EVENTS).open("wb") as file:
        for event in shoppers.earlier_events(items, now_ms):
            file.write(encode_event(event) + b"\n")
