"""Publish encoded items and deletes on `item-vectors.SPACE`, and the nulls that deletes need."""

from __future__ import annotations

import asyncio

from freshet.contract import records, topics
from freshet.producer import RenewedProducer
from services.embedding.items.versions import Stated, headers
from shared.catalogue.versions import RecordVersion


class VectorPublisher:
    """Writes to Kafka; every method returns once all replicas have it."""

    def __init__(self, producer: RenewedProducer, space: str) -> None:
        self._producer = producer
        self._topic = topics.item_vectors(space).name

    async def publish(
        self,
        item_id: str,
        partition: int,
        value: bytes | None,
        stated: Stated,
        origin: records.Origin | None,
    ) -> int:
        """Write an item vector's bytes, or a delete (None), to a partition. Returns the offset.

        origin: the record that it comes from; None for a delete that no record states.
        Raises BadRecord when it is too large for the topic.
        """
        described = headers(stated, origin)
        if value is not None:
            described += records.PROTOBUF_HEADERS
        return await self.write(partition, item_id.encode(), value, described)

    async def write(
        self, partition: int, key: bytes, value: bytes | None, described: list[tuple[str, bytes]]
    ) -> int:
        """Write a record as it is to a partition of `item-vectors`. Returns its offset."""
        written = await self._producer.send_until_written(
            self._topic, key=key, value=value, headers=described, partition=partition
        )
        return int(written.offset)

    async def clear_inputs(
        self, item_id: str, version: RecordVersion, origin: records.Origin
    ) -> None:
        """Write the nulls that take a deleted item out of `items-backfill` and `offers`."""
        described = headers(Stated(version, version.place.time_ms), origin)
        await asyncio.gather(
            *(
                self._producer.send_until_written(
                    topic.name, key=item_id.encode(), value=None, headers=described
                )
                for topic in (topics.ITEMS_BACKFILL, topics.OFFERS)
            )
        )
