"""A ranking service in this process, on real servers, with items and users put there directly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import redis.asyncio
from aiokafka import AIOKafkaProducer

from services.ranking.service import Service
from services.ranking.settings import Settings
from shared import active_bundle, kafka, keys, states, topics
from shared.client import ranking
from shared.items import ItemVector, encode_item_vector
from shared.kafka import KafkaSettings
from shared.settings import from_environment

if TYPE_CHECKING:
    from protos.recommender_pb2_grpc import RecommenderAsyncStub

SPACE = "test"
DIM = 16


class World:
    """Servers, the service on them, and what tests do to both."""

    def __init__(self, bootstrap: str, redis_url: str, **environ: str) -> None:
        self.kafka = KafkaSettings(bootstrap_servers=bootstrap)
        self.settings = from_environment(
            Settings,
            {
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
                "REDIS_URL": redis_url,
                "FRESHET_RANKING_PORT": "0",
                "FRESHET_RANKING_HEALTH_PORT": "0",
                **environ,
            },
        )
        self.redis = redis.asyncio.Redis.from_url(redis_url)
        self.producer: AIOKafkaProducer = kafka.producer(self.kafka)
        self.service = Service(self.settings)
        self.stub: RecommenderAsyncStub

    async def activate(self, space: str = SPACE, dim: int = DIM) -> None:
        """Let a bundle be the active one, as embedding does."""
        bundle = active_bundle.encode(active_bundle.ActiveBundle(space, dim))
        await self.redis.set(keys.ACTIVE_BUNDLE, bundle)

    async def put(self, items: Sequence[ItemVector]) -> None:
        """Publish encoded items, as embedding does."""
        await self._publish(
            (item.item_id, encode_item_vector(item), item.version) for item in items
        )

    async def delete(self, item_id: str, version: int = 2) -> None:
        """Publish an item's delete, as embedding does."""
        await self._publish([(item_id, None, version)])

    async def user(self, user_id: str, state: states.UserState) -> None:
        """Let a user have a state, as sessions does."""
        await self.redis.set(keys.user(user_id), states.pack(state))

    async def _publish(self, records: Iterable[tuple[str, bytes | None, int]]) -> None:
        name = topics.item_vectors(SPACE).name
        sent = [
            await self.producer.send(
                name, key=key.encode(), value=value, headers=[("version", str(version).encode())]
            )
            for key, value, version in records
        ]
        await asyncio.gather(*sent)


@asynccontextmanager
async def world(
    bootstrap: str, redis_url: str, items: Sequence[ItemVector] = (), **environ: Any
) -> AsyncIterator[World]:
    """Run a service that has read these items, and a stub that speaks to it."""
    there = World(bootstrap, redis_url, **environ)
    await kafka.ensure_topics(there.kafka, [topics.item_vectors(SPACE), *topics.FIXED])
    await there.producer.start()
    try:
        await there.activate()
        await there.put(items)
        await there.service.start()
        channel, there.stub = ranking(f"127.0.0.1:{there.service.grpc_port}")
        async with channel:
            yield there
    finally:
        await there.service.stop()
        await there.producer.stop()
        await there.redis.aclose()


def now_ms() -> int:
    """Return the time in ms since 1970."""
    return time.time_ns() // 1_000_000
