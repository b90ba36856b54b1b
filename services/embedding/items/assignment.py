"""Work through one assignment of partitions, until the group takes it back.

`items` is read by the group's consumer, `items-backfill` by one of its own, so that what is
fetched of the backfill and still waits never holds up a fetch of live items. Offsets of both
are committed by the group's consumer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from freshet.contract.topics import ITEMS
from services.embedding.items.progress import (
    Acknowledged,
    Commit,
    PartitionProgress,
    added_after_ms,
)
from services.embedding.items.reconcile import Reconcile
from shared.clock import now_ms
from shared.runtime.byte_limit import ByteLimit
from shared.runtime.retry import TRANSIENT_ERRORS, retry_until_available
from shared.runtime.topic_reader import Stuck

log = logging.getLogger(__name__)

COMMIT_EVERY_S: Final = 0.5
POLL_MS: Final = 200  # a record is there at once; this bounds the wait without one
LIVE_AT_ONCE: Final = 64
BACKFILL_AT_ONCE: Final = 16
PICTURE_BYTES: Final = 224 * 224 * 3
RETRY_S: Final = 1.0
CHECK_S: Final = 5.0
REQUEST_S: Final = 5.0
STUCK_CHECKS: Final = 6


@dataclass(frozen=True, slots=True)
class Wiring:
    """What every assignment works with."""

    group: AIOKafkaConsumer
    backfill: AIOKafkaConsumer
    # What the group has committed, of all partitions.
    committed: Callable[[], Awaitable[dict[TopicPartition, OffsetAndMetadata]]]
    # Look after these partitions of `items`; returns once all is known that counts.
    caught_up: Callable[[set[int]], Awaitable[None]]
    reconcile: Reconcile
    handle: Callable[[ConsumerRecord], Awaitable[None]]  # returns when it may be acknowledged
    live_limit: ByteLimit
    backfill_limit: ByteLimit
    failed: Callable[[BaseException], None]  # hears of a defect, after which nothing goes on


class Assignment:
    """What this instance does with the partitions that it got, until it loses them."""

    def __init__(self, partitions: Iterable[TopicPartition], wiring: Wiring) -> None:
        every = sorted(partitions)
        self.live = [tp for tp in every if tp.topic == ITEMS.name]
        self.backfill = [tp for tp in every if tp.topic != ITEMS.name]
        self.lags: dict[TopicPartition, int] = {}  # records not done, at the last check
        self._wiring = wiring
        self._consumers = dict.fromkeys(self.live, wiring.group)
        self._consumers |= dict.fromkeys(self.backfill, wiring.backfill)
        self._progress: dict[TopicPartition, PartitionProgress] = {}  # empty until adopted
        self._waiting = dict.fromkeys(every, 0)  # records fetched that the limit keeps out
        self._handling: set[asyncio.Task[None]] = set()
        self._run_task: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        """Count the records that are being handled."""
        return len(self._handling)

    def begin(self) -> None:
        """Start to work; called where the assignment is made, before the group fetches."""
        self._wiring.group.pause(*self.backfill)
        self._run_task = asyncio.create_task(self._run(), name="assignment")
        self._run_task.add_done_callback(self._note_failure)

    async def end(self, within_s: float) -> None:
        """Take nothing more, let what is under way finish in time, acknowledge what is done."""
        if self._run_task is None:
            return
        self._run_task.cancel()
        await asyncio.gather(self._run_task, return_exceptions=True)
        if self._handling:
            await asyncio.wait(self._handling, timeout=within_s)
        left = list(self._handling)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._commit()

    async def _run(self) -> None:
        await retry_until_available("the state of the group", self._adopt)
        wiring = self._wiring
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(self.live, wiring.live_limit, LIVE_AT_ONCE))
            group.create_task(self._take(self.backfill, wiring.backfill_limit, BACKFILL_AT_ONCE))
            group.create_task(self._keep_committed())
            group.create_task(self._keep_reconciled())
            group.create_task(self._watch())

    async def _adopt(self) -> None:
        """Learn what counts and where to go on."""
        await self._wiring.caught_up({tp.partition for tp in self.live})
        every = list(self._consumers)
        committed = await self._wiring.committed() if every else {}
        starts = await self._wiring.group.beginning_offsets(every) if every else {}
        ends = await self._wiring.group.end_offsets(every) if every else {}
        self._wiring.backfill.assign(self.backfill)
        for tp in every:
            stored, commit = committed.get(tp), None
            if stored is not None and starts[tp] <= stored.offset <= ends[tp]:
                complete_ms = Acknowledged.read(stored.metadata).complete_ms
                commit = Commit(stored.offset, complete_ms)
            # else: never read, or another log than the one that was
            self._progress[tp] = progress = PartitionProgress(commit, starts[tp])
            if stored is None:
                others = [other for other in committed if other.topic == tp.topic]
                known = (Acknowledged.read(committed[other].metadata) for other in others)
                progress.reconciled(added_after_ms(tp.partition, known))
            if tp in self.backfill:
                self._wiring.backfill.seek(tp, self._progress[tp].done)

    async def _take(self, tps: list[TopicPartition], limit: ByteLimit, at_once: int) -> None:
        """Fetch and start to handle records, as many as the limit lets in."""
        while tps:
            consumer = self._consumers[tps[0]]
            try:
                batches = await consumer.getmany(*tps, timeout_ms=POLL_MS, max_records=at_once)
            except (KafkaError, OSError) as error:
                log.warning("reading %s again: %r", tps[0].topic, error)
                await asyncio.sleep(RETRY_S)
                continue
            for tp, batch in batches.items():
                self._waiting[tp] = len(batch)
            for tp, batch in batches.items():
                for record in batch:
                    size = _size_bytes(record)
                    await limit.acquire(size)
                    self._waiting[tp] -= 1
                    self._start(tp, record, limit, size)

    def _start(
        self, tp: TopicPartition, record: ConsumerRecord, limit: ByteLimit, size: int
    ) -> None:
        self._progress[tp].take(record.offset, record.timestamp)
        task = asyncio.create_task(self._finish(tp, record))
        self._handling.add(task)
        # Callbacks, because a task that is cancelled early never reaches a line of its own.
        task.add_done_callback(self._handling.discard)
        task.add_done_callback(self._note_failure)
        task.add_done_callback(lambda _: limit.release(size))

    async def _finish(self, tp: TopicPartition, record: ConsumerRecord) -> None:
        await self._wiring.handle(record)
        self._progress[tp].finish(record.offset, now_ms())

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._wiring.failed(error)

    async def _keep_committed(self) -> None:
        while True:
            await self._note_seen()
            await self._commit()
            await asyncio.sleep(COMMIT_EVERY_S)

    async def _keep_reconciled(self) -> None:
        # Beside the commits, as it may read for minutes.
        while True:
            await self._reconcile_if_behind()
            await asyncio.sleep(COMMIT_EVERY_S)

    async def _note_seen(self) -> None:
        """Note up to where, and up to which time, partitions with nothing under way are done."""
        at_ms = now_ms()
        for tp, progress in self._progress.items():
            consumer = self._consumers[tp]
            try:
                async with asyncio.timeout(POLL_MS / 1000):
                    position = await consumer.position(tp)
            except TimeoutError:  # not known yet
                continue
            if progress.in_flight or self._waiting[tp]:
                continue
            progress.pass_to(position)
            if progress.done == consumer.highwater(tp):
                progress.seen_all(consumer.last_poll_timestamp(tp) or 0, at_ms)

    async def _reconcile_if_behind(self) -> None:
        at_ms = now_ms()
        if not any(progress.is_behind(at_ms) for progress in self._progress.values()):
            return
        await self._wiring.reconcile()
        for progress in self._progress.values():
            progress.reconciled(at_ms)

    async def _commit(self) -> None:
        commits = {
            tp: commit
            for tp, progress in self._progress.items()
            if (commit := progress.to_commit()) is not None
        }
        if not commits:
            return
        group = self._wiring.group
        try:
            await group.commit(
                {
                    tp: (commit.offset, str(Acknowledged(commit.complete_ms, count)))
                    for tp, commit in commits.items()
                    for count in (len(group.partitions_for_topic(tp.topic) or ()),)
                }
            )
        except TRANSIENT_ERRORS as error:
            # During a rebalance this is usual; what is not acknowledged is read and covered again.
            log.info("commit failed: %r", error)
            return
        for tp, commit in commits.items():
            self._progress[tp].committed(commit)

    async def _watch(self) -> None:
        """Measure how far behind this is. Raises Stuck: only a new start helps (aiokafka #1154)."""
        idle, before = 0, self.lags
        while self._consumers:
            try:
                async with asyncio.timeout(REQUEST_S):
                    await self._measure()
            except (*TRANSIENT_ERRORS, TimeoutError):
                idle = 0  # Kafka is away
            busy = self.in_flight or any(self._waiting.values())
            stands_still = any(self.lags.values()) and self.lags == before and not busy
            idle, before = idle + 1 if stands_still else 0, self.lags
            if idle == STUCK_CHECKS:
                raise Stuck(f"no record for {STUCK_CHECKS * CHECK_S:.0f} s: {self.lags}")
            await asyncio.sleep(CHECK_S)

    async def _measure(self) -> None:
        ends = await self._wiring.group.end_offsets(list(self._consumers))
        self.lags = {tp: max(end - self._progress[tp].done, 0) for tp, end in ends.items()}


def _size_bytes(record: ConsumerRecord) -> int:
    """Estimate what a record takes while it is handled: bytes, decoded and piped, and pixels."""
    return 3 * len(record.value or b"") + PICTURE_BYTES
