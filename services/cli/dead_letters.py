"""Read `dead-letters`, and publish the originals again."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import TopicPartition
from google.protobuf.message import DecodeError, Message

from freshet import kafka_clients
from freshet.contract import records
from freshet.contract.records import BadRecord, Origin, header, origin_of, replay_of
from freshet.contract.topics import CLICKS, DEAD_LETTERS, ITEMS, ITEMS_BACKFILL, OFFERS
from freshet.kafka_clients import KafkaSettings
from freshet.prefix import PREFIX
from freshet.v1.event_pb2 import Event
from freshet.v1.item_pb2 import Item
from freshet.v1.offer_pb2 import Offer
from services.cli.kafka_log import Offsets, records_of

GROUP: Final = PREFIX + "freshet-dead-letters"  # its committed offsets: what was published again
PREVIEW_CHARACTERS: Final = 200
_NAMES: Final = ("user_id", "item_id", "title")
_KEYED_BY: Final = {
    CLICKS.name: "user_id",
    ITEMS.name: "item_id",
    ITEMS_BACKFILL.name: "item_id",
    OFFERS.name: "item_id",
}
_MESSAGES: Final[dict[str, type[Message]]] = {
    CLICKS.name: Event,
    ITEMS.name: Item,
    ITEMS_BACKFILL.name: Item,
    OFFERS.name: Offer,
}


class DeadLetter(NamedTuple):
    """A record that could not be processed, as far as it can still be read; texts may be empty."""

    origin: Origin  # where the record first stood
    failed_ms: int
    service: str
    error_class: str
    error: str
    key: str
    user_id: str
    item_id: str
    title: str
    source: str  # `file:line` that it was published from
    bytes: int
    value: str  # its beginning

    def as_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        fields = self._asdict() | {"origin": str(self.origin)}
        return fields | {"origin_time_ms": self.origin.time_ms}


async def newest(settings: KafkaSettings, count: int) -> tuple[int, list[DeadLetter]]:
    """Return how many dead letters there are and the newest `count`, oldest first."""
    shown: deque[DeadLetter] = deque(maxlen=count)
    total = 0
    async for record in records_of(settings, DEAD_LETTERS.name):
        total += 1
        shown.append(_letter(record))
    return total, list(shown)


async def of_records(
    settings: KafkaSettings, begin: Offsets, first: Offsets, last: Offsets
) -> list[DeadLetter]:
    """Return the dead letters of what a file's records became, once each.

    begin: where `dead-letters` ended before. first, last: between which offsets the records stand;
    others' records between them name no source.
    """
    found: dict[Origin, DeadLetter] = {}
    async for record in records_of(settings, DEAD_LETTERS.name, begin=begin):
        letter = _letter(record)
        tp = TopicPartition(letter.origin.topic, letter.origin.partition)
        if letter.source and tp in first and first[tp] <= letter.origin.offset <= last[tp]:
            found[letter.origin] = letter
    return list(found.values())


async def replay(settings: KafkaSettings) -> tuple[int, int]:
    """Publish every original that was not published again yet, with its origin in the headers.

    Returns how many were, and how many records could not be told for dead letters. Stopped
    half-way, it publishes a few twice: the events' origin keeps them from counting twice.
    """
    replayed = strange = 0
    async with kafka_clients.producer(settings) as producer:
        async for record in records_of(settings, DEAD_LETTERS.name, group=GROUP):
            try:
                topic, key, headers = replay_of(record.headers)
            except BadRecord:
                strange += 1
                continue
            await producer.send_and_wait(topic, record.value, key=key, headers=headers)
            replayed += 1
    return replayed, strange


def _letter(record: Any) -> DeadLetter:
    def text(name: str) -> str:
        return (header(record.headers, name) or b"").decode("utf-8", "replace")

    origin, value = origin_of(record), record.value or b""
    key = text(records.ORIGIN_KEY)
    names = dict.fromkeys(_NAMES, "") | {_KEYED_BY.get(origin.topic, ""): key}
    names |= _names_in(value, origin.topic, record.headers)
    failed_ms = text(records.FAILED_MS)
    return DeadLetter(
        origin=origin,
        failed_ms=int(failed_ms) if failed_ms.isdecimal() else 0,
        service=text(records.SERVICE),
        error_class=text(records.ERROR_CLASS),
        error=text(records.ERROR_TEXT),
        key=key,
        user_id=names["user_id"],
        item_id=names["item_id"],
        title=names["title"],
        source=text(records.SOURCE),
        bytes=len(value),
        value=value.decode("utf-8", "replace")[:PREVIEW_CHARACTERS],
    )


def _names_in(value: bytes, topic: str, headers: records.Headers) -> dict[str, str]:
    """Return what a value says of its user, item and title, if it can be decoded at all."""
    try:
        if records.content_type(headers) == records.JSON:
            fields = msgspec.json.decode(value, type=dict[str, Any])
        else:
            message = _MESSAGES[topic].FromString(value)
            fields = {name: getattr(message, name, "") for name in _NAMES}
    except (BadRecord, DecodeError, KeyError, msgspec.DecodeError):
        return {}
    return {name: str(fields[name]) for name in _NAMES if fields.get(name)}
