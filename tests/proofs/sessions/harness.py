"""Give the proofs of sessions events, items, and what Redis must hold in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract import records, topics
from freshet.contract.items import Item
from freshet.contract.topics import CLICKS, DEAD_LETTERS
from freshet.kafka_clients import KafkaSettings
from services.sessions.faust import batches
from services.sessions.fold.settings import FoldSettings
from shared.catalogue.item_vectors import ItemVector, encode_item_vector
from shared.clock import now_ms
from shared.users import keys, positions
from shared.users.states import pack
from tests.servers import eventually
from tests.unit.sessions.fold.replay import Replayed, replay
from tests.unit.sessions.kit import MemoryItems, name_of

SPACE: Final = "proof"
DIM: Final = 16
CATEGORIES: Final = 6
ITEMS: Final = 90  # fewer than a set holds, so that sets can be compared member by member

Content = dict[bytes, Any]  # of Redis: states as bytes, positions as (offset, time), sets as dicts


class Shopped(NamedTuple):
    """An event as its app sends it."""

    user: str
    item: int
    time_ms: int
    type: str = "click"

    @property
    def key(self) -> bytes:
        """The record's key."""
        return self.user.encode()

    @property
    def value(self) -> bytes:
        """The record's value."""
        return b'{"user_id":"%s","item_id":"%s","type":"%s","time_ms":%d}' % (
            self.key,
            name_of(self.item).encode(),
            self.type.encode(),
            self.time_ms,
        )


def shopping(
    count: int, *, users: int, items: int = ITEMS, seed: int = 1, start_ms: int | None = None
) -> Iterator[Shopped]:
    """Make events 10 ms apart: users keep to some items, some items draw everybody. Seeded."""
    rng = random.Random(seed)
    first_ms = now_ms() - 10 * count if start_ms is None else start_ms
    for number in range(count):
        user = rng.randrange(users)
        item = int(items * rng.random() ** 3) if rng.random() < 0.5 else 7 * user + rng.randrange(9)
        kind = rng.choices(("click", "view", "like", "dislike", "purchase"), (70, 15, 8, 4, 3))[0]
        yield Shopped(f"u{user}", item % items, first_ms + 10 * number, kind)


def catalogue(items: int = ITEMS) -> MemoryItems:
    """Return the items that `publish_items` publishes."""
    vectors = np.random.default_rng(1).standard_normal((items, DIM))
    return MemoryItems(vectors, [(f"c{n % CATEGORIES}",) for n in range(items)], SPACE)


async def publish(
    bootstrap: str, events: Iterable[Shopped], *, partition: int | None = None
) -> None:
    """Publish events on clicks, by their key or on one partition; wait for all replicas."""
    producer = kafka_clients.producer(KafkaSettings(bootstrap_servers=bootstrap), linger_ms=20)
    await producer.start()
    try:
        for event in events:
            await producer.send(CLICKS.name, key=event.key, value=event.value, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


async def publish_items(bootstrap: str, count: int) -> None:
    """Make the topics and publish items item-0, item-1, … as embedding would."""
    settings = KafkaSettings(bootstrap_servers=bootstrap)
    topic = topics.item_vectors(SPACE)
    await kafka_clients.ensure_topics(settings, [CLICKS, DEAD_LETTERS, topic])
    items, none = catalogue(count), np.empty(0, np.float16)
    producer = kafka_clients.producer(settings, linger_ms=20)
    await producer.start()
    try:
        for number in range(count):
            item = Item(
                item_id=name_of(number),
                title=f"Item {number}",
                categories=(f"c{number % CATEGORIES}",),
            )
            encoded = ItemVector(
                item_id=item.item_id,
                space=SPACE,
                vector=items.vectors[number],
                image_vector=none,
                text_vector=none,
                content_hash=b"",
                item=item,
                version=1,
                arrived_ms=1,
                encoded_ms=1,
            )
            await producer.send(
                topic.name,
                key=item.item_id.encode(),
                value=encode_item_vector(encoded),
                headers=[(records.VERSION, b"1")],
            )
        await producer.flush()
    finally:
        await producer.stop()


def environ(bootstrap: str, redis_url: str, **more: str) -> dict[str, str]:
    """Return a worker's environment: these items without embedding, and a group of its own.

    A new group each time, so that no worker waits for one that another test killed.
    """
    return {
        "FRESHET_SESSIONS_GROUP": f"proof-{time.time_ns()}",
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "REDIS_URL": redis_url,
        "FRESHET_SPACE": SPACE,
        "FRESHET_DIM": str(DIM),
        **more,
    }


async def read_topic(bootstrap: str, topic: str = CLICKS.name) -> dict[int, list[ConsumerRecord]]:
    """Read a whole topic as it is now, by partition."""
    reader: AIOKafkaConsumer = kafka_clients.consumer(
        KafkaSettings(bootstrap_servers=bootstrap), topic
    )
    await reader.start()
    try:
        here = [TopicPartition(topic, p) for p in sorted(reader.partitions_for_topic(topic) or ())]
        ends = await reader.end_offsets(here)
        found: dict[int, list[ConsumerRecord]] = {tp.partition: [] for tp in here}
        while any([await reader.position(tp) < ends[tp] for tp in here]):
            for tp, taken in (await reader.getmany(timeout_ms=100)).items():
                found[tp.partition] += taken
        return found
    finally:
        await reader.stop()


async def plain_fold(
    bootstrap: str, items: int = ITEMS, settings: FoldSettings | None = None
) -> Content:
    """Return what the log on the broker comes to when it is folded offline, at once."""
    log = await read_topic(bootstrap)
    events = [event for taken in log.values() for event in batches.decode(taken)[0]]
    return expected(replay(events, catalogue(items), settings or FoldSettings()), log)


def expected(whole: Replayed, log: Mapping[int, Sequence[ConsumerRecord]]) -> Content:
    """Write a replayed log as Redis must hold it."""
    content: Content = {
        keys.position(CLICKS.name, partition): (taken[-1].offset, taken[-1].timestamp)
        for partition, taken in log.items()
        if taken
    }
    content |= {keys.user(user): pack(state) for user, state in whole.states.items()}
    for (name, item), score in whole.covisits.items():
        content.setdefault(keys.covisits(name), {})[keys.item_key_bytes(item)] = score
    for (scope, item), score in whole.trends.items():
        content.setdefault(keys.trending(scope), {})[keys.item_key_bytes(item)] = score
    return content


async def content_of(redis: Redis) -> Content:
    """Return what sessions has written to Redis, positions without their stamps."""
    content: Content = {}
    client: Any = redis  # its types say str where this client gives bytes
    async for key in client.scan_iter(count=1000):
        if key.startswith(b"pos:"):
            content[key] = positions.unpack(await client.get(key))[:2]
        elif key.startswith(b"u:"):
            content[key] = await client.get(key)
        elif key.startswith((b"co:", b"tr:")):
            content[key] = dict(await client.zrange(key, 0, -1, withscores=True))
    return content


def assert_same(held: Content, wanted: Content) -> None:
    """Compare: states and positions to the byte, weights within rounding."""
    assert held.keys() == wanted.keys()
    wrong = [key for key, value in wanted.items() if not _same(key, held[key], value)]
    assert not wrong, f"{len(wrong)} of {len(wanted)} differ, such as {wrong[:3]}"


def _same(key: bytes, held: Any, wanted: Any) -> bool:
    if key.startswith((b"co:", b"tr:")):
        return bool(held == pytest.approx(wanted, abs=1e-6))
    return bool(held == wanted)


async def caught_up(bootstrap: str, redis: Redis, *, within_s: float = 60.0) -> None:
    """Wait until Redis has everything that is in the log now."""
    reader: AIOKafkaConsumer = kafka_clients.consumer(KafkaSettings(bootstrap_servers=bootstrap))
    await reader.start()
    try:
        await reader._client._wait_on_metadata(CLICKS.name)
        partitions = sorted(reader.partitions_for_topic(CLICKS.name) or ())
        ends = await reader.end_offsets([TopicPartition(CLICKS.name, p) for p in partitions])
    finally:
        await reader.stop()
    wanted = {tp.partition: end - 1 for tp, end in ends.items() if end}

    async def there() -> bool:
        values: list[Any] = await redis.mget([keys.position(CLICKS.name, p) for p in wanted])
        return all(
            value is not None and positions.unpack(value).offset >= end
            for value, end in zip(values, wanted.values(), strict=True)
        )

    if wanted:
        await eventually(there, within_s=within_s, what="everything in Redis")


@contextlib.asynccontextmanager
async def flowing(
    bootstrap: str, events: Sequence[Shopped], *, per_second: int
) -> AsyncIterator[asyncio.Task[None]]:
    """Publish events steadily beside the block; at its end the rest goes out at once."""
    hurry = asyncio.Event()

    async def flow() -> None:
        producer = kafka_clients.producer(KafkaSettings(bootstrap_servers=bootstrap), linger_ms=5)
        await producer.start()
        try:
            for number, event in enumerate(events):
                if number % 20 == 0 and not hurry.is_set():
                    await asyncio.sleep(20 / per_second)
                await producer.send(CLICKS.name, key=event.key, value=event.value)
            await producer.flush()
        finally:
            await producer.stop()

    task = asyncio.create_task(flow())
    try:
        yield task
        hurry.set()
        await task
    finally:
        task.cancel()
