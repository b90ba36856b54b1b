"""After days without reading: find the items whose deletes are gone from the log, and delete them.

Kafka keeps the null that deletes an item for 7 days at least. Whoever was behind for longer can
only see that neither `items` nor `items-backfill` holds the item any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from freshet.contract.topics import ITEMS, ITEMS_BACKFILL
from services.embedding.items.item_partitions import Homes
from services.embedding.items.latest_versions import Standings
from services.embedding.items.versions import Rank
from shared.runtime.topic_reader import TopicReader
from shared.users.keys import item_key

log = logging.getLogger(__name__)

Reconcile = Callable[[], Awaitable[int]]


class PublishesDeletes(Protocol):
    """Makes a delete count and writes it (Pipeline.publish)."""

    async def __call__(
        self, item_id: str, value: None, its_rank: Rank, origin: None, arrived_ms: int
    ) -> None: ...


class Reconciler:
    """Compares the items that this instance looks after with what the item topics hold."""

    def __init__(
        self,
        make: Callable[..., AIOKafkaConsumer],
        vectors_topic: str,
        homes: Homes,
        standings: Standings,
        publish: PublishesDeletes,
    ) -> None:
        """make: returns a new consumer of topics, without group, not started."""
        self._make = make
        self._vectors_topic = vectors_topic
        self._homes = homes
        self._standings = standings
        self._publish = publish

    async def run(self) -> int:
        """Delete what neither topic holds, read from their beginning. Returns how many."""
        keys, versions = self._standings.living()
        # What comes to count while the topics are read is not judged: its version has changed.
        version_of = dict(zip(keys.tolist(), versions.tolist(), strict=True))
        if not version_of:
            return 0
        log.warning("reading the item topics from their beginning: deletes may have been missed")
        for topic in (ITEMS.name, ITEMS_BACKFILL.name):
            for key in await self._held(topic):
                version_of.pop(key, None)
        deleted = 0
        for item_id in await self._names(set(version_of)) if version_of else ():
            standing = self._standings.get(item_id)
            version = version_of[item_key(item_id)]
            if standing is None or not standing.alive or standing.rank.version != version:
                continue
            if self._homes.looks_after(item_id):
                # The delete came after this version, when exactly nobody knows any more.
                await self._publish(item_id, None, Rank(version + 1, False, 0), None, 0)
                deleted += 1
        log.warning("%d items deleted that no topic holds", deleted)
        return deleted

    async def _held(self, topic: str) -> set[int]:
        """Return the keys of all items that any partition of a topic holds."""
        held: dict[int, set[int]] = {}

        def take(taken: Sequence[ConsumerRecord]) -> None:
            for record in taken:
                partition = held.setdefault(record.partition, set())
                change = partition.discard if record.value is None else partition.add
                change(item_key(_text(record.key)))

        await self._scan(topic, take)
        return set().union(*held.values())

    async def _names(self, keys: set[int]) -> set[str]:
        """Return the ids of these keys, from `item-vectors`."""
        names: set[str] = set()

        def take(taken: Sequence[ConsumerRecord]) -> None:
            texts = (_text(record.key) for record in taken)
            names.update(item_id for item_id in texts if item_key(item_id) in keys)

        await self._scan(self._vectors_topic, take)
        return names

    async def _scan(self, topic: str, take: Callable[[Sequence[ConsumerRecord]], None]) -> None:
        """Read a topic from its beginning to where it ends now."""
        reader = TopicReader(self._make, topic, take)
        reading = asyncio.create_task(reader.run())
        try:
            await reader.caught_up()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def _text(key: bytes | None) -> str:
    return (key or b"").decode("utf-8", "replace")
