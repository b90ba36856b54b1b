"""Reads the service's own output back: the truth of what counts, and whether it stands last.

On `item-vectors` the last record of an item is what readers keep after compaction. Should a lower
rank come to stand behind the highest (an instance that lost its partition and wrote late), who
looks after the partition publishes the highest again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from freshet.contract import records
from freshet.contract.topics import ITEMS, ITEMS_BACKFILL
from freshet.v1 import vector_pb2
from services.embedding.items.item_partitions import Homes
from services.embedding.items.latest_versions import Standing, Standings
from services.embedding.items.vector_publisher import Publisher
from services.embedding.items.versions import headers, published_rank
from shared.runtime.topic_reader import TopicReader

log = logging.getLogger(__name__)

MEND_EVERY_S: Final = 0.2


class Readback:
    """Follows `item-vectors.SPACE` and keeps `standings` in step with it."""

    def __init__(
        self,
        make: Callable[..., AIOKafkaConsumer],
        topic: str,
        homes: Homes,
        standings: Standings,
        publisher: Publisher,
    ) -> None:
        """make: returns a new consumer of topics (none: to be assigned), without group."""
        self._make = make
        self._topic = topic
        self._homes = homes
        self._standings = standings
        self._publisher = publisher
        self._reader = TopicReader(make, topic, self._take)
        self.mended = 0

    async def run(self) -> None:
        """Follow and mend until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reader.run())
            group.create_task(self._keep_mended())

    async def caught_up(self) -> None:
        """Wait until all is known that stands on the topic now."""
        await self._reader.caught_up()

    def positions(self) -> dict[int, int]:
        """Return up to where each partition was read."""
        return dict(self._reader.positions)

    def _take(self, taken: Sequence[ConsumerRecord]) -> None:
        for record in taken:
            try:
                self._observe(record)
            except ValueError as error:  # BadRecord too: a key collision
                log.warning("%s:%d:%d: %s", *_place(record), error)

    def _observe(self, record: ConsumerRecord) -> None:
        rank = published_rank(record.headers)
        if record.key is None or rank is None:
            raise ValueError("no key, or no version")
        arrived_ms = 0
        if record.value is not None:
            arrived_ms = vector_pb2.ItemVector.FromString(record.value).arrived_ms
        alive = record.value is not None
        self._standings.observe(record.key.decode(), rank, alive, arrived_ms, record.offset)

    async def _keep_mended(self) -> None:
        await self._reader.caught_up()  # before, what stands last is not known
        while True:
            for item_id in self._standings.to_mend():
                if not self._homes.looks_after(item_id):
                    continue
                try:
                    await self._mend(item_id)
                except (KafkaError, OSError) as error:
                    log.warning("mending %s again: %r", self._topic, error)
            await asyncio.sleep(MEND_EVERY_S)

    async def _mend(self, item_id: str) -> None:
        """Publish again what counts for an item, as it was."""
        standing = self._standings.get(item_id)
        assert standing is not None
        home, key = self._homes.of(item_id), item_id.encode()
        found = await self._read(home, standing.log_offset)
        if found is not None and found.key == key:
            value, described = found.value, list(found.headers)
        elif not standing.alive:
            value, described = None, headers(standing.rank.version, _origin(standing))
        else:
            # Compacted away: only an absence of days lets the cleaner come first. What stands
            # there is all there is; readers that hold the higher one keep it.
            place = (self._topic, home, standing.log_offset)
            log.error("%s:%d:%d is gone and cannot be published again", *place)
            self._standings.confirm(item_id, standing.rank, 2**62)
            return
        log.warning("a lower version stood last on %s:%d: mending it", self._topic, home)
        log_offset = await self._publisher.write(home, key, value, described)
        self._standings.confirm(item_id, standing.rank, log_offset)
        self.mended += 1

    async def _read(self, home: int, offset: int) -> ConsumerRecord | None:
        """Read one record of the topic; None if it is not there any more."""
        consumer, tp = self._make(), TopicPartition(self._topic, home)
        await consumer.start()
        try:
            consumer.assign([tp])
            consumer.seek(tp, offset)
            found = await consumer.getmany(timeout_ms=5_000, max_records=1)
        finally:
            await consumer.stop()
        batch = found.get(tp, [])
        return batch[0] if batch and batch[0].offset == offset else None


def _place(record: ConsumerRecord) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _origin(standing: Standing) -> records.Origin:
    """Name the source of a delete whose own record is gone, so that its rank stays the same."""
    topic = ITEMS if standing.rank.live else ITEMS_BACKFILL
    return records.Origin(topic.name, 0, standing.rank.offset, standing.rank.version)
