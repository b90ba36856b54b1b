"""Find the items that events name and the catalogue lacks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from freshet.contract.topics import item_vectors
from freshet.kafka_clients import KafkaSettings
from shared.kafka.records import records_of

_NUMBER: Final = re.compile(r"0*(\d+?)(?:\.0*)?")


class UnknownItem(NamedTuple):
    """An id that events name and no item has."""

    item_id: str
    events: int
    known: str  # an item whose id is only written otherwise; empty: none


async def catalogue_ids(settings: KafkaSettings, space: str) -> set[str]:
    """Return the ids of all items that are published and not deleted."""
    ids: set[str] = set()
    async for record in records_of(settings, item_vectors(space).name):
        item_id = record.key.decode()
        if record.value is None:
            ids.discard(item_id)
        else:
            ids.add(item_id)
    return ids


def unknown_items(events_of: Mapping[str, int], known: Iterable[str]) -> list[UnknownItem]:
    """Return the items that are not known, those with the most events first.

    events_of: events by item.
    """
    known = set(known)
    strangers = Counter({item: count for item, count in events_of.items() if item not in known})
    if not strangers:
        return []
    by_writing = {_as_written_plainly(item_id): item_id for item_id in known}
    return [
        UnknownItem(item_id, count, by_writing.get(_as_written_plainly(item_id), ""))
        for item_id, count in strangers.most_common()
    ]


def _as_written_plainly(item_id: str) -> str:
    """Return what ids have in common that tables write differently: `42.0`, `042` and ` 42`."""
    plain = item_id.strip().casefold()
    number = _NUMBER.fullmatch(plain)
    return number[1] if number else plain
