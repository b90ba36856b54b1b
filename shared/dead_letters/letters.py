"""Read `dead-letters`: what could not be processed, where it stood and why it failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import TopicPartition
from google.protobuf.message import DecodeError, Message

from freshet.contract import records
from freshet.contract.records import BadRecord, Origin, header, origin_of
from freshet.contract.topics import CLICKS, DEAD_LETTERS, ITEMS, ITEMS_BACKFILL, OFFERS, USERS
from freshet.kafka_clients import KafkaSettings
from freshet.v1.event_pb2 import Event
from freshet.v1.item_pb2 import Item
from freshet.v1.offer_pb2 import Offer
from freshet.v1.user_pb2 import User
from shared.kafka.records import Offsets, ends_of, records_of

PREVIEW_CHARACTERS: Final = 200
_NAMES: Final = ("user_id", "item_id", "title")
_KEYED_BY: Final = {
    CLICKS.name: "user_id",
    ITEMS.name: "item_id",
    ITEMS_BACKFILL.name: "item_id",
    OFFERS.name: "item_id",
    USERS.name: "user_id",
}
_MESSAGES: Final[dict[str, type[Message]]] = {
    CLICKS.name: Event,
    ITEMS.name: Item,
    ITEMS_BACKFILL.name: Item,
    OFFERS.name: Offer,
    USERS.name: User,
}


class DeadLetter(NamedTuple):
    """A record that could not be processed, as far as it can still be read; texts may be empty."""

    origin: Origin  # where the record was read
    failed_ms: int
    service: str
    error_class: str
    error: str
    key: str
    user_id: str
    item_id: str
    title: str
    source: str  # `file:line` that it was published from
    first_origin: str  # of a replay that failed again, as it stated it; else empty
    bytes: int  # of the value, also of one that was cut
    value: str  # its beginning

    @property
    def ids(self) -> tuple[str, ...]:
        """Return by which ids it may be asked for."""
        return self.key, self.user_id, self.item_id

    def as_dict(self) -> dict[str, Any]:
        """Return it for programs."""
        fields = self._asdict() | {"origin": str(self.origin)}
        return fields | {"origin_time_ms": self.origin.time_ms}


class Selection(NamedTuple):
    """Which dead letters are meant; what is empty or None leaves out none."""

    services: Sequence[str] = ()
    error_classes: Sequence[str] = ()
    topics: Sequence[str] = ()  # on which the records stood
    ids: Sequence[str] = ()  # of the records: of their user or item, or their key
    since_ms: int | None = None  # failed at this time or later
    until_ms: int | None = None  # failed before this time

    def takes(self, letter: DeadLetter) -> bool:
        """Say whether a letter is meant."""
        return (
            (not self.services or letter.service in self.services)
            and (not self.error_classes or letter.error_class in self.error_classes)
            and (not self.topics or letter.origin.topic in self.topics)
            and (not self.ids or any(each in self.ids for each in letter.ids))
            and (self.since_ms is None or letter.failed_ms >= self.since_ms)
            and (self.until_ms is None or letter.failed_ms < self.until_ms)
        )


async def newest(
    settings: KafkaSettings, count: int, selection: Selection, last: int | None = None
) -> tuple[int, list[DeadLetter]]:
    """Return how many dead letters are meant and the newest `count` of them, oldest first.

    last: how many of each partition's records are looked at, else all.
    """
    shown: deque[DeadLetter] = deque(maxlen=count)
    total = 0
    begin = begin_of_last(last, await ends_of(settings, DEAD_LETTERS.name))
    async for record in records_of(settings, DEAD_LETTERS.name, begin=begin):
        letter = letter_of(record)
        if selection.takes(letter):
            total += 1
            shown.append(letter)
    return total, list(shown)


def begin_of_last(count: int | None, ends: Offsets) -> Offsets:
    """Return where each partition's last `count` records begin; None: all of them."""
    return {} if count is None else {tp: max(0, end - count) for tp, end in ends.items()}


async def of_records(
    settings: KafkaSettings, begin: Offsets, first: Offsets, last: Offsets
) -> list[DeadLetter]:
    """Return the dead letters of what a file's records became, once each.

    begin: where `dead-letters` ended before. first, last: between which offsets the records stand;
    others' records between them name no source.
    """
    found: dict[Origin, DeadLetter] = {}
    async for record in records_of(settings, DEAD_LETTERS.name, begin=begin):
        letter = letter_of(record)
        tp = TopicPartition(letter.origin.topic, letter.origin.partition)
        if letter.source and tp in first and first[tp] <= letter.origin.offset <= last[tp]:
            found[letter.origin] = letter
    return list(found.values())


def letter_of(record: Any) -> DeadLetter:
    """Read a record of `dead-letters` as far as it can be read."""

    def text(name: str) -> str:
        return (header(record.headers, name) or b"").decode("utf-8", "replace")

    origin, value = origin_of(record), record.value or b""
    key = text(records.ORIGIN_KEY)
    names = dict.fromkeys(_NAMES, "") | {_KEYED_BY.get(origin.topic, ""): key}
    names |= _names_in(value, origin.topic, record.headers)
    failed_ms, cut_bytes = text(records.FAILED_MS), text(records.VALUE_BYTES)
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
        first_origin=text(records.FIRST_ORIGIN),
        bytes=int(cut_bytes) if cut_bytes.isdecimal() else len(value),
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
