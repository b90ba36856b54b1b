"""Read `offers` from its beginning and keep the merged offers in step with it.

The topic is compacted, so a start may read of each item its last record alone. Where that does not
carry all that stands, what stands is published as one record, with the versions that it had, so
that reading it changes nothing here and gives a later start the same. Every instance would do so:
each waits a while of its own, so that mostly one does.

A record that cannot be used goes to `dead-letters` if it arrives while this instance runs; what
stood there before was seen by an instance that ran then, and is only counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from aiokafka import ConsumerRecord

from freshet import kafka_clients
from freshet.contract import records, topics
from freshet.contract.offers import encode_offer
from freshet.kafka_clients import KafkaSettings
from freshet.producer import RenewedProducer
from services.ranking.live.offers import Offers, WholeOffer
from shared.catalogue.offers import change_of, written
from shared.clock import now_ms
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.topic_reader import TopicReader

log = logging.getLogger(__name__)

WAITING_AT_MOST: Final = 1_000  # dead letters not written yet; more are counted and dropped
# Between two looks at what is not whole: far below the time after which Kafka compacts.
LOOK_AGAIN_S: Final = (2.0, 20.0)

_Bad = tuple[ConsumerRecord, records.BadRecord]


class OffersFeed:
    """Follows the topic; an offer takes effect within milliseconds of its record."""

    def __init__(
        self,
        settings: KafkaSettings,
        offers: Offers,
        producer: RenewedProducer,
        dead_letters: DeadLetterWriter,
        *,
        clock_ms: Callable[[], int] = now_ms,
        look_again_s: Callable[[], float] = lambda: random.uniform(*LOOK_AGAIN_S),
    ) -> None:
        self.refused = 0  # records that cannot be used, since the start
        self.dropped = 0  # of them, dead letters that could not be written
        self.delay_ms = 0  # from the last record's time to its effect here
        self.made_whole = 0  # offers published as one record, since the start
        self._offers = offers
        self._producer = producer
        self._dead_letters = dead_letters
        self._clock_ms = clock_ms
        self._look_again_s = look_again_s
        self._waiting: asyncio.Queue[_Bad] = asyncio.Queue(WAITING_AT_MOST)
        self._reader = TopicReader(partial(kafka_clients.consumer, settings), topics.OFFERS.name)

    async def run(self) -> None:
        """Read the topic until cancelled."""
        # No TaskGroup: cancelled, it leaves a cycle (CPython #124958) that would hold the offers.
        await asyncio.gather(
            self._reader.run(self._take), self._write_dead_letters(), self._keep_whole()
        )

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
            "made_whole": self.made_whole,
            "refused": self.refused,
            "dead_letters_dropped": self.dropped,
            "consumers_replaced": self._reader.replaced,
        }

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

    async def _keep_whole(self) -> None:
        while True:
            await asyncio.sleep(self._look_again_s())
            if self._offers.unwhole():
                await self._reader.caught_up()
            for item_id in self._offers.unwhole():
                # Another instance may have done it by now.
                if (whole := self._offers.whole(item_id)) is not None:
                    await self._publish(whole)

    async def _publish(self, whole: WholeOffer) -> None:
        value = None
        described = [(records.WHOLE, written(whole.versions))]
        if whole.offer is not None:
            value = encode_offer(whole.offer, records.PROTOBUF)
            described += records.PROTOBUF_HEADERS
        await self._producer.send_until_written(
            topics.OFFERS.name,
            key=whole.item_id.encode(),
            value=value,
            headers=described,
            partition=whole.partition,
        )
        self.made_whole += 1
