"""Minds where each partition is read: places it, and looks whether Redis still agrees."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from aiokafka.errors import KafkaError
from faust.types import TP
from redis.exceptions import RedisError

from services.sessions.effect.writer import Applier
from services.sessions.faust.consumer import BatchConsumer
from services.sessions.faust.log_reader import LogReader
from services.sessions.faust.places import find_place
from services.sessions.faust.progress import Progress, Stalled
from shared.runtime import metrics

log = logging.getLogger(__name__)

TRANSIENT_ERRORS: Final = (RedisError, KafkaError, OSError)  # TimeoutError is an OSError
CHECK_EVERY_S: Final = 1.0


class Placing:
    """Places partitions that wait for it, rewinds those that Redis is behind of."""

    def __init__(
        self,
        topic: str,
        cluster_id: str,
        applier: Applier,
        log_reader: LogReader,
        progress: Progress,
        consumer: Callable[[], BatchConsumer],
    ) -> None:
        """consumer: gives Faust's, which is there once the application has started."""
        self.on_placed: Callable[[], None] = lambda: None  # called when none waits to be read
        self.rewinds = 0
        self.gone = 0  # records that were never applied and are no longer in the log
        self._topic = topic
        self._cluster_id = cluster_id
        self._applier = applier
        self._log_reader = log_reader
        self._progress = progress
        self._get_consumer = consumer
        self._wake = asyncio.Event()
        self._stranded: set[int] = set()  # fetched beyond their position at the last check

    def wake(self) -> None:
        """Say that partitions wait to be placed."""
        self._wake.set()

    def rewind(self, partition: int, why: str) -> None:
        """Let a partition be read again from its position in Redis."""
        log.warning("partition %d is read again: %s", partition, why)
        metrics.REWINDS.labels(str(partition)).inc()
        self.rewinds += 1
        self._applier.cache.clear()  # Redis may have lost states of any partition
        self._consumer.unplace({self._tp(partition)})

    async def run(self) -> None:
        """Work until cancelled. Raises OtherLog and Stalled."""
        checked_at = 0.0
        while True:
            try:
                for tp in self._consumer.unplaced():
                    await self._place(tp.partition)
                self.on_placed()
                if time.monotonic() - checked_at >= CHECK_EVERY_S:
                    await self._check()
                    checked_at = time.monotonic()
            except TRANSIENT_ERRORS as error:
                log.warning("partitions wait to be placed or checked: %r", error)
                self._progress.made()
                await asyncio.sleep(CHECK_EVERY_S)
            self._wake.clear()
            if not self._consumer.unplaced():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), CHECK_EVERY_S)

    @property
    def _consumer(self) -> BatchConsumer:
        return self._get_consumer()

    def _tp(self, partition: int) -> TP:
        return TP(self._topic, partition)

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
        await self._consumer.place(self._tp(partition), *place)
        self._progress.made()

    async def _check(self) -> None:
        """Compare idle partitions with Redis, and all with the log's end. Raises Stalled."""
        stands, consumer = self._applier.stands, self._consumer
        assigned = {tp.partition for tp in consumer.assignment()}
        self._leave((stands.keys() | self._progress.lags.keys()) - assigned)
        await self._measure(assigned)
        before = {p: stands[p] for p in assigned if p in stands and self._is_idle(p)}
        found = await self._applier.store.positions(list(before))
        stranded = set()
        for partition, stand in before.items():
            if stands.get(partition) is not stand or not self._is_idle(partition):
                continue  # a batch came meanwhile, and compares for itself
            fetched = consumer.next_offset(self._tp(partition))
            if (found[partition] or b"") != stand.value:
                self.rewind(partition, "Redis is not where this worker left it")
            elif fetched is not None and fetched > stand.position.offset + 1:
                stranded.add(partition)
        for partition in stranded & self._stranded:
            self.rewind(partition, "what was fetched of it has not arrived")
        self._stranded = stranded

    def _leave(self, partitions: set[int]) -> None:
        """Forget what is known of partitions that others have now."""
        self._applier.leave(partitions)
        for partition in partitions & self._progress.lags.keys():
            del self._progress.lags[partition]
            metrics.SESSIONS_LAG.remove(str(partition))

    async def _measure(self, assigned: set[int]) -> None:
        """Note each partition's lag. Raises Stalled."""
        bounds = await self._log_reader.bounds(assigned)
        reached = await self._consumer.reached(list(map(self._tp, assigned)))
        for partition, (_, end) in bounds.items():
            stand = self._applier.stands.get(partition)
            done = stand.position.offset + 1 if stand else 0
            if self._is_idle(partition):  # then markers without a record may follow the position
                done = max(done, reached.get(self._tp(partition), 0))
            self._progress.measured(partition, max(0, end - done))
            metrics.SESSIONS_LAG.labels(str(partition)).set(self._progress.lags[partition])
        if why := self._progress.stalled():
            raise Stalled(why)

    def _is_idle(self, partition: int) -> bool:
        return self._consumer.is_idle(self._tp(partition))
