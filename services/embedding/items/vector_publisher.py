"""Out to Kafka: encoded items and deletes on `item-vectors.SPACE`, nulls beside it."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from freshet.contract import records, topics
from services.embedding.items.versions import Rank, headers


class Sends(Protocol):
    """What is needed of a producer."""

    async def send_and_wait(self, topic: str, **record: Any) -> Any: ...


class Publisher:
    """Writes to Kafka; every method returns once all replicas have it."""

    def __init__(self, producer: Sends, space: str) -> None:
        self._producer = producer
        self._topic = topics.item_vectors(space).name

    async def publish(
        self,
        item_id: str,
        home: int,
        value: bytes | None,
        rank: Rank,
        origin: records.Origin | None,
    ) -> int:
        """Write an item vector's bytes, or a delete (None), to a partition. Returns the offset.

        origin: the record that it comes from; None for a delete that no record states.
        Raises BadRecord when it is too large for the topic.
        """
        described = headers(rank.version, origin)
        if value is not None:
            described.append((records.CONTENT_TYPE, records.PROTOBUF.encode()))
        return await self.write(home, item_id.encode(), value, described)

    async def write(
        self, home: int, key: bytes, value: bytes | None, described: list[tuple[str, bytes]]
    ) -> int:
        """Write a record as it is to a partition of `item-vectors`. Returns its offset."""
        written = await self._producer.send_and_wait(
            self._topic, key=key, value=value, headers=described, partition=home
        )
        return int(written.offset)

    async def clear_inputs(self, item_id: str, rank: Rank, origin: records.Origin) -> None:
        """Write the nulls that take a deleted item out of `items-backfill` and `offers`."""
        described = headers(rank.version, origin)
        await asyncio.gather(
            *(
                self._producer.send_and_wait(
                    topic.name, key=item_id.encode(), value=None, headers=described
                )
                for topic in (topics.ITEMS_BACKFILL, topics.OFFERS)
            )
        )
