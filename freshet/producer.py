"""Write to Kafka through a producer that is made anew after each failure.

An idempotent producer can hang for ever on an out-of-order sequence number after an outage
(aiokafka #1017); a new one starts a new sequence. What failed may stand in the log all the same,
so whoever sends it again may send it twice: every record here is keyed so that it shows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from aiokafka.structs import RecordMetadata

from freshet import kafka_clients
from freshet.contract.records import TOO_LARGE, BadRecord

ACKNOWLEDGED_WITHIN_S: Final = 20.0  # longer than the client's own time-out of 15 s
STOP_AT_MOST_S: Final = 3.0
FIRST_WAIT_S: Final = 0.1  # before a record is sent again
WAIT_AT_MOST_S: Final = 5.0

# A record that a topic does not take; trying again changes nothing.
TOO_LARGE_ERRORS: Final = (MessageSizeTooLargeError, RecordListTooLargeError)

log = logging.getLogger(__name__)

Headers = Sequence[tuple[str, bytes]]


class Entry(NamedTuple):
    """A record to be written."""

    key: bytes
    value: bytes | None
    headers: Headers = ()


class RenewedProducer:
    """Writes records and waits until all replicas have them."""

    def __init__(self, make: Callable[[], AIOKafkaProducer]) -> None:
        """make: returns a new producer, not started."""
        self._make = make
        self._producer: Any = None  # AIOKafkaProducer; aiokafka has no types
        self._starting = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Connect, if it is not connected. Raises KafkaError while Kafka is unavailable."""
        async with self._starting:
            if self._producer is None:
                self._producer = await kafka_clients.started(self._make())

    async def stop(self) -> None:
        """Send what is buffered and disconnect, in bounded time."""
        self._give_up(self._producer)
        if self._ending:
            await asyncio.wait(self._ending, timeout=STOP_AT_MOST_S)

    async def partitions_of(self, topic: str) -> set[int]:
        """Return the partitions that a topic has. Raises KafkaError."""
        if self._producer is None:
            await self.start()
        partitions: set[int] = await self._producer.partitions_for(topic)
        return partitions

    async def send(
        self,
        topic: str,
        *,
        key: bytes,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> asyncio.Future[RecordMetadata]:
        """Hand over one record, for many in flight; `acknowledged` awaits the future.

        Waits only while the client's buffer is full. Raises KafkaError; nothing is repeated.
        """
        if self._producer is None:
            await self.start()
        producer = self._producer
        future: asyncio.Future[RecordMetadata]
        try:
            future = await producer.send(
                topic, value, key=key, headers=list(headers), partition=partition
            )
        except TOO_LARGE_ERRORS:  # for the producer itself, which has not begun with it
            raise
        except KafkaError:
            self._give_up(producer)
            raise
        future.add_done_callback(partial(self._ended, producer))
        return future

    async def acknowledged(self, future: asyncio.Future[RecordMetadata]) -> RecordMetadata:
        """Wait until all replicas have a record, and return where it stands. Raises KafkaError.

        A caller who waits no longer leaves the record on its way; if it fails, the producer is
        given up all the same.
        """
        if not future.done():
            late = asyncio.get_running_loop().call_later(ACKNOWLEDGED_WITHIN_S, _end_late, future)
            future.add_done_callback(lambda future: late.cancel())
        return await asyncio.shield(future)

    async def send_and_wait(
        self,
        topic: str,
        *,
        key: bytes,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> RecordMetadata:
        """Write one record and return where it stands. Raises KafkaError; nothing is repeated."""
        future = await self.send(topic, key=key, value=value, headers=headers, partition=partition)
        return await self.acknowledged(future)

    async def send_all(self, topic: str, entries: Sequence[Entry]) -> None:
        """Write records together. Raises KafkaError; some of them may stand in the log then."""
        sent = [
            await self.send(topic, key=entry.key, value=entry.value, headers=entry.headers)
            for entry in entries
        ]
        await asyncio.gather(*map(self.acknowledged, sent))

    async def send_until_written(
        self,
        topic: str,
        *,
        key: bytes,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> RecordMetadata:
        """Write one record, however long Kafka is gone, and return where it stands.

        Raises BadRecord for one that is too large for the topic.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return await self.send_and_wait(
                    topic, key=key, value=value, headers=headers, partition=partition
                )
            except TOO_LARGE_ERRORS as error:
                raise BadRecord(TOO_LARGE, f"too large for {topic}: {error}") from None
            except (KafkaError, OSError) as error:
                log.warning("sending to %s again: %s", topic, error or type(error).__name__)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, WAIT_AT_MOST_S)

    def _ended(self, producer: Any, future: asyncio.Future[RecordMetadata]) -> None:
        # Also where a broker found a record too large: its sequence number is used up, and whatever
        # follows would be out of order.
        if not future.cancelled() and future.exception() is not None:
            self._give_up(producer)

    def _give_up(self, producer: Any) -> None:
        """Let a producer end by itself; the next call makes another.

        It ends when its records are written or too old, which nobody should wait for.
        """
        if producer is None or producer is not self._producer:
            return
        self._producer = None
        ending = asyncio.create_task(_end(producer), name="producer's end")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


def _end_late(future: asyncio.Future[RecordMetadata]) -> None:
    if not future.done():
        text = f"no acknowledgement within {ACKNOWLEDGED_WITHIN_S:g} s"
        future.set_exception(KafkaConnectionError(text))


async def _end(producer: Any) -> None:
    try:
        await producer.stop()
    except KafkaError as error:
        log.info("a producer did not end well: %r", error)
