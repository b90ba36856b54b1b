"""Hand one partition's records of one fetch to Faust's agent as one message.

Stock Faust spends about 60 µs on every record (message, event, queue, acknowledgement). What it
does well (assignment, rebalance, flow control, commit, shutdown) works on messages whatever they
hold, so here the value of a message is a `Batch`, and the agent says when it is `done`.

Where reading starts is not Kafka's committed offset but what Redis says (docs/architecture.md:
exactly-once effect). So a partition that was assigned, or must be read again, is *waiting*: nothing
of it is fetched, and what was fetched before and not folded counts for nothing, until
`start_reading` says from which offset on. Offsets are still committed, for those who watch the
group's lag from outside.

Kept from Faust: one agent, one topic. Not kept: tables, exactly_once, its back-pressure by pausing
partitions (a partition with two batches under way is not fetched from instead).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import starmap
from typing import Any, NamedTuple, cast

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    OffsetOutOfRangeError,
)
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from services.sessions.faust.batches import Batch

log = logging.getLogger(__name__)
faust_log = logging.getLogger("faust")

UNDER_WAY_AT_MOST = 2  # batches of a partition: one in hand and one waiting
FETCH_TIMEOUT_S = 0.2  # a partition that starts meanwhile waits that long
CROWDED_TIMEOUT_S = 0.01
RETRY_S = 1.0
COMMIT_TIMEOUT_S = 5.0


class ReadEpoch(NamedTuple):
    """One reading of a partition: its number is never used again."""

    number: int
    next_offset: int  # after what has been fetched


def _tp(batch: Batch) -> TP:
    return TP(batch.topic, batch.partition)


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer in its thread, on whose loop partitions are sought and fetched."""

    logger = faust_log

    def __post_init__(self) -> None:
        super().__post_init__()
        self._epochs: dict[TP, ReadEpoch] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # of _epochs, which the main thread changes too
        self._started_reading = asyncio.Event()

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        assert isinstance(transport, BatchTransport)
        return transport.make_consumer(
            group_id=self.app.conf.id,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            # An offset that the log does not hold is a question for Redis, never a silent jump.
            auto_offset_reset="none",
            max_poll_records=transport.batch_at_most,
        )

    def epoch_of(self, tp: TP) -> ReadEpoch | None:
        """Return the present reading of a partition, None while it waits. Safe from any thread."""
        return self._epochs.get(tp)

    async def start_reading(self, tp: TP, start_offset: int, seek_to: int) -> bool:
        """Read `tp` from `seek_to` on; False if it is no longer assigned."""
        return bool(await self.call_thread(self._start_reading, tp, start_offset, seek_to))

    async def _start_reading(self, tp: TP, start_offset: int, seek_to: int) -> bool:
        consumer = self._ensure_consumer()
        try:
            consumer.seek(tp, seek_to)
        except IllegalStateError:  # lost to a rebalance meanwhile
            return False
        with self._lock:
            self._epochs[tp] = ReadEpoch(next(self._numbers), start_offset)
        self._started_reading.set()
        return True

    def stop_reading(self, tps: Iterable[TP]) -> None:
        """Let partitions wait: their batches under way count for nothing from now on.

        Safe from any thread: a fetch that ends meanwhile belongs to a reading that is over.
        """
        with self._lock:
            for tp in tps:
                self._epochs.pop(tp, None)

    async def reached(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return up to which offset partitions are read, markers that hold no record included."""
        offsets: dict[TP, int] = await self.call_thread(self._reached, tps)
        return offsets

    async def _reached(self, tps: Collection[TP]) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        # Known at once for a partition that is read: a seek sets it.
        return {tp: await consumer.position(tp) for tp in tps if self.epoch_of(tp)}

    async def fetch(self, tps: Collection[TP], timeout_s: float) -> list[Batch]:
        """Wait for records of those of these partitions that are read; empty after `timeout_s`."""
        batches: list[Batch] = await self.call_thread(self._fetch, tps, timeout_s)
        return batches

    async def _fetch(self, tps: Collection[TP], timeout_s: float) -> list[Batch]:
        with self._lock:
            being_read = self._epochs.keys() & tps
        if not being_read:  # aiokafka takes "no partition" for "every partition"
            self._started_reading.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._started_reading.wait(), timeout_s)
            return []
        # Each by itself, so that a partition with much to read leaves the others their turn.
        batches = [batch for tp in sorted(being_read) for batch in await self._fetched({tp}, 0)]
        return batches or await self._fetched(being_read, timeout_s)

    async def _fetched(self, tps: set[TP], timeout_s: float) -> list[Batch]:
        consumer = self._ensure_consumer()
        try:
            fetched = await self._fetch_records(
                consumer, tps, timeout=timeout_s, max_records=consumer._max_poll_records
            )
        except OffsetOutOfRangeError as error:
            self.stop_reading(list(error.args[0]))
            return []
        # Nothing was awaited since the records were taken, so the epochs are theirs.
        with self._lock:
            return [batch for batch in starmap(self._take, fetched.items()) if batch is not None]

    def _take(self, tp: TP, records: Sequence[ConsumerRecord]) -> Batch | None:
        """Make records the batch that goes on where the one before ended."""
        epoch = self._epochs.get(tp)
        if epoch is None:
            return None
        if records[0].offset < epoch.next_offset:  # not what was asked for: ask again
            del self._epochs[tp]
            return None
        self._epochs[tp] = epoch._replace(next_offset=records[-1].offset + 1)
        return Batch(tp.topic, tp.partition, epoch.number, epoch.next_offset, records)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Advice for onlookers, as Redis says where reading goes on; stock Faust ends the worker
        # when it cannot be given.
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        ours = {TopicPartition(*tp): at for tp, at in offsets.items() if tp in assigned}
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                if ours:
                    await consumer.commit(ours)
        except (KafkaError, TimeoutError) as error:
            log.info("offsets not committed: %r", error)
            return False
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Leave it to the worker's own liveness, which judges by progress."""


class BatchConsumer(driver.Consumer):
    """Faust's consumer, with batches for messages, and Redis in place of committed offsets."""

    logger = faust_log

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._under_way: Counter[TP] = Counter()  # batches handed out and not done
        self._done: dict[TP, int] = {}  # last offset done, not committed yet

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # Where partitions are read

    def waiting(self) -> set[TP]:
        """Return the assigned partitions that wait for `start_reading`; none during a rebalance."""
        if not self.flow_active:
            return set()
        return {tp for tp in self.assignment() if self._thread.epoch_of(tp) is None}

    def is_current(self, batch: Batch) -> bool:
        """Say whether a batch belongs to its partition's present reading."""
        epoch = self._thread.epoch_of(_tp(batch))
        return epoch is not None and epoch.number == batch.epoch

    def is_idle(self, tp: TP) -> bool:
        """Say whether no batch of a partition is under way to the agent or in its hands."""
        return self._under_way[tp] == 0

    def next_offset(self, tp: TP) -> int | None:
        """Return the offset that follows what has been fetched, None while it waits."""
        epoch = self._thread.epoch_of(tp)
        return epoch.next_offset if epoch else None

    async def start_reading(self, tp: TP, start_offset: int, seek_to: int) -> bool:
        """Read a partition from `seek_to` on, its first batch's `start` being `start_offset`.

        The two differ when the log no longer holds what stood in between. False if the partition
        is not assigned any more.
        """
        return await self._thread.start_reading(tp, start_offset, seek_to)

    async def reached(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return up to which offset partitions have been read, of those that are."""
        return await self._thread.reached(tps)

    def stop_reading(self, tps: Collection[TP]) -> None:
        """Disown what was fetched of partitions, and let them wait for `start_reading`."""
        self._thread.stop_reading(tps)
        for tp in tps:
            self._committed_offset.pop(tp, None)
            self._under_way.pop(tp, None)
            self._done.pop(tp, None)
        cast(BatchTransport, self.transport).on_waiting()

    async def perform_seek(self) -> None:
        """Let what was assigned wait: Faust calls this where it would go to committed offsets.

        Redis is asked elsewhere, because here a time-out of Faust's would end the worker.
        """
        self.stop_reading(self.assignment())

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Disown at once what is lost, before anything waits."""
        self.stop_reading(revoked)
        await super().on_partitions_revoked(revoked)

    # Flow

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: no partition has more batches under way than the agent takes."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing, see on_buffer_full."""

    async def _drain_messages(self, fetcher: Any) -> None:
        while not (self.should_stop or fetcher.should_stop):
            if not self.flow_active:
                await self.wait_first(self.can_resume_flow.wait())
                continue
            try:
                batches = await self._fetch()
            except ConsumerStoppedError:
                if self.transport.app.should_stop:
                    return
                raise
            except KafkaError as error:
                log.warning("nothing fetched: %r", error)
                await self.sleep(RETRY_S)
                continue
            self._under_way.update(map(_tp, filter(self.is_current, batches)))
            for batch in batches:
                if self.flow_active and self.is_current(batch):
                    await self.wait_first(
                        self.callback(self._message(batch)), self.suspend_flow.wait()
                    )
                if not self.flow_active:  # nobody knows whether it arrived: let it be fetched again
                    self.stop_reading({_tp(batch)})

    async def _fetch(self) -> list[Batch]:
        """Fetch from the partitions that have room for a batch."""
        assigned = self.assignment()
        room = {tp for tp in assigned if self._under_way[tp] < UNDER_WAY_AT_MOST}
        # What gets room meanwhile is not in this fetch, so this one must not wait long.
        timeout_s = FETCH_TIMEOUT_S if room == assigned else CROWDED_TIMEOUT_S
        return await self._thread.fetch(room, timeout_s)

    def _message(self, batch: Batch) -> ConsumerMessage:
        last = batch.records[-1]
        return ConsumerMessage(
            batch.topic,
            batch.partition,
            last.offset,
            last.timestamp / 1000,
            last.timestamp_type,
            None,
            None,
            cast(bytes, batch),  # what Faust carries, and does not look at
            None,
            None,
            None,
            _tp(batch),
            generation_id=self.app.consumer_generation_id,
        )

    def done(self, batch: Batch) -> None:
        """Note that a batch has had its effect; its partition's batches come in their order."""
        if self.is_current(batch):
            self._under_way[_tp(batch)] -= 1
            self._done[_tp(batch)] = batch.end

    def _new_offset(self, tp: TP) -> int | None:
        # Faust notes every acknowledgement and looks for the first gap, and gets that wrong
        # (faust#606); what is done says more.
        self._acked.pop(tp, None)
        self._acked_index.pop(tp, None)
        done = self._done.pop(tp, None)
        return None if done is None else done + 1


class BatchTransport(driver.Transport):
    """Faust's transport with this module's consumer."""

    Consumer = BatchConsumer

    def __init__(
        self,
        app: Any,
        make_consumer: Callable[..., AIOKafkaConsumer],
        *,
        batch_at_most: int,
        on_waiting: Callable[[], None],
    ) -> None:
        super().__init__(app.conf.broker_consumer, app, loop=None)
        self.make_consumer = make_consumer
        self.batch_at_most = batch_at_most
        self.on_waiting = on_waiting
