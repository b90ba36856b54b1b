"""A topic of item vectors to publish to, and feeds that follow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from freshet import kafka_clients as kafka_edge
from freshet.contract import topics
from freshet.kafka_clients import KafkaSettings
from shared.catalogue.catalogue import Change
from shared.catalogue.item_vectors import encode_item_vector
from tests.unit.shared.catalogue.makers import SPACE

TOPIC = topics.item_vectors(SPACE)
Publish = Callable[[Iterable[Change]], Awaitable[None]]


@asynccontextmanager
async def publisher(settings: KafkaSettings) -> AsyncIterator[Publish]:
    """Make the topic, and lend a function that publishes changes as embedding does."""
    await kafka_edge.ensure_topics(settings, [TOPIC, topics.OFFERS, topics.DEAD_LETTERS])
    producer = kafka_edge.producer(settings)
    await producer.start()

    async def publish(changes: Iterable[Change]) -> None:
        sent = [
            await producer.send(
                TOPIC.name,
                key=change.item_id.encode(),
                value=None if change.item is None else encode_item_vector(change.item),
                headers=[("version", str(change.version).encode())],
            )
            for change in changes
        ]
        await asyncio.gather(*sent)

    try:
        yield publish
    finally:
        await producer.stop()


@pytest.fixture
def settings(kafka: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka)


@pytest.fixture
async def publish(settings: KafkaSettings) -> AsyncIterator[Publish]:
    async with publisher(settings) as lent:
        yield lent


@asynccontextmanager
async def at_work(run: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run something in the background for as long as the block lasts; its failure is the test's."""
    task = asyncio.create_task(run)
    try:
        yield
    finally:
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
