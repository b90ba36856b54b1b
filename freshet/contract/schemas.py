"""Write JSON Schemas of what apps publish: python -m freshet.contract.schemas FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import msgspec

from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.offers import Offer
from freshet.contract.users import User

SCHEMAS: Final = {"event": Event, "item": Item, "offer": Offer, "user": User}


def write(folder: Path) -> None:
    """Write `NAME.schema.json` for each message into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, struct in SCHEMAS.items():
        root = msgspec.json.schema(struct)["$defs"][struct.__name__]
        whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **root}
        text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{name}.schema.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
