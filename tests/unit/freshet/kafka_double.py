"""Kafka's producer in this process, which notes what it is given."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from aiokafka.structs import RecordMetadata, TopicPartition

from freshet import KafkaSettings


class Sent(NamedTuple):
    """A record as the producer was given it."""

    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


class KafkaDouble:
    """Stands in for aiokafka's producer; one user's events share a partition, as by their key.

    `errors` come first, one a record; with `holding` records wait to be acknowledged until
    `release`.
    """

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.errors: list[Exception] = []
        self.holding = False
        self.held: list[tuple[asyncio.Future[RecordMetadata], RecordMetadata]] = []
        self.running = 0
        self.options: dict[str, Any] = {}

    def make(self, settings: KafkaSettings, **options: Any) -> KafkaDouble:
        self.options = {"bootstrap_servers": settings.bootstrap_servers, **options}
        return self

    async def start(self) -> None:
        self.running += 1

    async def stop(self) -> None:
        self.running -= 1

    async def send(
        self, topic: str, value: bytes | None, *, key: bytes, headers: Any, partition: None
    ) -> asyncio.Future[RecordMetadata]:
        future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        if self.errors:
            future.set_exception(self.errors.pop(0))
            return future
        at = sum(each.topic == topic and each.key == key for each in self.sent)
        self.sent.append(Sent(topic, key, value, headers))
        number = len(key)
        where = RecordMetadata(topic, number, TopicPartition(topic, number), at, 0, 0, 0)
        self.held.append((future, where))
        if not self.holding:
            self.release()
        return future

    def release(self) -> None:
        for future, where in self.held:
            if not future.done():
                future.set_result(where)
        self.held.clear()
