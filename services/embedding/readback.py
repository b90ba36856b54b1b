"""Reads the service's own output back: the truth of what counts, and whether it stands last.

On `item-vectors` the last record of an item is what readers keep after compaction. Should a lower
rank come to stand behind the highest (an instance that lost its partition and wrote late), the
owner of the partition publishes the highest again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from protos import vector_pb2
from services.embedding.homes import Homes
from services.embedding.publish import Publisher
from services.embedding.standings import Standing, Standings
from services.embedding.versions import headers, published_rank
from shared import records

log = logging.getLogger(__name__)

AT_ONCE = 500  # records taken without letting others run: under 10 ms
RETRY_S = 1.0


class Readback:
    """Follows the owned partitions of `item-vectors` and keeps `standings` in step with them."""

    def __init__(
        self,
        make: Callable[[], AIOKafkaConsumer],
        topic: str,
        homes: Homes,
        standings: Standings,
        publisher: Publisher,
    ) -> None:
        """make: returns a new consumer without group, not started."""
        self._make = make
        self._consumer = make()
        self._topic = topic
        self._homes = homes
        self._standings = standings
        self._publisher = publisher
        self._positions: dict[TopicPartition, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Condition()
        self.mended = 0

    async def start(self) -> None:
        """Connect. Raises KafkaError while Kafka cannot be had."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Stop following and disconnect."""
        await self._pause()
        await self._consumer.stop()

    async def own(self, homes: Collection[int]) -> None:
        """Follow these partitions from now on; returns when all that stands there is known.

        Partitions that stay are read on from where they were, new ones from their beginning.
        """
        await self._pause()
        self._standings.drop(set(self._homes.owned) - set(homes))
        self._homes.owned = frozenset(homes)
        partitions = [TopicPartition(self._topic, home) for home in sorted(homes)]
        self._positions = {tp: self._positions.get(tp, 0) for tp in partitions}
        self._consumer.assign(partitions)
        if not partitions:
            return
        for tp, position in self._positions.items():
            self._consumer.seek(tp, position)
        ends = await self._consumer.end_offsets(partitions)
        self._task = asyncio.create_task(self._follow(), name="readback")
        async with self._moved:
            await self._moved.wait_for(lambda: self._reached(ends))

    def _reached(self, ends: dict[TopicPartition, int]) -> bool:
        # Offsets have gaps where the topic was compacted, so this is never a count of records.
        return all(self._positions.get(tp, end) >= end for tp, end in ends.items())

    async def _pause(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _follow(self) -> None:
        while True:
            try:
                found = await self._consumer.getmany(timeout_ms=200, max_records=AT_ONCE)
                for batch in found.values():
                    for record in batch:
                        self._observe(record)
                await self._note_positions()
                for item_id in self._standings.to_mend():
                    await self._mend(item_id)
            except (KafkaError, OSError) as error:
                log.warning("reading %s again: %r", self._topic, error)
                await asyncio.sleep(RETRY_S)

    async def _note_positions(self) -> None:
        for tp in self._positions:
            self._positions[tp] = await self._consumer.position(tp)
        async with self._moved:
            self._moved.notify_all()

    def _observe(self, record: ConsumerRecord) -> None:
        found = published_rank(record.headers)
        if record.key is None or found is None:
            log.warning("%s:%d:%d has no key or no version", *_place(record))
            return
        arrived_ms = 0
        if record.value is not None:
            arrived_ms = vector_pb2.ItemVector.FromString(record.value).arrived_ms
        try:
            self._standings.observe(
                record.key.decode(),
                record.partition,
                found,
                record.value is not None,
                arrived_ms,
                record.offset,
            )
        except records.BadRecord as error:
            log.warning("%s:%d:%d: %s", *_place(record), error)

    async def _mend(self, item_id: str) -> None:
        """Publish again what counts for an item, as it was."""
        standing = self._standings.get(item_id)
        assert standing is not None
        home = self._homes.of(item_id)
        found = await self._read(home, standing.log_offset)
        key = item_id.encode()
        if found is not None and found.key == key:
            value, described = found.value, list(found.headers)
        elif not standing.alive:
            value, described = None, headers(standing.rank.version, _origin(standing, home))
        else:
            # Compacted away already, which takes a day's absence: the lower one is all there is.
            log.error(
                "%s:%d:%d is gone; it cannot be published again",
                self._topic,
                home,
                standing.log_offset,
            )
            self._standings.suspects.pop(item_id)
            return
        log.warning(
            "a lower version stood last on %s:%d; publishing the highest again", self._topic, home
        )
        log_offset = await self._publisher.write(home, key, value, described)
        self._standings.confirm(item_id, standing.rank, log_offset)
        self.mended += 1

    async def _read(self, home: int, offset: int) -> ConsumerRecord | None:
        """Read one record of the topic; None if nothing is to be had."""
        consumer = self._make()
        await consumer.start()
        try:
            tp = TopicPartition(self._topic, home)
            consumer.assign([tp])
            consumer.seek(tp, offset)
            found = await consumer.getmany(timeout_ms=5_000, max_records=1)
            batch = found.get(tp, [])
            return batch[0] if batch and batch[0].offset == offset else None
        finally:
            await consumer.stop()


def _place(record: ConsumerRecord) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _origin(standing: Standing, home: int) -> records.Origin:
    """Name the source of a delete whose own record is gone, so that its rank stays the same."""
    topic = "items" if standing.rank.live else "items-backfill"
    return records.Origin(topic, home, standing.rank.offset, standing.rank.version)
