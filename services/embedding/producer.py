"""A Kafka producer that goes on until the broker has the record.

aiokafka's idempotent producer can stay broken after an outage (OutOfOrderSequenceNumber,
aiokafka#1017), so it is replaced by a new one whenever it fails. Sending twice is harmless here:
every record is keyed, versioned, and the same each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from freshet import kafka_clients
from freshet.contract.records import TOO_LARGE, BadRecord

log = logging.getLogger(__name__)

SEND_AT_MOST_S = 20.0  # longer than the client's own time-out of 15 s
FIRST_WAIT_S = 0.1
WAIT_AT_MOST_S = 5.0


class SturdyProducer:
    """Sends until it succeeds; only a record that is too large is refused."""

    def __init__(self, make: Callable[[], AIOKafkaProducer]) -> None:
        """make: returns a new producer, not started."""
        self._make = make
        self._producer: Any = None  # AIOKafkaProducer; aiokafka has no types
        self._replacing = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises KafkaError while Kafka cannot be had."""
        self._producer = await kafka_clients.started(self._make())

    async def stop(self) -> None:
        """Send what is buffered and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def send_and_wait(self, topic: str, **record: Any) -> RecordMetadata:
        """Send a record and wait until all replicas have it, however long Kafka is gone.

        Raises BadRecord for one that is too large.
        """
        wait_s = FIRST_WAIT_S
        while True:
            producer = self._producer
            assert producer is not None
            try:
                return await asyncio.wait_for(
                    producer.send_and_wait(topic, **record), SEND_AT_MOST_S
                )
            except MessageSizeTooLargeError as error:
                raise BadRecord(TOO_LARGE, f"too large for {topic}: {error}") from None
            except (KafkaError, TimeoutError) as error:
                log.warning("sending to %s again: %r", topic, error)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, WAIT_AT_MOST_S)
            await self._replace(producer)

    async def _replace(self, broken: AIOKafkaProducer) -> None:
        async with self._replacing:
            if self._producer is not broken:  # another sender has done it
                return
            try:
                await self.start()
            except (KafkaError, OSError) as error:
                log.warning("Kafka is not there: %s", error or type(error).__name__)
                return
            try:
                await asyncio.wait_for(broken.stop(), 1.0)
            except (KafkaError, TimeoutError):
                log.warning("the producer that was replaced did not stop in time")
