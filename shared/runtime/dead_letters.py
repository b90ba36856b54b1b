"""Write what cannot be processed to `dead-letters`: the original, and why and from where."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from freshet.contract import records
from freshet.contract.records import BadRecord
from freshet.contract.topics import DEAD_LETTERS
from freshet.producer import TOO_LARGE_ERRORS, RenewedProducer
from shared.clock import now_ms
from shared.runtime import metrics
from shared.runtime.retry import TRANSIENT_ERRORS

RETRY_S: Final = 1.0

log = logging.getLogger(__name__)


class DeadLetterWriter:
    """Writes one service's dead letters; each is in Kafka when its call returns.

    A letter's origin is where the record was read. After an outage one may stand twice: its key,
    the origin, tells.
    """

    def __init__(self, producer: RenewedProducer, service: str) -> None:
        self.sent = 0  # since the start
        self._producer = producer
        self._service = service

    async def send(self, record: records.ConsumedRecord, error: BadRecord) -> None:
        """Write one dead letter. Raises KafkaError or OSError while Kafka is unavailable.

        Where the topic, made by others, takes less than the record, the letter is cut: it says what
        was where, and the value stands at its origin alone. No letter is ever too large to go on.
        """
        try:
            await self._write(record, error)
        except TOO_LARGE_ERRORS:
            size = len(record.value or b"")
            told = f"{error} (cut: {DEAD_LETTERS.name} does not take its {size} bytes)"
            try:
                await self._write(record, BadRecord(error.error_class, told), cut=True)
            except TOO_LARGE_ERRORS:
                where = records.place_of(record)
                log.error("%s takes no letter at all; %s: %s", DEAD_LETTERS.name, where, error)
        metrics.DEAD_LETTERS.labels(self._service, error.error_class).inc()
        self.sent += 1

    async def send_until_written(self, record: records.ConsumedRecord, error: BadRecord) -> None:
        """Write one dead letter, however long Kafka is gone."""
        while True:
            try:
                return await self.send(record, error)
            except TRANSIENT_ERRORS as failure:
                where = records.place_of(record)
                log.warning("dead letter of %s not written yet: %r", where, failure)
            await asyncio.sleep(RETRY_S)

    async def _write(
        self, record: records.ConsumedRecord, error: BadRecord, *, cut: bool = False
    ) -> None:
        headers = records.dead_letter_headers(record, error, self._service, now_ms(), cut=cut)
        await self._producer.send_and_wait(
            DEAD_LETTERS.name,
            key=str(records.place_of(record)).encode(),
            value=None if cut else record.value,
            headers=headers,
        )
