"""After days without reading: find the items whose deletes are gone from the log, and delete them.

Kafka keeps the null that deletes an item for 7 days at least. Whoever was behind for longer can
only see that neither `items` nor `items-backfill` holds the item any more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from services.embedding.homes import Homes
from services.embedding.standings import Standings
from services.embedding.versions import Rank
from shared.keys import item_key
from shared.topics import ITEMS, ITEMS_BACKFILL

log = logging.getLogger(__name__)


class PublishesDeletes(Protocol):
    """Makes a delete count and writes it (Pipeline.publish)."""

    async def __call__(
        self, item_id: str, value: None, its_rank: Rank, origin: None, arrived_ms: int
    ) -> None: ...


class Reconciler:
    """Compares the owned items with what the item topics hold, from their beginning."""

    def __init__(
        self,
        make: Callable[[], AIOKafkaConsumer],
        partitions: Callable[[str], Awaitable[int]],
        vectors_topic: str,
        homes: Homes,
        standings: Standings,
        publish: PublishesDeletes,
    ) -> None:
        """make: returns a new consumer without group, not started. partitions: counts a topic's."""
        self._make = make
        self._partitions = partitions
        self._vectors_topic = vectors_topic
        self._homes = homes
        self._standings = standings
        self._publish = publish

    async def run(self) -> int:
        """Delete what neither topic holds. Returns how many. Raises KafkaError."""
        keys, versions = self._standings.living()
        # What counts anew while the topics are read is not judged: its version has changed.
        version_of = dict(zip(keys.tolist(), versions.tolist(), strict=True))
        if not version_of:
            return 0
        log.warning("reading the item topics from their beginning: deletes may have been missed")
        held = await self._held()
        missed = {key: version for key, version in version_of.items() if key not in held}
        deleted = 0
        for item_id in await self._names(set(missed)):
            standing = self._standings.get(item_id)
            version = missed[item_key(item_id)]
            if standing is None or not standing.alive or standing.rank.version != version:
                continue
            # The delete came after this version, when exactly nobody knows any more.
            await self._publish(item_id, None, Rank(version + 1, False, 0), None, 0)
            deleted += 1
        log.warning("%d items deleted that no topic holds", deleted)
        return deleted

    async def _held(self) -> set[int]:
        """Return the keys of all items that any partition of either topic holds."""
        held: dict[TopicPartition, set[int]] = {}

        def note(tp: TopicPartition, record: ConsumerRecord) -> None:
            key = item_key(record.key.decode("utf-8", "replace")) if record.key else 0
            partition = held.setdefault(tp, set())
            (partition.discard if record.value is None else partition.add)(key)

        await self._scan((ITEMS.name, ITEMS_BACKFILL.name), None, note)
        return set().union(*held.values())

    async def _names(self, keys: set[int]) -> set[str]:
        """Return the ids of these keys, from the owned partitions of `item-vectors`."""
        names: set[str] = set()

        def note(_: TopicPartition, record: ConsumerRecord) -> None:
            item_id = record.key.decode("utf-8", "replace") if record.key else ""
            if item_key(item_id) in keys:
                names.add(item_id)

        if keys:
            await self._scan((self._vectors_topic,), self._homes.owned, note)
        return names

    async def _scan(
        self,
        topics: Iterable[str],
        partitions: frozenset[int] | None,
        note: Callable[[TopicPartition, ConsumerRecord], None],
    ) -> None:
        """Read partitions (None: all) from their beginning to where they end now."""
        consumer = self._make()
        await consumer.start()
        try:
            tps = [
                TopicPartition(topic, partition)
                for topic in topics
                for partition in range(await self._partitions(topic))
                if partitions is None or partition in partitions
            ]
            ends = await consumer.end_offsets(tps)
            consumer.assign(tps)
            await consumer.seek_to_beginning(*tps)
            while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                found = await consumer.getmany(timeout_ms=500, max_records=500)
                for tp, batch in found.items():
                    for record in batch:
                        note(tp, record)
        finally:
            await consumer.stop()


Reconcile = Callable[[], Awaitable[int]]
