"""What the embedding tests do from outside: publish items, read what comes out."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from PIL import Image

from freshet.contract import topics
from freshet.contract.items import Item, encode_item
from freshet.contract.records import header
from shared.catalogue.item_vectors import ItemVector, decode_item_vector
from tests.servers import eventually


def picture(seed: int = 0, side: int = 64) -> bytes:
    """Return a small JPEG of coloured blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(blocks).resize((side, side), Image.Resampling.NEAREST)
    out = io.BytesIO()
    image.save(out, "JPEG")
    return out.getvalue()


@dataclass
class Topic:
    """All that stands on a topic, in order, and the last record of each key."""

    records: list[ConsumerRecord] = field(default_factory=list)

    @property
    def last(self) -> dict[str, ConsumerRecord]:
        return {record.key.decode(): record for record in self.records}

    def of(self, item_id: str) -> list[ConsumerRecord]:
        return [record for record in self.records if record.key == item_id.encode()]

    def version(self, item_id: str) -> int | None:
        record = self.last.get(item_id)
        found = header(record.headers, "version") if record is not None else None
        return None if found is None else int(found)

    def vector(self, item_id: str) -> ItemVector | None:
        record = self.last.get(item_id)
        return decode_item_vector(record.value) if record is not None and record.value else None


class Shop:
    """A producer of items, and a reader of any topic."""

    def __init__(self, bootstrap: str, space: str) -> None:
        self.bootstrap = bootstrap
        self.space = space
        self.vectors_topic = topics.item_vectors(space).name
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, max_request_size=9 * 1024 * 1024
        )

    async def publish(self, item: Item, topic: str = topics.ITEMS.name, **options: object) -> int:
        """Publish an item; returns its offset."""
        return await self.send(item.item_id, encode_item(item), topic, **options)

    async def delete(self, item_id: str, topic: str = topics.ITEMS.name) -> int:
        return await self.send(item_id, None, topic)

    async def send(
        self, key: str, value: bytes | None, topic: str = topics.ITEMS.name, **options: object
    ) -> int:
        written = await self._producer.send_and_wait(
            topic, key=key.encode(), value=value, **options
        )
        return int(written.offset)

    async def read(self, topic: str) -> Topic:
        """Read a topic from its beginning to its present end."""
        tps = [TopicPartition(topic, number) for number in range(await self._partitions(topic))]
        found = Topic()
        if not tps:
            return found
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            ends = await consumer.end_offsets(tps)
            consumer.assign(tps)
            while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    found.records += batch
            return found
        finally:
            await consumer.stop()

    async def _partitions(self, topic: str) -> int:
        client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await client.start()
        try:
            return len((await client.describe_topics([topic]))[0]["partitions"])
        finally:
            await client.close()

    async def vectors(self) -> Topic:
        return await self.read(self.vectors_topic)

    async def has_vector(self, item_id: str, within_s: float = 20.0) -> ItemVector:
        """Wait until an item's vector stands on `item-vectors`."""

        async def found() -> ItemVector | None:
            return (await self.vectors()).vector(item_id)

        vector = await eventually(found, within_s=within_s, what=f"a vector of {item_id}")
        assert isinstance(vector, ItemVector)
        return vector

    async def is_gone(self, item_id: str, within_s: float = 20.0) -> None:
        """Wait until an item's delete stands last on `item-vectors`."""

        async def gone() -> bool:
            last = (await self.vectors()).last.get(item_id)
            return last is not None and last.value is None

        await eventually(gone, within_s=within_s, what=f"the delete of {item_id}")

    async def dead_letter(self, origin: str, within_s: float = 20.0) -> ConsumerRecord:
        """Wait until the record at `topic:partition:offset` is a dead letter."""

        async def found() -> ConsumerRecord | None:
            return (await self.read(topics.DEAD_LETTERS.name)).last.get(origin)

        return await eventually(found, within_s=within_s, what=f"a dead letter of {origin}")


@asynccontextmanager
async def open_shop(bootstrap: str, space: str) -> AsyncIterator[Shop]:
    shop = Shop(bootstrap, space)
    await shop._producer.start()
    try:
        yield shop
    finally:
        await shop._producer.stop()
