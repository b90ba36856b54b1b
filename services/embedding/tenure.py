"""One assignment of partitions, from its beginning to its end.

`items` is read by the group's consumer, `items-backfill` by one of its own, so that what is
fetched of the backfill and not yet wanted never holds up a fetch of live items. Offsets of both
are committed by the group's consumer, with the time up to which no delete can have been missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from services.embedding.budget import Budget
from services.embedding.progress import Progress
from services.embedding.readback import Readback
from services.embedding.reconcile import Reconcile
from shared.retry import NOT_THERE, until_there
from shared.topics import DAY_MS, ITEMS

log = logging.getLogger(__name__)

BEHIND_MS = 6 * DAY_MS  # a day less than the topics keep deletes
COMMIT_EVERY_S = 0.5
NOTE_TIME_EVERY_MS = 600_000  # how often an idle partition's commit is renewed
POLL_MS = 200
BACKFILL_AT_ONCE = 16
PICTURE_BYTES = 224 * 224 * 3
RETRY_S = 1.0

Committed = Callable[[list[TopicPartition]], Awaitable[dict[TopicPartition, OffsetAndMetadata]]]


class Tenure:
    """What this instance does with the partitions that it got, until it loses them."""

    def __init__(
        self,
        partitions: Iterable[TopicPartition],
        group: AIOKafkaConsumer,
        backfill: AIOKafkaConsumer,
        committed: Committed,
        readback: Readback,
        homes: Callable[[set[int]], frozenset[int]],
        reconcile: Reconcile,
        handle: Callable[[ConsumerRecord], Awaitable[None]],
        budgets: tuple[Budget, Budget],
    ) -> None:
        """budgets: of live and of backfill records."""
        every = sorted(partitions)
        self.live = [tp for tp in every if tp.topic == ITEMS.name]
        self.backfill = [tp for tp in every if tp.topic != ITEMS.name]
        self._consumers = dict.fromkeys(self.live, group) | dict.fromkeys(self.backfill, backfill)
        self._group = group
        self._backfill_consumer = backfill
        self._committed = committed
        self._readback = readback
        self._homes = homes
        self._reconcile = reconcile
        self._handle = handle
        self._budgets = budgets
        self._progress = {tp: Progress() for tp in every}
        self._start: dict[TopicPartition, int] = {}  # the first offset to be read
        self._noted: dict[TopicPartition, tuple[int, int]] = {}  # as committed last
        self._complete_ms: dict[TopicPartition, int] = {}
        self._handling: set[asyncio.Task[None]] = set()
        self.adopted = asyncio.Event()
        self._run_task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None  # a defect: the service cannot go on

    def begin(self) -> None:
        """Start to work; called where the assignment is made, before the group fetches."""
        self._group.pause(*self.backfill)
        self._run_task = asyncio.create_task(self._run(), name="tenure")
        self._run_task.add_done_callback(self._note_failure)

    @property
    def in_flight(self) -> int:
        """How many records are being handled."""
        return len(self._handling)

    def lag(self, tp: TopicPartition) -> int | None:
        """Return how many records are not done, about; None before the first fetch."""
        highwater = self._consumers[tp].highwater(tp) if self.adopted.is_set() else None
        return None if highwater is None else max(highwater - self._done(tp), 0)

    def _done(self, tp: TopicPartition) -> int:
        done = self._progress[tp].next_offset
        return self._start[tp] if done is None else done

    async def end(self, within_s: float) -> None:
        """Take nothing more, give what is under way so long to finish, acknowledge what is done."""
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
        if self.adopted.is_set():
            await self._commit()

    async def _run(self) -> None:
        await until_there("the state of the group", self._adopt)
        self.adopted.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take(self._group, self.live, self._budgets[0], 64))
            group.create_task(
                self._take(
                    self._backfill_consumer, self.backfill, self._budgets[1], BACKFILL_AT_ONCE
                )
            )
            group.create_task(self._keep_committed())

    async def _adopt(self) -> None:
        """Learn what counts and where to go on."""
        await self._readback.own(self._homes({tp.partition for tp in self.live}))
        every = [*self.live, *self.backfill]
        if not every:
            return
        committed = await self._committed(every)
        starts = await self._group.beginning_offsets(every)
        ends = await self._group.end_offsets(every)
        self._backfill_consumer.assign(self.backfill)
        for tp in every:
            found = committed.get(tp)
            if found is not None and starts[tp] <= found.offset <= ends[tp]:
                self._start[tp] = found.offset
                self._complete_ms[tp] = _time(found.metadata)
                self._noted[tp] = (found.offset, self._complete_ms[tp])
            else:  # never read, or another log than the one that was
                self._start[tp], self._complete_ms[tp] = starts[tp], 0
            if tp in self.backfill:
                self._backfill_consumer.seek(tp, self._start[tp])

    async def _take(
        self, consumer: AIOKafkaConsumer, tps: list[TopicPartition], budget: Budget, at_once: int
    ) -> None:
        """Fetch and start to handle records, as many as the budget lets in."""
        while tps:
            try:
                found = await consumer.getmany(*tps, timeout_ms=POLL_MS, max_records=at_once)
            except (KafkaError, OSError) as error:
                log.warning("reading %s again: %r", tps[0].topic, error)
                await asyncio.sleep(RETRY_S)
                continue
            for tp, batch in found.items():
                for record in batch:
                    size = _size_bytes(record)
                    await budget.take(size)
                    self._progress[tp].take(record.offset, record.timestamp)
                    task = asyncio.create_task(self._finish(tp, record, budget, size))
                    self._handling.add(task)
                    task.add_done_callback(self._handling.discard)
                    task.add_done_callback(self._note_failure)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
            log.critical("cannot go on", exc_info=self.failure)

    async def _finish(
        self, tp: TopicPartition, record: ConsumerRecord, budget: Budget, size: int
    ) -> None:
        try:
            await self._handle(record)
            self._progress[tp].finish(record.offset)
        finally:
            budget.give(size)

    async def _keep_committed(self) -> None:
        while True:
            await self._reconcile_if_behind()
            await self._commit()
            await asyncio.sleep(COMMIT_EVERY_S)

    async def _reconcile_if_behind(self) -> None:
        """Look for missed deletes where reading has been away for too long, or nobody knows."""
        self._note_time()
        now_ms = _now_ms()
        if all(now_ms - self._complete_ms[tp] < BEHIND_MS for tp in self._progress):
            return
        try:
            await self._reconcile()
        except (KafkaError, OSError) as error:
            log.warning("looking for missed deletes again: %r", error)
            return
        for tp in self._progress:
            self._complete_ms[tp] = max(self._complete_ms[tp], now_ms)

    def _note_time(self) -> None:
        """Note the time up to which every record of a partition has been seen."""
        for tp, progress in self._progress.items():
            consumer = self._consumers[tp]
            if self.lag(tp) == 0 and not progress.in_flight:
                seen_ms = consumer.last_poll_timestamp(tp) or 0
            else:
                seen_ms = progress.finished_ms
            # Where a partition was away too long this must not hide it: the scan comes first.
            if _now_ms() - self._complete_ms[tp] < BEHIND_MS:
                self._complete_ms[tp] = max(self._complete_ms[tp], seen_ms)

    async def _commit(self) -> None:
        wanted = {}
        for tp in self._progress:
            now = (self._done(tp), self._complete_ms[tp])
            noted = self._noted.get(tp)
            if noted is None or now[0] != noted[0] or now[1] - noted[1] > NOTE_TIME_EVERY_MS:
                wanted[tp] = now
        if not wanted:
            return
        try:
            await self._group.commit({tp: (at, str(ms)) for tp, (at, ms) in wanted.items()})
        except NOT_THERE as error:
            # During a rebalance this is usual; what is not acknowledged is read and covered again.
            log.info("commit failed: %r", error)
            return
        self._noted |= wanted


def _size_bytes(record: ConsumerRecord) -> int:
    """Estimate what a record takes while it is handled: bytes, decoded and piped, and pixels."""
    return 3 * len(record.value or b"") + PICTURE_BYTES


def _time(metadata: str) -> int:
    return int(metadata) if metadata.isdecimal() and len(metadata) <= 15 else 0


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
