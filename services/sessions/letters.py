"""Dead letters that survive their producer: all replicas have them when `send` returns."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer

from services.sessions.batches import Rejected
from shared import metrics, records
from shared.kafka import DeadLetters

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
        self.sent = 0

    async def send(self, rejected: Sequence[Rejected]) -> None:
        """Write dead letters. Raises what the producer raises; the next call has a new one."""
        try:
            if self._producer is None:
                self._producer = self._make_producer()
                await self._producer.start()
            letters = DeadLetters(self._producer, SERVICE)
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

    async def close(self) -> None:
        """Give the producer up, waiting 2 s at most for it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(producer.stop(), 2.0)
