"""Tell what became of published items: what was refused, changed nothing, or lacks its picture."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.structs import RecordMetadata
from redis.asyncio import Redis
from redis.exceptions import RedisError

from freshet.contract.records import origin_of
from freshet.contract.topics import DEAD_LETTERS, ITEMS, item_vectors
from freshet.kafka_clients import KafkaSettings
from freshet.v1 import vector_pb2
from services.cli import lag
from services.cli.imports.pictureless import Pictureless
from shared.dead_letters import letters
from shared.dead_letters.letters import DeadLetter
from shared.kafka.records import Offsets, ends_of, records_of


class Overtaken(NamedTuple):
    """A published item that changed nothing, as a newer record of it counted already."""

    item_id: str
    source: str  # `file:line`


class Fates(NamedTuple):
    """What became of items that did not take effect as published, in the order of their lines."""

    refused: list[DeadLetter]
    overtaken: list[Overtaken]
    without_picture: list[Pictureless]


class FateWatch:
    """Follows the items of one run, from before the first is published."""

    def __init__(self, settings: KafkaSettings, redis: Redis, vectors: str, begin: Offsets) -> None:
        """vectors: the topic of what takes effect. begin: where it and `dead-letters` end now."""
        self._settings = settings
        self._redis = redis
        self._vectors = vectors
        self._begin = begin
        self._sent: dict[tuple[int, int], Overtaken] = {}  # by partition and offset
        self._first: Offsets = {}
        self._last: Offsets = {}

    @classmethod
    async def begin(cls, settings: KafkaSettings, redis: Redis) -> FateWatch | None:
        """Begin to watch; None where Redis names no active space. Raises KafkaError."""
        try:
            space = await lag.active_space(redis)
        except RedisError:  # publishing needs Kafka alone
            space = None
        if space is None:
            return None
        vectors = item_vectors(space).name
        return cls(settings, redis, vectors, await ends_of(settings, vectors, DEAD_LETTERS.name))

    def sent(self, item_id: str, source: str, written: RecordMetadata) -> None:
        """Note where an item was published."""
        tp = TopicPartition(written.topic, written.partition)
        self._sent[written.partition, written.offset] = Overtaken(item_id, source)
        self._first.setdefault(tp, written.offset)
        self._last[tp] = written.offset

    async def fates(self, within_s: float) -> Fates | None:
        """Wait until embedding is through; None if it takes longer. Raises KafkaError.

        What takes effect names its origin on `item-vectors`; what does not, and is no dead letter,
        found a newer record.
        """
        try:
            async with asyncio.timeout(within_s):
                await lag.until_encoded(self._settings, self._redis, self._last, lambda _: None)
        except (TimeoutError, RedisError):
            return None
        refused = await letters.of_records(self._settings, self._begin, self._first, self._last)
        told = {letter.origin: "" for letter in refused}  # why its picture is missing, by origin
        async for record in records_of(self._settings, self._vectors, begin=self._begin):
            encoded = vector_pb2.ItemVector.FromString(record.value or b"")
            told[origin_of(record)] = encoded.picture_missing
        reasons = {(it.partition, it.offset): told[it] for it in told if it.topic == ITEMS.name}
        overtaken = [sent for place, sent in self._sent.items() if place not in reasons]
        without = [
            Pictureless(sent.item_id, reason)
            for place, sent in self._sent.items()
            if (reason := reasons.get(place))
        ]
        return Fates(refused, overtaken, without)
