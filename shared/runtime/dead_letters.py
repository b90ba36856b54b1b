"""Write what cannot be processed to `dead-letters`: the original, and why and from where."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiokafka.errors import MessageSizeTooLargeError

from freshet.contract import records
from freshet.contract.records import BadRecord
from freshet.contract.topics import DEAD_LETTERS
from freshet.producer import RenewedProducer
from shared.clock import now_ms
from shared.runtime import metrics
from shared.runtime.retry import TRANSIENT_ERRORS

RETRY_S: Final = 1.0

log = logging.getLogger(__name__)


class DeadLetterWriter:
    """Writes one service's dead letters; each is in Kafka when its call returns.

    After an outage a letter may stand twice: its key, the origin, tells.
    """

    def __init__(self, producer: RenewedProducer, service: str) -> None:
        self.sent = 0  # since the start
        self._producer = producer
        self._service = service

    async def send(self, record: records.ConsumedRecord, error: BadRecord) -> None:
        """Write one dead letter. Raises KafkaError or OSError while Kafka is unavailable."""
        origin = records.origin_of(record)
        try:
            await self._write(origin, record, record.value, error)
        except MessageSizeTooLargeError:  # the topic, made by others, takes less: keep at least why
            shorter = BadRecord(error.error_class, f"{error} (its value was too large)")
            await self._write(origin, record, None, shorter)
        metrics.DEAD_LETTERS.labels(self._service, error.error_class).inc()
        self.sent += 1

    async def send_until_written(self, record: records.ConsumedRecord, error: BadRecord) -> None:
        """Write one dead letter, however long Kafka is gone.

        Raises MessageSizeTooLargeError for a topic that takes not even its headers.
        """
        while True:
            try:
                return await self.send(record, error)
            except MessageSizeTooLargeError:
                raise
            except TRANSIENT_ERRORS as failure:
                origin = records.origin_of(record)
                log.warning("dead letter of %s not written yet: %r", origin, failure)
            await asyncio.sleep(RETRY_S)

    async def _write(
        self,
        origin: records.Origin,
        record: records.ConsumedRecord,
        value: bytes | None,
        error: BadRecord,
    ) -> None:
        headers = records.dead_letter_headers(
            origin, record.key, record.headers, error, self._service, now_ms()
        )
        await self._producer.send_and_wait(
            DEAD_LETTERS.name, key=str(origin).encode(), value=value, headers=headers
        )
