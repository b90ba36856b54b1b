"""Start each partition where Redis says, and watch that it gets on.

A partition that is assigned begins behind its `pos:` value, checked against the log. It is read
again from there where Redis turns out to have lost something, or where what was fetched does not
arrive. Where nothing gets on although there is work, the worker ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from faust.types import TP

from freshet.prefix import PREFIX
from services.sessions.effect.store import StatesStore
from services.sessions.effect.writer import EffectWriter
from services.sessions.faust.consumer import BatchConsumer
from shared.kafka.log_reader import Bounds, LogReader
from shared.runtime import metrics
from shared.runtime.retry import TRANSIENT_ERRORS
from shared.runtime.service import Fatal
from shared.users import positions
from shared.users.positions import Position

log = logging.getLogger(__name__)

CHECK_EVERY_S: Final = 1.0
REDIS_CLI: Final = "redis-cli -h HOST -p PORT"  # no URL: process lists would show its password
EMPTY: Final = (  # other shops' keys stay
    f"{REDIS_CLI} --scan --pattern '{PREFIX}*' | xargs -d '\\n' {REDIS_CLI} DEL"
    if PREFIX
    else f"{REDIS_CLI} FLUSHDB"
)
WAYS_OUT: Final = (
    "Give REDIS_URL the Redis that belongs to this log; or keep these states and go on with this"
    " log: `freshet adopt-log` says what that would do; or, to begin anew with no states, stop all"
    f" services, empty this one ({EMPTY}) and start them again."
)


class OtherLog(Fatal):
    """The states in Redis come from another log; the text says how that shows and what to do."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The states in Redis come from another log: {why}. {WAYS_OUT}")


class Stalled(Fatal):
    """No progress although there is work and nothing is missing: only a new start may help."""


class StartOffset(NamedTuple):
    """Where reading goes on."""

    start_offset: int  # after the position in Redis
    seek_to: int  # the same, or the log's beginning where that is later

    @property
    def gone(self) -> int:
        """Count the records that the log no longer holds and that were never applied."""
        return self.seek_to - self.start_offset


async def find_start(
    store: StatesStore,
    writer: EffectWriter,
    log_reader: LogReader,
    cluster_id: str,
    topic: str,
    partition: int,
) -> StartOffset:
    """Let the writer take a partition over, and return where to read it from.

    Raises OtherLog; TRANSIENT_ERRORS while Redis or Kafka is unavailable.
    """
    noted = await store.claim_log(cluster_id)
    if noted != cluster_id:
        raise OtherLog(f"it notes cluster {noted}, Kafka is cluster {cluster_id}")
    value = (await store.positions([partition]))[partition]
    bounds = (await log_reader.bounds([partition]))[partition]
    position = writer.take_over(partition, value, bounds.begin)
    await _check_log(position, bounds, log_reader, f"{topic}:{partition}", partition)
    return StartOffset(position.offset + 1, max(position.offset + 1, bounds.begin))


async def _check_log(
    position: Position, bounds: Bounds, log_reader: LogReader, name: str, partition: int
) -> None:
    """Raise OtherLog unless the log can be the one in which this position was reached."""
    time_ms = None
    if positions.has_time(position, *bounds):
        time_ms = await log_reader.time_of(partition, position.offset)
    if why := positions.misfit(position, name, *bounds, time_ms):
        raise OtherLog(why)


class WorkerProgress:
    """When something was last done, and what is being waited for.

    Consumers of aiokafka can stay stuck after a broker's restart without a sign (aiokafka #1154),
    so a lag without progress counts as stuck. Waiting for Redis or Kafka does not, for there a new
    start would not help.
    """

    def __init__(self, stall_s: float, clock_s: Callable[[], float]) -> None:
        """stall_s: how long a lag may stand still. clock_s: a monotonic clock."""
        self._stall_s = stall_s
        self._clock_s = clock_s
        self._made_at_s = clock_s()
        self.waiting: dict[int, str] = {}  # for what, by partition
        self.lags: dict[int, int] = {}  # records not applied yet, by partition that is read here

    def made(self) -> None:
        """Note that something was done, or that there was nothing to do."""
        self._made_at_s = self._clock_s()

    def measured(self, partition: int, lag: int) -> None:
        """Note how many records of a partition are not applied."""
        self.lags[partition] = lag
        if not any(self.lags.values()):
            self.made()

    def stalled(self) -> str | None:
        """Say why the worker counts as stuck; None while it is alive."""
        idle_s, behind = self._clock_s() - self._made_at_s, sum(self.lags.values())
        if behind and not self.waiting and idle_s > self._stall_s:
            return f"no progress for {idle_s:.0f} s with {behind} records to go"
        return None


class Partitions:
    """Starts partitions that wait, and rewinds those of which Redis has less than was read."""

    def __init__(
        self,
        topic: str,
        cluster_id: str,
        store: StatesStore,
        writer: EffectWriter,
        log_reader: LogReader,
        progress: WorkerProgress,
        consumer: Callable[[], BatchConsumer],
    ) -> None:
        """consumer: gives Faust's, which is there once the application has started."""
        self.on_reading: Callable[[], None] = lambda: None  # called when no partition waits
        self.rewinds = 0
        self.gone = 0  # records that were never applied and are no longer in the log
        self._topic = topic
        self._cluster_id = cluster_id
        self._store = store
        self._writer = writer
        self._log_reader = log_reader
        self._progress = progress
        self._get_consumer = consumer
        self._wake = asyncio.Event()
        self._stranded: set[int] = set()  # fetched beyond their position at the last check

    def wake(self) -> None:
        """Say that partitions wait to be read."""
        self._wake.set()

    def rewind(self, partition: int, why: str) -> None:
        """Let a partition be read again from its position in Redis."""
        log.warning("partition %d is read again: %s", partition, why)
        metrics.REWINDS.labels(str(partition)).inc()
        self.rewinds += 1
        self._writer.forget_states()  # Redis may have lost states of any partition
        self._consumer.stop_reading({self._tp(partition)})

    async def run(self) -> None:
        """Work until cancelled. Raises OtherLog and Stalled."""
        checked_at = 0.0
        while True:
            try:
                for tp in self._consumer.waiting():
                    await self._start(tp.partition)
                self.on_reading()
                if time.monotonic() - checked_at >= CHECK_EVERY_S:
                    await self._check()
                    checked_at = time.monotonic()
            except TRANSIENT_ERRORS as error:
                log.warning("partitions wait to be read or checked: %r", error)
                self._progress.made()
                await asyncio.sleep(CHECK_EVERY_S)
            self._wake.clear()
            if not self._consumer.waiting():
                # Not wait_for, which loses a cancellation where it is woken just then.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_EVERY_S):
                        await self._wake.wait()

    @property
    def _consumer(self) -> BatchConsumer:
        return self._get_consumer()

    def _tp(self, partition: int) -> TP:
        return TP(self._topic, partition)

    async def _start(self, partition: int) -> None:
        start = await find_start(
            self._store, self._writer, self._log_reader, self._cluster_id, self._topic, partition
        )
        if start.gone:
            self.gone += start.gone
            log.error(
                "partition %d: %d records from offset %d on are no longer in the log and were"
                " never applied",
                partition,
                start.gone,
                start.start_offset,
            )
        await self._consumer.start_reading(self._tp(partition), *start)
        self._progress.made()

    async def _check(self) -> None:
        """Compare idle partitions with Redis, and all with the log's end. Raises Stalled."""
        writer, consumer = self._writer, self._consumer
        assigned = {tp.partition for tp in consumer.assignment()}
        self._forget((writer.partitions() | self._progress.lags.keys()) - assigned)
        await self._measure(assigned)
        idle = [partition for partition in assigned if self._is_idle(partition)]
        before = {p: applied for p in idle if (applied := writer.position_of(p))}
        values = await self._store.positions(list(before))
        stranded = set()
        for partition, applied in before.items():
            if writer.position_of(partition) != applied or not self._is_idle(partition):
                continue  # a batch came meanwhile, and compares for itself
            fetched = consumer.next_offset(self._tp(partition))
            if (values[partition] or b"") != applied.value:
                self.rewind(partition, "Redis is not where this worker left it")
            elif fetched is not None and fetched > applied.position.offset + 1:
                stranded.add(partition)
        for partition in stranded & self._stranded:
            self.rewind(partition, "what was fetched of it has not arrived")
        self._stranded = stranded

    def _forget(self, partitions: set[int]) -> None:
        """Forget what is known of partitions that others have now."""
        self._writer.forget_partitions(partitions)
        for partition in partitions & self._progress.lags.keys():
            del self._progress.lags[partition]
            metrics.SESSIONS_LAG.remove(str(partition))

    async def _measure(self, assigned: set[int]) -> None:
        """Note each partition's lag. Raises Stalled."""
        bounds = await self._log_reader.bounds(assigned)
        reached = await self._consumer.reached(list(map(self._tp, assigned)))
        for partition, (_, end) in bounds.items():
            applied = self._writer.position_of(partition)
            done = applied.position.offset + 1 if applied else 0
            if self._is_idle(partition):  # then markers without a record may follow the position
                done = max(done, reached.get(self._tp(partition), 0))
            self._progress.measured(partition, max(0, end - done))
            metrics.SESSIONS_LAG.labels(str(partition)).set(self._progress.lags[partition])
        if why := self._progress.stalled():
            raise Stalled(why)

    def _is_idle(self, partition: int) -> bool:
        return self._consumer.is_idle(self._tp(partition))
