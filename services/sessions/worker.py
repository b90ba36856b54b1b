"""The worker: Faust's agent over `clicks`, the placing of partitions, its progress and status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.types import TP
from redis.exceptions import RedisError

from services.sessions.applier import Applier, Gap, Work
from services.sessions.batches import Batch
from services.sessions.log_reader import LogReader
from services.sessions.places import find_place
from services.sessions.settings import Settings
from services.sessions.states_store import Refused
from services.sessions.transport import BatchConsumer, BatchTransport
from shared import kafka, metrics

log = logging.getLogger(__name__)

NOT_THERE: Final = (RedisError, KafkaError, OSError)  # TimeoutError is an OSError
FIRST_WAIT_S: Final = 0.05
WAIT_AT_MOST_S: Final = 2.0
CHECK_EVERY_S: Final = 1.0


class Stalled(Exception):
    """No progress although there is work and nothing is missing: only a new start may help."""


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
    """Reads a topic, gives its batches their effect, and minds where each partition stands."""

    def __init__(
        self,
        settings: Settings,
        topic: str,
        applier: Applier,
        log_reader: LogReader,
        cluster_id: str,
    ) -> None:
        self.on_placed: Callable[[], None] = lambda: None  # called when none waits to be read
        self._settings = settings
        self._topic = topic
        self._applier = applier
        self._log_reader = log_reader
        self._cluster_id = cluster_id
        self.lags: dict[int, int] = {}  # records not applied yet, by partition that is read here
        self._stranded: set[int] = set()  # fetched beyond their position at the last check
        self._wake = asyncio.Event()
        self._progress_at = time.monotonic()
        self._waiting_for: str | None = None
        self.rewinds = 0
        self.gone = 0
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
            on_unplaced=self._wake.set,
        )
        app.agent(app.topic(self._topic, key_type=bytes, value_type=bytes), concurrency=1)(
            self._take
        )
        return app

    def _make_consumer(self, **options: Any) -> AIOKafkaConsumer:
        settings = self._settings
        return kafka.consumer(
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

    # Life

    async def run(self) -> None:
        """Work until cancelled. Raises OtherLog, Stalled, or what ended Faust."""
        await self.app.start()
        minding = asyncio.create_task(self._mind_places())
        crashing = asyncio.create_task(self.app._crashed.wait())
        try:
            await asyncio.wait((minding, crashing), return_when=asyncio.FIRST_COMPLETED)
            if minding.done():
                minding.result()
            raise RuntimeError("Faust's application ended") from self.app.crash_reason
        finally:
            minding.cancel()
            crashing.cancel()

    async def stop(self) -> None:
        """Leave the group and end Faust's application."""
        await self.app.stop()

    @property
    def _consumer(self) -> BatchConsumer:
        consumer = self.app.consumer
        assert isinstance(consumer, BatchConsumer)
        return consumer

    # Batches

    async def _take(self, stream: Any) -> None:
        async for batch in stream:
            await self._handle(batch)

    async def _handle(self, batch: Batch) -> None:
        """See a batch through; never raises, because Faust would call the batch done."""
        consumer, wait_s = self._consumer, FIRST_WAIT_S
        work = Work(self._applier, batch)
        while consumer.is_current(batch):
            try:
                async with asyncio.timeout(self._settings.attempt_timeout_s):
                    await work.attempt()
                break
            except Gap as gap:
                self._rewind(batch.partition, str(gap))
                break
            except Refused:
                metrics.WRITES_REFUSED.inc()
            except NOT_THERE as error:
                self._wait_for(error)
            except Exception:
                log.exception("%s:%d at %d", batch.topic, batch.partition, batch.start)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, WAIT_AT_MOST_S)
        consumer.done(batch)
        self._waiting_for = None
        self._progress_at = time.monotonic()

    def _wait_for(self, error: Exception) -> None:
        why = f"{type(error).__name__}: {error}"
        if self._waiting_for is None:
            log.warning("a batch waits in place: %s", why)
        self._waiting_for = why

    def _rewind(self, partition: int, why: str) -> None:
        """Read a partition again from its position in Redis."""
        log.warning("partition %d is read again: %s", partition, why)
        metrics.REWINDS.labels(str(partition)).inc()
        self.rewinds += 1
        self._applier.cache.clear()  # Redis may have lost states of any partition
        self._consumer.unplace({TP(self._topic, partition)})

    # Places

    async def _mind_places(self) -> None:
        """Place what is unplaced, and once a second look whether Redis still agrees."""
        checked_at = 0.0
        while True:
            try:
                for tp in self._consumer.unplaced():
                    await self._place(tp.partition)
                self.on_placed()
                if time.monotonic() - checked_at >= CHECK_EVERY_S:
                    await self._check_places()
                    checked_at = time.monotonic()
            except NOT_THERE as error:
                log.warning("partitions wait to be placed or checked: %r", error)
                self._progress_at = time.monotonic()
                await asyncio.sleep(CHECK_EVERY_S)
            self._wake.clear()
            if not self._consumer.unplaced():
                await _either(self._wake, CHECK_EVERY_S)

    async def _place(self, partition: int) -> None:
        place = await find_place(
            self._applier, self._log_reader, self._cluster_id, self._topic, partition
        )
        if place.gone:
            self.gone += place.gone
            log.error(
                "partition %d: %d records from offset %d on are no longer in the log and were"
                " never applied",
                partition,
                place.gone,
                place.next_offset,
            )
        await self._consumer.place(TP(self._topic, partition), *place)
        self._progress_at = time.monotonic()

    async def _check_places(self) -> None:
        """Compare idle partitions with Redis, and all with the log's end."""
        stands, consumer = self._applier.stands, self._consumer
        assigned = {tp.partition for tp in consumer.assignment()}
        self._leave((stands.keys() | self.lags.keys()) - assigned)
        await self._measure(assigned)
        before = {p: stands[p] for p in assigned if p in stands and self._is_idle(p)}
        found = await self._applier.store.positions(list(before))
        stranded = set()
        for partition, stand in before.items():
            if stands.get(partition) is not stand or not self._is_idle(partition):
                continue  # a batch came meanwhile, and compares for itself
            fetched = consumer.next_offset(TP(self._topic, partition))
            if (found[partition] or b"") != stand.value:
                self._rewind(partition, "Redis is not where this worker left it")
            elif fetched is not None and fetched > stand.position.offset + 1:
                stranded.add(partition)
        for partition in stranded & self._stranded:
            self._rewind(partition, "what was fetched of it has not arrived")
        self._stranded = stranded

    def _leave(self, partitions: set[int]) -> None:
        """Forget what is known of partitions that others have now."""
        self._applier.leave(partitions)
        for partition in partitions & self.lags.keys():
            del self.lags[partition]
            metrics.SESSIONS_LAG.remove(str(partition))

    async def _measure(self, assigned: set[int]) -> None:
        """Note each partition's lag, and whether there is progress. Raises Stalled."""
        bounds = await self._log_reader.bounds(assigned)
        reached = await self._consumer.reached([TP(self._topic, p) for p in assigned])
        for partition, (_, end) in bounds.items():
            stand = self._applier.stands.get(partition)
            done = stand.position.offset + 1 if stand else 0
            if self._is_idle(partition):  # then markers without a record may follow the position
                done = max(done, reached.get(TP(self._topic, partition), 0))
            self.lags[partition] = max(0, end - done)
            metrics.SESSIONS_LAG.labels(str(partition)).set(self.lags[partition])
        if not any(self.lags.values()):
            self._progress_at = time.monotonic()
        if why := self.stalled():
            raise Stalled(why)

    def _is_idle(self, partition: int) -> bool:
        return self._consumer.is_idle(TP(self._topic, partition))

    # What it says of itself

    def stalled(self) -> str | None:
        """Say why the worker counts as stuck; None while it is alive.

        Judged by progress: aiokafka can stay stuck after a broker's restart without a sign
        (aiokafka #1154). Waiting for Redis or Kafka is not being stuck, a restart would not help.
        """
        idle_s, behind = time.monotonic() - self._progress_at, sum(self.lags.values())
        if behind and self._waiting_for is None and idle_s > self._settings.stall_s:
            return f"no progress for {idle_s:.0f} s with {behind} records to go"
        return None

    def status(self) -> dict[str, Any]:
        """Describe the worker for /status."""
        stands = self._applier.stands
        return {
            "cluster": self._cluster_id,
            "waiting_for": self._waiting_for,
            "rewinds": self.rewinds,
            "records_gone": self.gone,
            "users_in_memory": len(self._applier.cache),
            "partitions": {
                str(partition): {
                    "position": stands[partition].position.offset if partition in stands else None,
                    "lag": lag,
                }
                for partition, lag in sorted(self.lags.items())
            },
        }


async def _either(event: asyncio.Event, timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
