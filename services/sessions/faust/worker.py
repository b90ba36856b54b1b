"""Run Faust's application with one agent, which hands each partition's batches to the writer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import faust
from aiokafka import AIOKafkaConsumer
from faust.app.base import BootStrategy

from freshet import kafka_clients
from freshet.prefix import PREFIX
from services.sessions.active_items import ActiveItems
from services.sessions.effect.store import StatesStore, WriteRefused
from services.sessions.effect.writer import EffectWriter, Gap
from services.sessions.faust.batches import Batch
from services.sessions.faust.consumer import BatchConsumer, BatchTransport
from services.sessions.faust.partitions import Partitions, WorkerProgress
from services.sessions.settings import SessionsSettings
from shared.faults import SystemFault, as_system_fault
from shared.kafka.log_reader import LogReader
from shared.runtime import metrics
from shared.runtime.retry import TRANSIENT_ERRORS

log = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 0.05  # before a batch's third attempt; the second is made at once
WAIT_AT_MOST_S: Final = 2.0
ATTEMPTS_AT_MOST: Final = 5  # at a batch that fails for no reason that may pass


class _ConsumerOnly(BootStrategy):
    """Without Faust's producer: it is not idempotent, and dead letters have their own."""

    enable_kafka_producer = False
    enable_web = False


class _App(faust.App):
    """Faust without its folders: there are no tables to keep in them."""

    logger = logging.getLogger("faust")

    BootStrategy = _ConsumerOnly

    def _create_directories(self) -> None:
        pass


class PartitionQueues:
    """Applies one partition's batches one after the other, partitions beside each other.

    A batch mostly waits for Redis, and partitions share no position, so that one need not wait for
    another. Users who come on two partitions are told apart by their guards.
    """

    def __init__(self, apply: Callable[[Batch], Awaitable[None]]) -> None:
        """apply: never raises."""
        self._apply = apply
        self._queues: dict[int, asyncio.Queue[Batch]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def put(self, batch: Batch) -> None:
        """Add a batch to its partition's queue, whose length is bounded by who fetches."""
        queue = self._queues.get(batch.partition)
        if queue is None:
            queue = self._queues[batch.partition] = asyncio.Queue()
            self._tasks.append(asyncio.create_task(self._run(queue)))
        queue.put_nowait(batch)

    async def _run(self, queue: asyncio.Queue[Batch]) -> None:
        while True:
            await self._apply(await queue.get())

    async def stop(self) -> None:
        """Cut off what is in hand, and forget what waits."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)


class Worker:
    """Reads a topic and gives its batches their effect."""

    def __init__(
        self,
        settings: SessionsSettings,
        topic: str,
        cluster_id: str,
        store: StatesStore,
        writer: EffectWriter,
        items: ActiveItems,
        log_reader: LogReader,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._cluster_id = cluster_id
        self._writer = writer
        self._items = items
        self.progress = WorkerProgress(settings.stall_s, time.monotonic)
        self.partitions = Partitions(
            topic, cluster_id, store, writer, log_reader, self.progress, lambda: self._consumer
        )
        self._queues = PartitionQueues(self._apply)
        self._halted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.app = self._build_app()

    def _build_app(self) -> faust.App:
        settings = self._settings
        app = _App(
            PREFIX + settings.group,
            broker="kafka://" + settings.kafka.bootstrap_servers.replace(",", ";"),
            autodiscover=False,
            broker_commit_interval=1.0,
            key_serializer="raw",
            store="memory://",
            stream_buffer_maxsize=2,  # batches; what waits here is lost work after a rebalance
            stream_wait_empty=False,  # a batch cut off is done again, to no second effect
            table_standby_replicas=0,
            topic_disable_leader=True,
            value_serializer="raw",
            web_enabled=False,
        )
        app._transport = BatchTransport(
            app,
            self._make_consumer,
            batch_at_most=settings.batch_records,
            on_waiting=self.partitions.wake,
        )
        topic = app.topic(self._topic, key_type=bytes, value_type=bytes)
        app.agent(topic, concurrency=1)(self._enqueue)
        return app

    def _make_consumer(self, **options: Any) -> AIOKafkaConsumer:
        settings = self._settings
        return kafka_clients.consumer(
            settings.kafka,
            group_instance_id=settings.instance_id or None,
            session_timeout_ms=round(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=round(settings.heartbeat_s * 1000),
            rebalance_timeout_ms=round(settings.session_timeout_s * 1000),
            max_poll_interval_ms=3_600_000,  # waiting for Redis must not cost the partitions
            max_partition_fetch_bytes=2 * 1024 * 1024,
            fetch_max_wait_ms=settings.fetch_wait_ms,
            isolation_level="read_committed",  # what a transaction took back is no event
            metadata_max_age_ms=60_000,  # partitions that are added
            **options,
        )

    async def run(self) -> None:
        """Work until cancelled. Raises SystemFault, OtherLog, Stalled, or what ended Faust."""
        await self.app.start()
        minding = asyncio.create_task(self.partitions.run())
        crashing = asyncio.create_task(self.app._crashed.wait())
        ends = (self._halted, minding, crashing)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends[:2]:
                if end.done():
                    end.result()
            raise RuntimeError("Faust's application ended") from self.app.crash_reason
        finally:
            minding.cancel()
            crashing.cancel()

    async def stop(self) -> None:
        """Cut off what is in hand, leave the group and end Faust's application."""
        await self._queues.stop()
        await self.app.stop()

    def status(self) -> dict[str, Any]:
        """Describe the worker for /status."""
        return {
            "cluster": self._cluster_id,
            "waiting_for": next(iter(self.progress.waiting.values()), None),
            "rewinds": self.partitions.rewinds,
            "records_gone": self.partitions.gone,
            "unknown_types": self._writer.unknown_types.seen() or None,
            "effects": dict(self._writer.effects),
            "unknown_items": self._writer.unknown_items,
            "segments_refused": self._writer.segments_refused,
            "exclusions_dropped": self._writer.exclusions_dropped,
            "users_in_memory": self._writer.users_in_memory(),
            "partitions": {
                str(partition): {
                    "position": applied.position.offset if applied else None,
                    "lag": lag,
                }
                for partition, lag in sorted(self.progress.lags.items())
                for applied in (self._writer.position_of(partition),)
            },
        }

    @property
    def _consumer(self) -> BatchConsumer:
        consumer = self.app.consumer
        assert isinstance(consumer, BatchConsumer)
        return consumer

    async def _enqueue(self, stream: Any) -> None:
        # What Faust then takes for acknowledged is not committed before the batch is `done`.
        async for batch in stream:
            self._queues.put(batch)

    async def _apply(self, batch: Batch) -> None:
        """Apply a batch, however many attempts it takes; after a fault none. Never raises."""
        consumer, wait_s, unforeseen = self._consumer, 0.0, 0
        while not self._halted.done() and consumer.is_current(batch):
            try:
                async with asyncio.timeout(self._settings.attempt_timeout_s):
                    await self._writer.apply(batch, self._items.catalogue)
                break
            except Gap as gap:
                self.partitions.rewind(batch.partition, str(gap))
                break
            except WriteRefused:
                metrics.WRITES_REFUSED.inc()
            except TRANSIENT_ERRORS as error:
                self._wait_for(batch.partition, f"{type(error).__name__}: {error}")
            except Exception as error:
                log.exception("%s:%d at %d", batch.topic, batch.partition, batch.start)
                unforeseen += 1
                if isinstance(error, SystemFault) or unforeseen == ATTEMPTS_AT_MOST:
                    self._halt(error)
                    return
            await asyncio.sleep(wait_s)
            wait_s = min(max(2 * wait_s, FIRST_WAIT_S), WAIT_AT_MOST_S)
        if self._halted.done():
            return
        consumer.done(batch)
        self.progress.waiting.pop(batch.partition, None)
        self.progress.made()

    def _halt(self, error: Exception) -> None:
        """Apply nothing any more: `run` ends with the fault."""
        if not self._halted.done():
            self._halted.set_exception(as_system_fault(error))

    def _wait_for(self, partition: int, what: str) -> None:
        if partition not in self.progress.waiting:
            log.warning("partition %d waits in place: %s", partition, what)
        self.progress.waiting[partition] = what
