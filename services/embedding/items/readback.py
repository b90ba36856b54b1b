"""Read the service's own output back: it is the truth of what counts.

On `item-vectors` the last record of an item is what readers keep after compaction. Should a lower
version come to stand behind the highest, or state more than it (an instance that lost its partition
and wrote late), who looks after the partition publishes the highest again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from freshet.contract import records
from freshet.contract.topics import ITEMS, ITEMS_BACKFILL
from freshet.v1 import vector_pb2
from services.embedding.items.item_partitions import ItemPartitions
from services.embedding.items.latest_versions import LatestVersions
from services.embedding.items.vector_publisher import VectorPublisher
from services.embedding.items.versions import Stated, headers, read_stated
from services.embedding.pictures.missing_pictures import MissingPictures
from shared.catalogue.versions import RecordVersion
from shared.runtime.topic_reader import TopicReader

log = logging.getLogger(__name__)

MEND_EVERY_S: Final = 0.2


class Readback:
    """Follows `item-vectors.SPACE` and keeps the latest versions in step with it."""

    def __init__(
        self,
        make: Callable[..., AIOKafkaConsumer],
        topic: str,
        partitions: ItemPartitions,
        latest: LatestVersions,
        publisher: VectorPublisher,
        missing: MissingPictures,
        record_at: Callable[[int, int], Awaitable[ConsumerRecord | None]],
    ) -> None:
        """make: returns a new consumer of topics, without group.

        record_at: returns a record of the topic by partition and offset.
        """
        self._topic = topic
        self._partitions = partitions
        self._latest = latest
        self._publisher = publisher
        self._missing = missing
        self._record_at = record_at
        self._reader = TopicReader(make, topic)
        self.mended = 0

    async def run(self) -> None:
        """Follow and mend until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reader.run(self._take))
            group.create_task(self._keep_mended())

    async def caught_up(self) -> None:
        """Wait until all is known that stands on the topic now."""
        await self._reader.caught_up()

    def positions(self) -> dict[int, int]:
        """Return up to where each partition was read."""
        return dict(self._reader.positions)

    def _take(self, consumed: Sequence[ConsumerRecord]) -> None:
        for record in consumed:
            try:
                self._observe(record)
            except ValueError as error:  # BadRecord too: a key collision
                where = (record.topic, record.partition, record.offset)
                log.warning("%s:%d:%d: %s", *where, error)

    def _observe(self, record: ConsumerRecord) -> None:
        encoded = vector_pb2.ItemVector.FromString(record.value or b"")
        item = encoded.item
        updated_ms = item.updated_ms if item.HasField("updated_ms") else None
        stated = read_stated(record.headers, updated_ms)
        if record.key is None or stated is None:
            raise ValueError("no key, or no version")
        alive, item_id = record.value is not None, record.key.decode()
        self._latest.observe(item_id, stated, alive, encoded.arrived_ms, record.offset)
        latest = self._latest.get(item_id)
        if latest is not None and latest.version == stated.version:
            by_uri = item.HasField("image_uri")
            self._missing.note(item_id, encoded.picture_missing, by_uri, time.monotonic())

    async def _keep_mended(self) -> None:
        await self._reader.caught_up()  # before, what stands last is not known
        while True:
            for item_id, stated in self._latest.to_mend().items():
                if not self._partitions.looks_after(item_id):
                    continue
                try:
                    await self._mend(item_id, stated)
                except (KafkaError, OSError) as error:
                    log.warning("mending %s again: %r", self._topic, error)
            await asyncio.sleep(MEND_EVERY_S)

    async def _mend(self, item_id: str, stated: Stated) -> None:
        """Publish again what counts for an item, as it was but for the version it states."""
        latest = self._latest.get(item_id)
        assert latest is not None
        partition, key = self._partitions.of(item_id), item_id.encode()
        record = await self._record_at(partition, latest.log_offset)
        if record is not None and record.key == key:
            value, version_ms = record.value, b"%d" % stated.version_ms
            described = [
                (name, version_ms if name == records.VERSION else text)
                for name, text in record.headers
            ]
        elif not latest.alive:
            value, described = None, headers(stated, _origin(stated.version))
        else:
            # Compacted away: only an absence of days lets the cleaner come first. What stands
            # there is all there is; readers that hold the higher one keep it.
            where = (self._topic, partition, latest.log_offset)
            log.error("%s:%d:%d is gone and cannot be published again", *where)
            self._latest.confirm(item_id, stated, 2**62)
            return
        log.warning("a lower version stood last on %s:%d: mending it", self._topic, partition)
        log_offset = await self._publisher.write(partition, key, value, described)
        self._latest.confirm(item_id, stated, log_offset)
        self.mended += 1


def _origin(version: RecordVersion) -> records.Origin:
    """Name the source of a delete whose own record is gone, so that its version stays the same."""
    time_ms, live, offset = version.place
    return records.Origin((ITEMS if live else ITEMS_BACKFILL).name, 0, offset, time_ms)
