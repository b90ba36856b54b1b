"""Dead letters that survive their producer: all replicas have them when `send` returns."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer

from freshet.contract import records
from services.sessions.faust.batches import Rejected
from shared.runtime import metrics
from shared.runtime.dead_letters import DeadLetters

log = logging.getLogger(__name__)

SERVICE = "sessions"


class Letters:
    """Writes to dead-letters with a producer that is made anew after each failure.

    An idempotent producer can hang for ever on an out-of-order sequence number after an outage
    (aiokafka #1017); a new one starts a new sequence. A letter may then stand twice: its key, the
    origin, tells.
    """

    def __init__(self, make_producer: Callable[[], AIOKafkaProducer]) -> None:
        self._make_producer = make_producer
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self.sent = 0

    async def send(self, rejected: Sequence[Rejected]) -> None:
        """Write dead letters. Raises what the producer raises; the next call has a new one."""
        try:
            letters = DeadLetters(await self._started(), SERVICE)
            await asyncio.gather(
                *(
                    letters.send(
                        records.origin_of(record), record.key, record.value, record.headers, error
                    )
                    for record, error in rejected
                )
            )
        except BaseException:
            await self.close()
            raise
        by_class = Counter(error.error_class for _, error in rejected)
        for error_class, count in by_class.items():
            metrics.DEAD_LETTERS.labels(SERVICE, error_class).inc(count)
        first = records.origin_of(rejected[0].record)
        log.warning("dead letters: %s, the first of %s", dict(by_class), first)
        self.sent += len(rejected)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = self._make_producer()
                try:
                    await producer.start()
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Give the producer up."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    """Stop a producer that may be broken, waiting 2 s at most."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(producer.stop(), 2.0)
