"""A Faust transport that hands one partition's records of one fetch to the agent as one message.

Stock Faust spends about 60 µs on every record (message, event, queue, acknowledgement). What it
does well (assignment, rebalance, flow control, commit, shutdown) works on messages whatever they
hold, so here the value of a message is a `Batch`, and the agent says when it is `done`.

Where reading starts is not Kafka's committed offset but what Redis says (design: exactly-once
effect). So a partition that was assigned, or must be read again, is *unplaced*: nothing of it is
fetched, and what was fetched before and not folded counts for nothing, until `place` says from
which offset on. Offsets are still committed, for those who watch the group's lag from outside.

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
FETCH_TIMEOUT_S = 0.2  # a partition that is placed meanwhile waits so long
CROWDED_TIMEOUT_S = 0.01
RETRY_S = 1.0
COMMIT_TIMEOUT_S = 5.0


class _Place(NamedTuple):
    """Where a partition is read: `epoch` names this reading, and is never used again."""

    epoch: int
    next_offset: int


def _tp(batch: Batch) -> TP:
    return TP(batch.topic, batch.partition)


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer in its thread, on whose loop partitions are placed and fetched."""

    logger = faust_log

    def __post_init__(self) -> None:
        super().__post_init__()
        self._places: dict[TP, _Place] = {}
        self._epochs = itertools.count(1)
        self._lock = threading.Lock()  # of _places, which the main thread changes too
        self._placed = asyncio.Event()

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        assert isinstance(transport, BatchTransport)
        return transport.make_consumer(
            group_id=self.app.conf.id,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
            # An offset that the log does not hold is a question for `place`, never a silent jump.
            auto_offset_reset="none",
            max_poll_records=transport.batch_at_most,
        )

    def place_of(self, tp: TP) -> _Place | None:
        """Return where a partition is read, None while it is unplaced. Safe from any thread."""
        return self._places.get(tp)

    async def place(self, tp: TP, next_offset: int, seek_to: int) -> bool:
        """Read `tp` from `seek_to` on; False if it is no longer assigned."""
        return bool(await self.call_thread(self._place, tp, next_offset, seek_to))

    async def _place(self, tp: TP, next_offset: int, seek_to: int) -> bool:
        consumer = self._ensure_consumer()
        try:
            consumer.seek(tp, seek_to)
        except IllegalStateError:  # lost to a rebalance meanwhile
            return False
        with self._lock:
            self._places[tp] = _Place(next(self._epochs), next_offset)
        self._placed.set()
        return True

    def forget(self, tps: Iterable[TP]) -> None:
        """Unplace partitions: batches of theirs that are under way count for nothing from now on.

        Safe from any thread: a fetch that ends meanwhile belongs to a place that is gone.
        """
        with self._lock:
            for tp in tps:
                self._places.pop(tp, None)

    async def reached(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return up to which offset partitions are read, markers that hold no record included."""
        found: dict[TP, int] = await self.call_thread(self._reached, tps)
        return found

    async def _reached(self, tps: Collection[TP]) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        # Known at once for a partition that was placed: a seek sets it.
        return {tp: await consumer.position(tp) for tp in tps if self.place_of(tp)}

    async def fetch(self, tps: Collection[TP], timeout_s: float) -> list[Batch]:
        """Wait for records of these partitions, if they are placed; empty after `timeout_s`."""
        batches: list[Batch] = await self.call_thread(self._fetch, tps, timeout_s)
        return batches

    async def _fetch(self, tps: Collection[TP], timeout_s: float) -> list[Batch]:
        with self._lock:
            wanted = self._places.keys() & tps
        if not wanted:  # aiokafka takes "no partition" for "every partition"
            self._placed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._placed.wait(), timeout_s)
            return []
        # Each by itself, so that a partition with much to read leaves the others their turn.
        batches = [batch for tp in sorted(wanted) for batch in await self._fetched({tp}, 0)]
        return batches or await self._fetched(wanted, timeout_s)

    async def _fetched(self, tps: set[TP], timeout_s: float) -> list[Batch]:
        consumer = self._ensure_consumer()
        try:
            fetched = await self._fetch_records(
                consumer, tps, timeout=timeout_s, max_records=consumer._max_poll_records
            )
        except OffsetOutOfRangeError as error:
            self.forget(list(error.args[0]))
            return []
        # Nothing was awaited since the records were taken, so the places are theirs.
        with self._lock:
            return [batch for batch in starmap(self._take, fetched.items()) if batch is not None]

    def _take(self, tp: TP, records: Sequence[ConsumerRecord]) -> Batch | None:
        """Make records the batch that goes on where the one before ended."""
        place = self._places.get(tp)
        if place is None:
            return None
        if records[0].offset < place.next_offset:  # not what was asked for: ask again
            del self._places[tp]
            return None
        self._places[tp] = _Place(place.epoch, records[-1].offset + 1)
        return Batch(tp.topic, tp.partition, place.epoch, place.next_offset, records)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Advice for onlookers, as Redis says where reading goes on; stock Faust ends the worker
        # when it cannot be given.
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        wanted = {TopicPartition(*tp): at for tp, at in offsets.items() if tp in assigned}
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                if wanted:
                    await consumer.commit(wanted)
        except (KafkaError, TimeoutError) as error:
            log.info("offsets not committed: %r", error)
            return False
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Leave it to the worker's own liveness, which judges by progress."""


class BatchConsumer(driver.Consumer):
    """Faust's consumer, with batches for messages and places for committed offsets."""

    logger = faust_log

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._under_way: Counter[TP] = Counter()  # batches handed out and not done
        self._done: dict[TP, int] = {}  # last offset done, not committed yet

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # Places

    def unplaced(self) -> set[TP]:
        """Return the assigned partitions that wait for `place`; none during a rebalance."""
        if not self.flow_active:
            return set()
        return {tp for tp in self.assignment() if self._thread.place_of(tp) is None}

    def is_current(self, batch: Batch) -> bool:
        """Say whether a batch belongs to its partition's present place."""
        place = self._thread.place_of(_tp(batch))
        return place is not None and place.epoch == batch.epoch

    def is_idle(self, tp: TP) -> bool:
        """Say whether no batch of a partition is under way to the agent or in its hands."""
        return self._under_way[tp] == 0

    def next_offset(self, tp: TP) -> int | None:
        """Return the offset that follows what has been fetched, None while unplaced."""
        place = self._thread.place_of(tp)
        return place.next_offset if place else None

    async def place(self, tp: TP, next_offset: int, seek_to: int) -> bool:
        """Read a partition from `seek_to` on, its first batch's `start` being `next_offset`.

        The two differ when the log no longer holds what stood in between. False if the partition
        is not assigned any more.
        """
        return await self._thread.place(tp, next_offset, seek_to)

    async def reached(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return up to which offset partitions that are placed have been read."""
        return await self._thread.reached(tps)

    def unplace(self, tps: Collection[TP]) -> None:
        """Stop reading partitions and disown what was fetched of them, until they are placed."""
        self._thread.forget(tps)
        for tp in tps:
            self._committed_offset.pop(tp, None)
            self._under_way.pop(tp, None)
            self._done.pop(tp, None)
        cast(BatchTransport, self.transport).on_unplaced()

    async def perform_seek(self) -> None:
        """Unplace what was assigned: Faust calls this where it would go to committed offsets.

        Redis is asked elsewhere, because here a time-out of Faust's would end the worker.
        """
        self.unplace(self.assignment())

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Disown at once what is lost, before anything waits."""
        self.unplace(revoked)
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
                    self.unplace({_tp(batch)})

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
        on_unplaced: Callable[[], None],
    ) -> None:
        super().__init__(app.conf.broker_consumer, app, loop=None)
        self.make_consumer = make_consumer
        self.batch_at_most = batch_at_most
        self.on_unplaced = on_unplaced
