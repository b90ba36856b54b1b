"""Write what cannot be processed to `dead-letters`: the original, and why and from where."""

from __future__ import annotations

import time

from aiokafka import AIOKafkaProducer

from freshet.contract import records
from freshet.contract.topics import DEAD_LETTERS


class DeadLetters:
    """Writes what cannot be processed to `dead-letters`: the original, and why and from where."""

    def __init__(self, producer: AIOKafkaProducer, service: str) -> None:
        self._producer = producer
        self._service = service

    async def send(
        self,
        origin: records.Origin,
        key: bytes | None,
        value: bytes | None,
        headers: records.Headers,
        error: records.BadRecord,
    ) -> None:
        """Write one dead letter and wait until all replicas have it."""
        await self._producer.send_and_wait(
            DEAD_LETTERS.name,
            key=str(origin).encode(),
            value=value,
            headers=records.dead_letter_headers(
                origin, key, headers, error, self._service, time.time_ns() // 1_000_000
            ),
        )
