"""Ask the log itself, beside the group: where it begins, where it ends, a record's time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from freshet import kafka_clients
from freshet.kafka_clients import KafkaSettings

TIMEOUT_S = 10.0


class Bounds(NamedTuple):
    """Offsets of a partition: the first that the log holds, and the end of what is committed."""

    begin: int
    end: int


class LogReader:
    """A consumer without a group. Methods raise KafkaError, or TimeoutError after 10 s."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._consumer: AIOKafkaConsumer = kafka_clients.consumer(
            settings, request_timeout_ms=10_000, isolation_level="read_committed"
        )
        self._one_at_a_time = asyncio.Lock()

    async def start(self) -> None:
        """Connect."""
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def bounds(self, partitions: Iterable[int]) -> dict[int, Bounds]:
        """Return where partitions begin and end."""
        tps = [TopicPartition(self._topic, partition) for partition in partitions]
        if not tps:
            return {}
        async with asyncio.timeout(TIMEOUT_S):
            begins = await self._consumer.beginning_offsets(tps)
            ends = await self._consumer.end_offsets(tps)
        return {tp.partition: Bounds(begins[tp], ends[tp]) for tp in tps}

    async def first_after(self, partition: int, time_ms: int) -> int | None:
        """Return the offset of the first record that is later than a time; None if there is none.

        Record times ascend, as they are the log's own.
        """
        tp = TopicPartition(self._topic, partition)
        async with asyncio.timeout(TIMEOUT_S):
            found = (await self._consumer.offsets_for_times({tp: time_ms + 1}))[tp]
        return None if found is None else int(found.offset)

    async def time_of(self, partition: int, offset: int) -> int | None:
        """Return the record time in ms at an offset before the end; None if no record is there."""
        tp = TopicPartition(self._topic, partition)
        async with self._one_at_a_time, asyncio.timeout(TIMEOUT_S):
            self._consumer.assign([tp])
            self._consumer.seek(tp, offset)
            record = await self._consumer.getone(tp)
        return int(record.timestamp) if record.offset == offset else None
