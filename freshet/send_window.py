"""Keep many records on their way to Kafka: in order, bounded in number and bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from freshet.contract.records import CONTENT_TYPE, JSON, PROTOBUF, SOURCE

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from aiokafka.structs import RecordMetadata

    from freshet.producer import RenewedProducer

IN_FLIGHT_RECORDS: Final = 20_000
IN_FLIGHT_BYTES: Final = 32 * 1024 * 1024
_HEADERS: Final = {each: [(CONTENT_TYPE, each.encode())] for each in (JSON, PROTOBUF)}


class SendWindow:
    """Hands records over without waiting for each; `flush`, or the block's end, waits for all.

    `on_acknowledged` hears where each record stands, in the order of sending. Raises KafkaError
    for the first record that fails, after which nothing is in flight.
    """

    def __init__(
        self,
        producer: RenewedProducer,
        on_acknowledged: Callable[[RecordMetadata], None] = lambda written: None,
    ) -> None:
        self.acknowledged = 0
        self._producer = producer
        self._on_acknowledged = on_acknowledged
        self._in_flight: deque[tuple[asyncio.Future[RecordMetadata], int]] = deque()
        self._bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.flush()

    async def send(
        self,
        topic: str,
        key: str,
        value: bytes | None,
        *,
        content_type: str = PROTOBUF,
        source: str = "",
    ) -> None:
        """Hand over one record, no value deletes; waits only while too much is in flight.

        source: `file:line` that it comes from; its dead letter would name it.
        """
        size = len(value or b"")
        self._bytes += size
        while len(self._in_flight) >= IN_FLIGHT_RECORDS or (
            self._in_flight and self._bytes > IN_FLIGHT_BYTES
        ):
            await self._oldest()
        headers = _HEADERS[content_type]
        if source:
            headers = [*headers, (SOURCE, source.encode("utf-8", "replace"))]
        future = await self._producer.send(topic, key=key.encode(), value=value, headers=headers)
        self._in_flight.append((future, size))

    async def flush(self) -> None:
        """Wait until all replicas have everything that was handed over."""
        while self._in_flight:
            await self._oldest()

    async def _oldest(self) -> None:
        future, size = self._in_flight[0]
        try:
            # most are acknowledged by the time that it is their turn
            written = (
                future.result() if future.done() else await self._producer.acknowledged(future)
            )
        except Exception:
            self._in_flight.clear()  # what becomes of those behind it, nobody waits to hear
            raise
        # Whoever is cancelled meanwhile can still wait for all of them.
        self._in_flight.popleft()
        self._bytes -= size
        self.acknowledged += 1
        self._on_acknowledged(written)
