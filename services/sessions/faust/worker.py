"""The worker: Faust's application with one agent, which sees batches through."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

import faust
from aiokafka import AIOKafkaConsumer
from faust.app.base import BootStrategy

from freshet import kafka_clients
from services.sessions.effect.store import Refused
from services.sessions.effect.writer import Applier, Gap, Work
from services.sessions.faust.batches import Batch
from services.sessions.faust.consumer import BatchConsumer, BatchTransport
from services.sessions.faust.log_reader import LogReader
from services.sessions.faust.partition_queues import Lanes
from services.sessions.faust.partitions import TRANSIENT_ERRORS, Placing
from services.sessions.faust.progress import Progress
from services.sessions.settings import Settings
from shared.runtime import metrics

log = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 0.05  # before a batch's third attempt; the second is made at once
WAIT_AT_MOST_S: Final = 2.0


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


class Worker:
    """Reads a topic and gives its batches their effect."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        applier: Applier,
        log_reader: LogReader,
        cluster_id: str,
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._applier = applier
        self._cluster_id = cluster_id
        self.progress = Progress(settings.stall_s, time.monotonic)
        self.placing = Placing(
            topic, cluster_id, applier, log_reader, self.progress, lambda: self._consumer
        )
        self._lanes = Lanes(self._handle)
        self.app = self._build_app()

    def _build_app(self) -> faust.App:
        settings = self._settings
        app = _App(
            settings.group,
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
            on_unplaced=self.placing.wake,
        )
        topic = app.topic(self._topic, key_type=bytes, value_type=bytes)
        app.agent(topic, concurrency=1)(self._take)
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
        """Work until cancelled. Raises OtherLog, Stalled, or what ended Faust."""
        await self.app.start()
        placing = asyncio.create_task(self.placing.run())
        crashing = asyncio.create_task(self.app._crashed.wait())
        try:
            await asyncio.wait((placing, crashing), return_when=asyncio.FIRST_COMPLETED)
            if placing.done():
                placing.result()
            raise RuntimeError("Faust's application ended") from self.app.crash_reason
        finally:
            placing.cancel()
            crashing.cancel()

    async def stop(self) -> None:
        """Cut off what is in hand, leave the group and end Faust's application."""
        await self._lanes.stop()
        await self.app.stop()

    def status(self) -> dict[str, Any]:
        """Describe the worker for /status."""
        stands = self._applier.stands
        return {
            "cluster": self._cluster_id,
            "waiting_for": next(iter(self.progress.waiting.values()), None),
            "rewinds": self.placing.rewinds,
            "records_gone": self.placing.gone,
            "users_in_memory": len(self._applier.cache),
            "partitions": {
                str(partition): {
                    "position": stands[partition].position.offset if partition in stands else None,
                    "lag": lag,
                }
                for partition, lag in sorted(self.progress.lags.items())
            },
        }

    @property
    def _consumer(self) -> BatchConsumer:
        consumer = self.app.consumer
        assert isinstance(consumer, BatchConsumer)
        return consumer

    async def _take(self, stream: Any) -> None:
        # What Faust then takes for acknowledged is not committed before the batch is `done`.
        async for batch in stream:
            self._lanes.put(batch)

    async def _handle(self, batch: Batch) -> None:
        """See a batch through; never raises."""
        consumer, wait_s = self._consumer, 0.0
        work = Work(self._applier, batch)
        while consumer.is_current(batch):
            try:
                async with asyncio.timeout(self._settings.attempt_timeout_s):
                    await work.attempt()
                break
            except Gap as gap:
                self.placing.rewind(batch.partition, str(gap))
                break
            except Refused:
                metrics.WRITES_REFUSED.inc()
            except TRANSIENT_ERRORS as error:
                self._wait_for(batch.partition, f"{type(error).__name__}: {error}")
            except Exception:
                log.exception("%s:%d at %d", batch.topic, batch.partition, batch.start)
            await asyncio.sleep(wait_s)
            wait_s = min(max(2 * wait_s, FIRST_WAIT_S), WAIT_AT_MOST_S)
        consumer.done(batch)
        self.progress.waiting.pop(batch.partition, None)
        self.progress.made()

    def _wait_for(self, partition: int, what: str) -> None:
        if partition not in self.progress.waiting:
            log.warning("partition %d waits in place: %s", partition, what)
        self.progress.waiting[partition] = what
