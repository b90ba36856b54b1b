"""Read since when items are there in the space that is served, for one that will follow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from google.protobuf.message import DecodeError

from freshet.v1 import vector_pb2
from shared.runtime.topic_reader import read_once
from shared.users.keys import item_key


async def inherited(make: Callable[..., AIOKafkaConsumer], topic: str) -> dict[int, int]:
    """Return `arrived_ms` of each living item of an `item-vectors` topic, by the item's key.

    make: returns a new consumer of topics, without group, not started.
    """
    arrived: dict[int, int] = {}

    def take(consumed: Sequence[ConsumerRecord]) -> None:
        for record in consumed:
            key = item_key((record.key or b"").decode("utf-8", "replace"))
            if record.value is None:
                arrived.pop(key, None)
                continue
            try:
                arrived[key] = vector_pb2.ItemVector.FromString(record.value).arrived_ms
            except DecodeError:
                continue  # readers of the space leave it out, too

    await read_once(make, topic, take)
    return arrived
