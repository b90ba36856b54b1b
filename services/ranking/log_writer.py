"""A producer that is made anew after each failure.

An idempotent producer can hang for ever on an out-of-order sequence number after an outage
(aiokafka #1017); a new one starts a new sequence. What failed may stand in the log all the same,
so whoever sends it again may send it twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import RecordMetadata

from freshet import kafka_clients

SEND_AT_MOST_S: Final = 20.0  # longer than the client's own time-out of 15 s
STOP_AT_MOST_S: Final = 5.0

log = logging.getLogger(__name__)

Headers = list[tuple[str, bytes]]


class Entry(NamedTuple):
    """A record to be written."""

    key: bytes
    value: bytes
    headers: Headers


class LogWriter:
    """Writes records and waits until all replicas have them."""

    def __init__(self, make: Callable[[], AIOKafkaProducer]) -> None:
        """make: returns a new producer, not started."""
        self._make = make
        self._producer: Any = None  # AIOKafkaProducer; aiokafka has no types
        self._starting = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, if it is not connected. Raises KafkaError while Kafka cannot be had."""
        async with self._starting:
            if self._producer is None:
                self._producer = await kafka_clients.started(self._make())

    async def stop(self) -> None:
        """Send what is buffered and disconnect, in bounded time."""
        self._give_up(self._producer)
        if self._ending:
            await asyncio.wait(self._ending, timeout=STOP_AT_MOST_S)

    async def send_and_wait(
        self, topic: str, *, key: bytes, value: bytes | None, headers: Headers
    ) -> RecordMetadata:
        """Write one record and return where it stands. Raises KafkaError; nothing is repeated."""
        await self.start()
        producer = self._producer
        try:
            async with asyncio.timeout(SEND_AT_MOST_S):
                return await producer.send_and_wait(topic, value=value, key=key, headers=headers)
        except (KafkaError, TimeoutError) as error:
            self._give_up(producer)
            raise _as_kafka_error(error) from None

    async def send_all(self, topic: str, entries: Sequence[Entry]) -> None:
        """Write records together. Raises KafkaError; some of them may stand in the log then."""
        await self.start()
        producer = self._producer
        try:
            async with asyncio.timeout(SEND_AT_MOST_S):
                sent = [
                    await producer.send(topic, value=e.value, key=e.key, headers=e.headers)
                    for e in entries
                ]
                await asyncio.gather(*sent)
        except (KafkaError, TimeoutError) as error:
            self._give_up(producer)
            raise _as_kafka_error(error) from None

    def _give_up(self, producer: Any) -> None:
        """Let a producer end by itself; the next call makes another.

        It ends when its records are written or too old, which nobody should wait for.
        """
        if producer is None:
            return
        if self._producer is producer:
            self._producer = None
        ending = asyncio.create_task(_end(producer), name="producer's end")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


async def _end(producer: Any) -> None:
    try:
        await producer.stop()
    except KafkaError as error:
        log.info("a producer did not end well: %r", error)


def _as_kafka_error(error: Exception) -> KafkaError:
    if isinstance(error, KafkaError):
        return error
    return KafkaConnectionError(f"no acknowledgement within {SEND_AT_MOST_S:g} s")
