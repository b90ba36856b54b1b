"""Read a whole topic for ever, without a group: how a service keeps a copy of a topic in memory.

Progress is what counts: a consumer may be stuck after a broker's restart without any sign
(aiokafka #1154), so one that does not move while there is something to read is replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError

log = logging.getLogger(__name__)

AT_ONCE: Final = 500  # records of one fetch
SLICE: Final = 32  # records taken before other tasks have their turn: about 1 ms
POLL_MS: Final = 200  # a new record is there at once; this bounds the wait without one
CHECK_S: Final = 5.0
REQUEST_S: Final = 5.0
RECORD_MS: Final = 5_000  # that a single record may take to come
RETRY_S: Final = 0.5
FAILURES: Final = (KafkaError, ConsumerStoppedError, OSError, TimeoutError)


Take = Callable[[Sequence[ConsumerRecord]], None]


class Stuck(Exception):
    """There are records to read, and the consumer has returned none for several checks."""


class TopicReader:
    """Follows all partitions of one topic from given offsets, also ones that are added later."""

    def __init__(
        self,
        make: Callable[[str], AIOKafkaConsumer],
        topic: str,
        *,
        offsets: Mapping[int, int] | None = None,
        check_s: float = CHECK_S,
    ) -> None:
        """make: returns a consumer of a topic, without group, not started.

        offsets: where to begin by partition; the others at the log's start.
        """
        self.positions: dict[int, int] = dict(offsets or {})  # next offset to take, by partition
        self.ends_at_start: dict[int, int] | None = None  # by partition, before the first record
        self.replaced = 0  # consumers given up, since the start
        self._make = make
        self._topic = topic
        self._check_s = check_s
        self._consumer: AIOKafkaConsumer | None = None
        self._ends: dict[int, int] = {}  # as of the last check
        self._moved = asyncio.Condition()

    def lag(self) -> int | None:
        """Return how many offsets were left to read at the last check; None before the first."""
        if not self._ends:
            return None
        return sum(max(0, end - self.positions.get(p, 0)) for p, end in self._ends.items())

    async def run(self, take: Take) -> None:
        """Read until cancelled. take: never raises; nothing of it is kept after the end."""
        while True:
            try:
                await self._follow(take)
            except (*FAILURES, Stuck) as error:
                self.replaced += 1
                log.warning("reading %s anew: %s", self._topic, error or type(error).__name__)
            await asyncio.sleep(RETRY_S)

    async def caught_up(self) -> None:
        """Wait until everything is taken that stood in the topic when this was called.

        Needs `run` at work; waits as long as Kafka is not there.
        """
        ends = await self._current_ends()
        async with self._moved:
            # Never a count of records: offsets have gaps where the topic was compacted.
            await self._moved.wait_for(
                lambda: all(self.positions.get(p, 0) >= end for p, end in ends.items())
            )

    async def _current_ends(self) -> dict[int, int]:
        while True:
            if self._consumer is not None:
                try:
                    return await _ends_of(self._consumer)
                except FAILURES as error:
                    log.info("the end of %s is not known yet: %s", self._topic, error)
            await asyncio.sleep(0.05)

    async def _follow(self, take: Take) -> None:
        """Read with one consumer until it fails or is stuck."""
        consumer = self._make(self._topic)
        try:
            async with asyncio.timeout(2 * REQUEST_S):
                await consumer.start()
            if self.ends_at_start is None:
                self.ends_at_start = await _ends_of(consumer)
            self._consumer = consumer
            await self._read(consumer, take)
        finally:
            self._consumer = None
            await stop_consumer(consumer)

    async def _read(self, consumer: AIOKafkaConsumer, take: Take) -> None:
        clock = asyncio.get_running_loop().time
        check_at, seen, idle_checks = clock() + self._check_s, dict(self.positions), 0
        assigned = self._seek(consumer)
        while True:
            batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=AT_ONCE)
            if consumer.assignment() != assigned:
                # Partitions were added, and aiokafka begins anew with all of them.
                assigned = self._seek(consumer)
                batches = {
                    tp: records
                    for tp, records in batches.items()
                    if tp.partition not in self.positions
                }
            for records in batches.values():
                await _take_in_slices(records, take)
            await self._note_positions(consumer, assigned)
            if clock() >= check_at:
                self._ends = await _ends_of(consumer)
                idle_checks = idle_checks + 1 if self.lag() and seen == self.positions else 0
                if idle_checks == 2:
                    raise Stuck(f"no record for {2 * self._check_s:.0f} s, {self.lag()} to read")
                check_at, seen = clock() + self._check_s, dict(self.positions)

    def _seek(self, consumer: AIOKafkaConsumer) -> frozenset[TopicPartition]:
        """Let a consumer read on from the positions, and return its partitions."""
        assigned: frozenset[TopicPartition] = consumer.assignment()
        for tp in assigned:
            if tp.partition in self.positions:
                consumer.seek(tp, self.positions[tp.partition])
        return assigned

    async def _note_positions(
        self, consumer: AIOKafkaConsumer, assigned: frozenset[TopicPartition]
    ) -> None:
        before = dict(self.positions)
        for tp in assigned:
            try:
                # Not known while the log's start is being asked for: then next time.
                async with asyncio.timeout(POLL_MS / 1000):
                    position = await consumer.position(tp)
            except TimeoutError:
                continue
            if consumer.assignment() != assigned:
                return  # partitions were added, and this may be where it begins anew
            self.positions[tp.partition] = position
        if self.positions != before:
            async with self._moved:
                self._moved.notify_all()


class RecordReader:
    """Reads single records of a topic, one after the other, with a consumer that it keeps."""

    def __init__(self, make: Callable[[], AIOKafkaConsumer], topic: str) -> None:
        """make: returns a consumer of no topic yet, without group, not started."""
        self._make = make
        self._topic = topic
        self._turn = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None

    async def read(self, partition: int, offset: int) -> ConsumerRecord | None:
        """Return a record; None if it is not there any more. Raises one of FAILURES.

        A broker that is away shows by nothing but that no record comes.
        """
        tp = TopicPartition(self._topic, partition)
        async with self._turn:
            try:
                if self._consumer is None:
                    self._consumer = self._make()
                    await self._consumer.start()
                self._consumer.assign([tp])
                self._consumer.seek(tp, offset)
                batches = await self._consumer.getmany(timeout_ms=RECORD_MS, max_records=1)
                if not batches:
                    await _refuse_late(self._consumer, tp, offset)
            except BaseException:
                await self.close()
                raise
        batch = batches.get(tp, [])
        return batch[0] if batch and batch[0].offset == offset else None

    async def close(self) -> None:
        """Close the consumer; the next record opens another."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_consumer(consumer)


async def _refuse_late(consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> None:
    """Raise TimeoutError where a record may be at an offset, at which a consumer got none."""
    async with asyncio.timeout(REQUEST_S):
        # Beyond the offset it is once it has seen that everything was compacted away.
        if await consumer.position(tp) == offset < (await consumer.end_offsets([tp]))[tp]:
            raise TimeoutError(f"no record of {tp.topic}:{tp.partition} came in time")


async def _take_in_slices(records: list[ConsumerRecord], take: Take) -> None:
    for start in range(0, len(records), SLICE):
        take(records[start : start + SLICE])
        await asyncio.sleep(0)


async def ends_of(make: Callable[[str], AIOKafkaConsumer], topic: str) -> dict[int, int]:
    """Return where a topic ends now, by partition. Raises KafkaError or TimeoutError."""
    consumer = make(topic)
    try:
        async with asyncio.timeout(2 * REQUEST_S):
            await consumer.start()
        return await _ends_of(consumer)
    finally:
        await stop_consumer(consumer)


async def _ends_of(consumer: AIOKafkaConsumer) -> dict[int, int]:
    async with asyncio.timeout(REQUEST_S):
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(consumer.assignment()))
    return {tp.partition: end for tp, end in ends.items()}


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Close a consumer that may be broken; one that does not close in time is left to itself.

    Waited for from outside: its own tasks can swallow a cancellation while the broker is away.
    """
    closing = asyncio.ensure_future(consumer.stop())
    done, _ = await asyncio.wait({closing}, timeout=REQUEST_S)
    error = closing.exception() if done and not closing.cancelled() else None
    if error or not done:
        log.info("a consumer did not close: %r", error or "in time")
    closing.add_done_callback(lambda late: late.cancelled() or late.exception())


async def read_once(
    make: Callable[[str], AIOKafkaConsumer],
    topic: str,
    take: Take,
) -> None:
    """Read a topic from its beginning to where it ends now; arguments as of TopicReader."""
    reader = TopicReader(make, topic)
    reading = asyncio.create_task(reader.run(take))
    try:
        await reader.caught_up()
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
