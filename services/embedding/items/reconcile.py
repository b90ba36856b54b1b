"""Delete the items whose deletes are gone from the log, after days without reading.

Kafka keeps the null that deletes an item for 7 days at least. Whoever was behind for longer can
only see that neither `items` nor `items-backfill` holds the item any more.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from freshet.contract.topics import ITEMS, ITEMS_BACKFILL
from services.embedding.items.item_partitions import ItemPartitions
from services.embedding.items.latest_versions import LatestVersions
from services.embedding.items.versions import deleted_unseen
from shared.catalogue.versions import RecordVersion
from shared.runtime.topic_reader import read_once
from shared.users.keys import item_key

log = logging.getLogger(__name__)

Reconcile = Callable[[], Awaitable[int]]
PublishDelete = Callable[[str, None, RecordVersion, None, int], Awaitable[None]]


class Reconciler:
    """Compares the items that this instance looks after with what the item topics hold."""

    def __init__(
        self,
        make: Callable[..., AIOKafkaConsumer],
        vectors_topic: str,
        partitions: ItemPartitions,
        latest: LatestVersions,
        publish: PublishDelete,
    ) -> None:
        """make: returns a new consumer of topics, without group, not started.

        publish: RecordHandler.publish, with which a delete counts.
        """
        self._make = make
        self._vectors_topic = vectors_topic
        self._partitions = partitions
        self._latest = latest
        self._publish = publish

    async def run(self) -> int:
        """Delete what neither topic holds, read from their beginning. Returns how many."""
        keys, versions_ms = self._latest.living()
        # What comes to count while the topics are read is not judged: its version has changed.
        version_ms_of = dict(zip(keys.tolist(), versions_ms.tolist(), strict=True))
        if not version_ms_of:
            return 0
        log.warning("reading the item topics from their beginning: deletes may have been missed")
        for topic in (ITEMS.name, ITEMS_BACKFILL.name):
            for key in await self._keys(topic):
                version_ms_of.pop(key, None)
        deleted = 0
        for item_id in await self._ids(set(version_ms_of)) if version_ms_of else ():
            latest = self._latest.get(item_id)
            version_ms = version_ms_of[item_key(item_id)]
            if latest is None or not latest.alive or latest.version_ms != version_ms:
                continue
            if self._partitions.looks_after(item_id):
                await self._publish(item_id, None, deleted_unseen(version_ms), None, 0)
                deleted += 1
        log.warning("%d items deleted that no topic holds", deleted)
        return deleted

    async def _keys(self, topic: str) -> set[int]:
        """Return the keys of all items that any partition of a topic holds."""
        keys_of: dict[int, set[int]] = {}  # by partition

        def take(consumed: Sequence[ConsumerRecord]) -> None:
            for record in consumed:
                keys = keys_of.setdefault(record.partition, set())
                change = keys.discard if record.value is None else keys.add
                change(item_key(_text(record.key)))

        await self._scan(topic, take)
        return set().union(*keys_of.values())

    async def _ids(self, keys: set[int]) -> set[str]:
        """Return the ids of these keys, from `item-vectors`."""
        ids: set[str] = set()

        def take(consumed: Sequence[ConsumerRecord]) -> None:
            texts = (_text(record.key) for record in consumed)
            ids.update(item_id for item_id in texts if item_key(item_id) in keys)

        await self._scan(self._vectors_topic, take)
        return ids

    async def _scan(self, topic: str, take: Callable[[Sequence[ConsumerRecord]], None]) -> None:
        await read_once(self._make, topic, take)


def _text(key: bytes | None) -> str:
    return (key or b"").decode("utf-8", "replace")
