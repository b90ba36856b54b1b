"""Publishes events, items and offers, keyed and encoded as the topics want them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from freshet import kafka_clients
from freshet.contract.events import Event, encode_event
from freshet.contract.items import Item, encode_item
from freshet.contract.offers import Offer, encode_offer
from freshet.contract.records import CONTENT_TYPE, PROTOBUF
from freshet.contract.topics import CLICKS, ITEMS, ITEMS_BACKFILL, OFFERS
from freshet.kafka_clients import KafkaSettings

_HEADERS = [(CONTENT_TYPE, PROTOBUF.encode())]


class Publisher:
    """A producer for apps; use it as `async with Publisher(settings) as publisher`.

    Every method waits until all replicas have the record and raises aiokafka's KafkaError where
    they do not; the bounds of the contract are the services' to check (dead letters).
    """

    def __init__(self, settings: KafkaSettings, *, linger_ms: int = 0) -> None:
        """`linger_ms`: how long a batch waits for company; 0 for single clicks, 20 for imports."""
        self._producer: AIOKafkaProducer = kafka_clients.producer(settings, linger_ms=linger_ms)

    async def __aenter__(self) -> Self:
        await kafka_clients.started(self._producer)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._producer.stop()

    async def event(self, event: Event) -> str:
        """Publish one event and return its position token."""
        return token(await (await self.send_event(event)))

    async def send_event(self, event: Event) -> asyncio.Future[RecordMetadata]:
        """Hand over one event, for many in flight; the future gives where it stands."""
        value = encode_event(event, PROTOBUF)
        key = event.user_id.encode()
        sent: asyncio.Future[RecordMetadata] = await self._producer.send(
            CLICKS.name, key=key, value=value, headers=_HEADERS
        )
        return sent

    async def item(self, item: Item, *, backfill: bool = False) -> None:
        """Publish the whole item; `backfill` lets live arrivals overtake it."""
        topic = ITEMS_BACKFILL if backfill else ITEMS
        await self._send(topic.name, item.item_id, encode_item(item, PROTOBUF))

    async def delete_item(self, item_id: str) -> None:
        """Delete an item: it is in no list any more."""
        await self._send(ITEMS.name, item_id, None)

    async def offer(self, offer: Offer) -> None:
        """Publish price, stock or window of an item without its picture."""
        await self._send(OFFERS.name, offer.item_id, encode_offer(offer, PROTOBUF))

    async def delete_offer(self, item_id: str) -> None:
        """Take an offer back: the item's own price, stock and window hold again."""
        await self._send(OFFERS.name, item_id, None)

    async def _send(self, topic: str, key: str, value: bytes | None) -> None:
        await self._producer.send_and_wait(topic, key=key.encode(), value=value, headers=_HEADERS)


def token(where: RecordMetadata) -> str:
    """Write the position token of a published record."""
    return f"{where.partition}:{where.offset}"
