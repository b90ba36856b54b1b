"""What the proofs of sessions share: events, items, workers, and what Redis holds in the end."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

from shared import kafka, records, topics
from shared.items import Item, ItemVector, encode_item_vector
from shared.kafka import KafkaSettings
from shared.topics import CLICKS

SPACE: Final = "proof"
DIM: Final = 64
CATEGORIES: Final = 12
EPOCH_MS: Final = 1_790_000_000_000  # of the events' own times, one a second from then on


class Clicked(NamedTuple):
    """An event as its app would send it."""

    user: str
    item: str
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
            self.item.encode(),
            self.type.encode(),
            self.time_ms,
        )


def shopping(count: int, *, users: int, items: int, seed: int = 1) -> Iterator[Clicked]:
    """Make events: each user keeps to a few items, some items draw everybody. Seeded."""
    rng = random.Random(seed)
    for number in range(count):
        user = rng.randrange(users)
        item = int(items * rng.random() ** 3) if rng.random() < 0.5 else (user * 7 + rng.randrange(20))
        kind = rng.choices(("click", "view", "like", "dislike", "purchase"), (70, 15, 8, 4, 3))[0]
        yield Clicked(f"u{user}", f"i{item % items}", EPOCH_MS + seed + 10 * number, kind)


async def publish(bootstrap: str, events: Iterable[Clicked]) -> None:
    """Publish events on clicks, and wait until all replicas have all of them."""
    producer = kafka.producer(KafkaSettings(bootstrap_servers=bootstrap), linger_ms=20)
    await producer.start()
    try:
        for event in events:
            await producer.send(CLICKS.name, key=event.key, value=event.value)
        await producer.flush()
    finally:
        await producer.stop()


async def publish_items(bootstrap: str, count: int) -> None:
    """Publish items i0, i1, … with random unit vectors, the same each time."""
    topic = topics.item_vectors(SPACE)
    settings = KafkaSettings(bootstrap_servers=bootstrap)
    await kafka.ensure_topics(settings, [topic])
    vectors = np.random.default_rng(1).standard_normal((count, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    none = np.empty(0, np.float16)
    producer = kafka.producer(settings, linger_ms=20)
    await producer.start()
    try:
        for number, vector in enumerate(vectors.astype(np.float16)):
            item = Item(
                item_id=f"i{number}", title=f"Item {number}", categories=[f"c{number % CATEGORIES}"]
            )
            value = ItemVector(
                item_id=item.item_id,
                space=SPACE,
                vector=vector,
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
                value=encode_item_vector(value),
                headers=[(records.VERSION, b"1")],
            )
        await producer.flush()
    finally:
        await producer.stop()


def environ(bootstrap: str, redis_url: str) -> dict[str, str]:
    """Return what a worker's environment needs to fold with these items, without embedding."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "REDIS_URL": redis_url,
        "FRESHET_SPACE": SPACE,
        "FRESHET_DIM": str(DIM),
    }
