"""Publish many records: in order, many in flight, bounded in number and bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from aiokafka.structs import RecordMetadata

from freshet import kafka_clients
from freshet.contract.records import CONTENT_TYPE, JSON
from freshet.kafka_clients import KafkaSettings

IN_FLIGHT_RECORDS: Final = 20_000
IN_FLIGHT_BYTES: Final = 32 * 1024 * 1024
LINGER_MS: Final = 20
BATCH_BYTES: Final = 128 * 1024  # a batch that is full waits for nothing


class Bulk:
    """A producer for imports; use it as `async with Bulk(settings) as bulk`.

    `on_ack` hears where each record stands, in the order of sending. Leaving the block waits
    until all replicas have everything. Raises aiokafka's KafkaError.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        on_ack: Callable[[RecordMetadata], None] = lambda where: None,
    ) -> None:
        self._producer = kafka_clients.producer(
            settings, linger_ms=LINGER_MS, max_batch_size=BATCH_BYTES
        )
        self._on_ack = on_ack
        self._window: deque[tuple[asyncio.Future[RecordMetadata], int]] = deque()
        self._bytes = 0
        self.acknowledged = 0

    async def __aenter__(self) -> Self:
        await kafka_clients.started(self._producer)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self.flush()
        finally:
            await self._producer.stop()

    async def send(
        self, topic: str, key: str, value: bytes | None, *, content_type: str = JSON
    ) -> None:
        """Hand over one record; waits only while too much is in flight."""
        size = len(value or b"")
        self._bytes += size
        while len(self._window) >= IN_FLIGHT_RECORDS or (
            self._window and self._bytes > IN_FLIGHT_BYTES
        ):
            await self._oldest()
        headers = [(CONTENT_TYPE, content_type.encode())]
        sent = await self._producer.send(topic, key=key.encode(), value=value, headers=headers)
        self._window.append((sent, size))

    async def flush(self) -> None:
        """Wait until everything handed over is acknowledged."""
        while self._window:
            await self._oldest()

    async def _oldest(self) -> None:
        future, size = self._window.popleft()
        self._bytes -= size
        where = await future
        self.acknowledged += 1
        self._on_ack(where)
