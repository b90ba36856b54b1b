"""Read `offers` from its beginning and keep the merged offers in step with it.

The topic is compacted, so each start reads every item's last offer. A record that cannot be used
goes to `dead-letters` if it arrives while this instance runs; what stood there before was seen
by an instance that ran then, and is only counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from freshet import kafka_clients
from freshet.contract import records, topics
from freshet.contract.offers import decode_offer
from freshet.kafka_clients import KafkaSettings
from services.ranking.live.offers import OfferChange, Offers
from shared.clock import now_ms
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.topic_reader import TopicReader

log = logging.getLogger(__name__)

WAITING_AT_MOST: Final = 1_000  # dead letters not written yet; more are counted and dropped

_Bad = tuple[ConsumerRecord, records.BadRecord]


class OffersFeed:
    """Follows the topic; an offer takes effect within milliseconds of its record."""

    def __init__(
        self,
        settings: KafkaSettings,
        offers: Offers,
        dead_letters: DeadLetterWriter,
        *,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.refused = 0  # records that cannot be used, since the start
        self.dropped = 0  # of them, dead letters that could not be written
        self.delay_ms = 0  # from the last record's time to its effect here
        self._settings = settings
        self._offers = offers
        self._dead_letters = dead_letters
        self._clock_ms = clock_ms
        self._waiting: asyncio.Queue[_Bad] = asyncio.Queue(WAITING_AT_MOST)
        self._reader = TopicReader(self._make_consumer, topics.OFFERS.name, self._take)

    async def run(self) -> None:
        """Read the topic until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reader.run())
            tasks.create_task(self._write_dead_letters())

    async def caught_up(self) -> None:
        """Wait until everything is merged that stood in the topic when this was called."""
        await self._reader.caught_up()

    def status(self) -> dict[str, Any]:
        """Return figures for /status and metrics."""
        return {
            "items": len(self._offers),
            "lag": self._reader.lag(),
            "delay_ms": self.delay_ms,
            "stale": self._offers.stale,
            "refused": self.refused,
            "dead_letters_dropped": self.dropped,
            "consumers_replaced": self._reader.replaced,
        }

    def _make_consumer(self, topic: str) -> AIOKafkaConsumer:
        return kafka_clients.consumer(self._settings, topic)

    def _take(self, consumed: Sequence[ConsumerRecord]) -> None:
        changes = []
        for record in consumed:
            try:
                changes.append(change_of(record))
            except records.BadRecord as error:
                self._refuse(record, error)
        self._offers.apply(changes)
        self.delay_ms = max(0, self._clock_ms() - consumed[-1].timestamp)

    def _refuse(self, record: ConsumerRecord, error: records.BadRecord) -> None:
        self.refused += 1
        log.warning("%s cannot be used: %s", records.origin_of(record), error)
        if not self._arrived_since_the_start(record):
            return
        try:
            self._waiting.put_nowait((record, error))
        except asyncio.QueueFull:
            self.dropped += 1

    def _arrived_since_the_start(self, record: ConsumerRecord) -> bool:
        stood_until = self._reader.ends_at_start or {}
        return bool(record.offset >= stood_until.get(record.partition, 0))

    async def _write_dead_letters(self) -> None:
        while True:
            await self._dead_letters.send_until_written(*await self._waiting.get())


def change_of(record: ConsumerRecord) -> OfferChange:
    """Return what a record of `offers` says. Raises BadRecord.

    Its version is `updated_ms`, but never later than the record's time; without it, and for a
    null, the record's time.
    """
    time_ms = records.origin_of(record).time_ms
    if record.value is None:
        try:
            return OfferChange((record.key or b"").decode(), time_ms, None)
        except UnicodeDecodeError as error:
            raise records.BadRecord(records.WRONG_KEY, f"the key must be UTF-8: {error}") from None
    offer = decode_offer(record.value, records.content_type(record.headers))
    records.check_key(record.key, offer.item_id)
    version = time_ms if offer.updated_ms is None else min(offer.updated_ms, time_ms)
    return OfferChange(offer.item_id, version, offer)
