"""Replay the live topics as a dataset: what users did, what the shop says of items and users."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from freshet.contract.events import decode_event
from freshet.contract.items import Item, decode_item
from freshet.contract.records import BadRecord, content_type
from freshet.contract.topics import CLICKS, ITEMS, ITEMS_BACKFILL, USERS, Topic
from freshet.contract.users import User, decode_user
from freshet.kafka_clients import KafkaSettings
from services.training.data.dataset import Dataset
from services.training.data.events.log import EventCollector
from shared.inputs.refusals import BadInput
from shared.kafka.records import records_of

NAME: Final = "topics"
Said = TypeVar("Said", Item, User)


async def read_topics(settings: KafkaSettings, pictures: Path) -> Dataset:
    """Read what stands in the topics now; what cannot be decoded is no part of it.

    pictures: a folder for the pictures that items bring. Raises KafkaError, and BadInput where
    nothing was ever chosen.
    """
    collector = EventCollector()
    given: set[tuple[str, str]] = set()  # events that bear an id count once
    async for record in records_of(settings, CLICKS.name):
        try:
            event = decode_event(record.value, content_type(record.headers))
        except BadRecord:
            continue
        if event.event_id is not None:
            if (event.user_id, event.event_id) in given:
                continue
            given.add((event.user_id, event.event_id))
        happened_ms = record.timestamp if event.time_ms is None else event.time_ms
        collector.add(msgspec.structs.replace(event, time_ms=happened_ms))
    log = collector.log()
    if not len(log):
        raise BadInput(f"{CLICKS.name}: must hold events that choose an item, has none")
    items: dict[str, Item] = {}
    for topic in (ITEMS_BACKFILL, ITEMS):
        items = await _newest(settings, topic, decode_item, items)
    users = await _newest(settings, USERS, decode_user, {})
    known = items.keys() & set(log.item_ids)
    return replace(
        log.dataset(NAME),
        items={item_id: _without_picture(items[item_id]) for item_id in sorted(known)},
        attributes={
            user_id: users[user_id].features for user_id in log.user_ids if user_id in users
        },
        pictures={
            item_id: _written(picture, pictures)
            for item_id in sorted(known)
            if (picture := items[item_id].image_bytes)
        },
    )


async def _newest(
    settings: KafkaSettings,
    topic: Topic,
    decode: Callable[[bytes, str], Said],
    known: dict[str, Said],
) -> dict[str, Said]:
    """Return what is known, by key, with what a topic says later."""
    newest = dict(known)
    async for key, value, headers in _keyed(settings, topic):
        if value is None:
            newest.pop(key, None)
            continue
        try:
            said = decode(value, content_type(headers))
        except BadRecord:
            continue
        before = newest.get(key)
        if before is None or (said.updated_ms or 0) >= (before.updated_ms or 0):
            newest[key] = said
    return newest


async def _keyed(settings: KafkaSettings, topic: Topic) -> AsyncIterator[tuple[str, Any, Any]]:
    async for record in records_of(settings, topic.name):
        if record.key is not None:
            yield record.key.decode(errors="replace"), record.value, record.headers


def _without_picture(item: Item) -> Item:
    return msgspec.structs.replace(item, image_bytes=None)


def _written(picture: bytes, folder: Path) -> Path:
    """Write a picture into a file that is named by what it holds. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.blake2b(picture, digest_size=16).hexdigest()
    if not path.exists():
        new = path.with_suffix(".new")
        new.write_bytes(picture)
        new.replace(path)
    return path
