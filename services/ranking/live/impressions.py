"""Write impressions to Kafka behind the reply: a bounded buffer, emptied in the background.

A list never waits for the log. When Kafka is slow or gone the buffer fills and further impressions
are dropped and counted; what waits when the process dies is lost. A list may be written twice after
an outage: its request_id tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from aiokafka.errors import KafkaError

from freshet.contract.records import PROTOBUF_HEADERS
from freshet.contract.topics import IMPRESSIONS
from freshet.producer import TOO_LARGE_ERRORS, Entry, RenewedProducer
from freshet.v1 import impression_pb2
from services.ranking.stages.sources import names_of
from shared.runtime import metrics

LIST_BYTES: Final = 2_000  # ids, versions, what was left out
ITEM_BYTES: Final = 200  # an id's object, three numbers' objects and the references to them
FLUSH_EVERY_S: Final = 0.1
AT_ONCE: Final = 16  # encoded in about 1 ms; then requests have their turn
RETRY_S: Final = 1.0

log = logging.getLogger(__name__)


class Shown(NamedTuple):
    """One list as it was shown; made into a message only when it is written.

    It holds no message of the reply, which would take ten times the memory.
    """

    request_id: str
    user_id: str
    item_ids: Sequence[str]  # by position, as all that follow
    scores: Sequence[float]
    proposed: Sequence[int]  # bits of sources
    propensities: Sequence[float]
    time_ms: int
    versions: impression_pb2.Versions
    degraded: Sequence[str]
    surface: str

    def bytes_held(self) -> int:
        """Return how much memory it takes, rather more than less."""
        return LIST_BYTES + len(self.item_ids) * ITEM_BYTES + sum(map(len, self.item_ids))


class Impressions:
    """Takes lists without waiting and writes them to `impressions`."""

    def __init__(self, producer: RenewedProducer, bytes_at_most: int) -> None:
        """bytes_at_most: that waiting lists may take; what comes then is dropped and counted."""
        self._producer = producer
        self._bytes_at_most = bytes_at_most
        self._buffer: deque[Shown] = deque()
        self._bytes = 0  # that the buffer holds, about

    def __len__(self) -> int:
        """Count the lists that wait."""
        return len(self._buffer)

    def add(self, shown: Shown) -> None:
        """Take a list, or drop it where the buffer is full."""
        taken = shown.bytes_held()
        if self._bytes + taken > self._bytes_at_most:
            metrics.IMPRESSIONS_DROPPED.inc()
            return
        self._bytes += taken
        self._buffer.append(shown)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            try:
                await self.flush()
            except KafkaError as error:
                log.warning("impressions wait (%d): %s", len(self._buffer), error)
                await asyncio.sleep(RETRY_S)

    async def close(self, within_s: float = 5.0) -> None:
        """Write what waits, as far as there is time; `run` must have ended."""
        try:
            async with asyncio.timeout(within_s):
                await self.flush()
        except (KafkaError, TimeoutError) as error:
            log.warning("%d impressions lost at the end: %s", len(self._buffer), error)
            metrics.IMPRESSIONS_DROPPED.inc(len(self._buffer))

    async def flush(self) -> None:
        """Write all that waits. Raises KafkaError; what was not confirmed waits on."""
        while self._buffer:
            count = min(AT_ONCE, len(self._buffer))
            batch = [self._buffer[index] for index in range(count)]
            await self._write([_entry(shown) for shown in batch])
            for _ in range(count):
                self._bytes -= self._buffer.popleft().bytes_held()

    async def _write(self, entries: Sequence[Entry]) -> None:
        """Write lists; one that the topic, made by others, finds too large is dropped and counted.

        Raises KafkaError.
        """
        try:
            await self._producer.send_all(IMPRESSIONS.name, entries)
        except TOO_LARGE_ERRORS as error:
            if len(entries) == 1:
                metrics.IMPRESSIONS_DROPPED.inc()
                log.error("an impression is dropped: %s", error)
                return
            for entry in entries:
                await self._write([entry])


def _entry(shown: Shown) -> Entry:
    return Entry(shown.user_id.encode(), message(shown).SerializeToString(), PROTOBUF_HEADERS)


def message(shown: Shown) -> impression_pb2.Impression:
    """Return a list as the contract's message."""
    return impression_pb2.Impression(
        request_id=shown.request_id,
        user_id=shown.user_id,
        items=[
            impression_pb2.ImpressionItem(
                item_id=item_id,
                position=position,
                score=score,
                sources=names_of(proposed),
                propensity=propensity,
            )
            for position, (item_id, score, proposed, propensity) in enumerate(
                zip(shown.item_ids, shown.scores, shown.proposed, shown.propensities, strict=True)
            )
        ],
        time_ms=shown.time_ms,
        versions=shown.versions,
        degraded=shown.degraded,
        surface=shown.surface,
    )
