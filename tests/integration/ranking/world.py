"""A ranking service in this process, on real servers, with items and users put there directly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import redis.asyncio
from aiokafka import AIOKafkaProducer

from freshet import kafka_clients
from freshet.channel import open_stub
from freshet.contract import topics
from freshet.contract.offers import Offer, encode_offer
from freshet.kafka_clients import KafkaSettings
from freshet.settings import from_environment
from freshet.v1 import recommender_pb2 as pb
from services.ranking.live.state_reader import MemoryReader
from services.ranking.service import RankingService
from services.ranking.settings import RankingSettings
from shared.catalogue.active_bundle import ActiveBundle
from shared.catalogue.item_vectors import ItemVector, encode_item_vector
from shared.clock import now_ms
from shared.users import keys, states

if TYPE_CHECKING:
    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub

SPACE = "test"
DIM = 16
TOPIC = topics.item_vectors(SPACE).name


class World:
    """Servers, the service on them, and what tests do to both."""

    def __init__(
        self,
        bootstrap: str,
        redis_url: str,
        environ: Mapping[str, str],
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self.kafka = KafkaSettings(bootstrap_servers=bootstrap)
        self.settings = from_environment(
            RankingSettings,
            {
                "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
                "REDIS_URL": redis_url,
                "FRESHET_RANKING_PORT": "0",
                "FRESHET_RANKING_HEALTH_PORT": "0",
                "FRESHET_BUNDLES": "memory://none",
                **environ,
            },
        )
        self.redis = redis.asyncio.Redis.from_url(redis_url)
        self.producer: AIOKafkaProducer = kafka_clients.producer(self.kafka)
        self.service = RankingService(self.settings, now_ms=clock_ms)
        self.stub: RecommenderAsyncStub

    async def activate(self, space: str = SPACE, dim: int = DIM) -> None:
        """Let a bundle be the active one, as embedding does."""
        bundle = ActiveBundle(space, dim)
        await self.redis.set(keys.ACTIVE_BUNDLE, msgspec.json.encode(bundle))

    async def put(self, items: Sequence[ItemVector], *, topic: str = TOPIC) -> None:
        """Publish encoded items, as embedding does."""
        records = [(item.item_id, encode_item_vector(item), item.version) for item in items]
        await self._publish(topic, records)

    async def delete(self, item_id: str, version: int = 2) -> None:
        """Publish an item's delete, as embedding does."""
        await self._publish(TOPIC, [(item_id, None, version)])

    async def offer(self, offer: Offer) -> None:
        """Publish an offer, as apps do."""
        await self.producer.send_and_wait(
            topics.OFFERS.name, key=offer.item_id.encode(), value=encode_offer(offer)
        )

    async def recommend(self, user_id: str, **fields: Any) -> pb.RecommendResponse:
        """Ask for a list with time enough, however busy the machine is."""
        return await self.stub.Recommend(pb.RecommendRequest(user_id=user_id, **fields), timeout=5)

    async def ids(self, user_id: str, **fields: Any) -> list[str]:
        """Ask for a list and return its item ids."""
        return [item.item_id for item in (await self.recommend(user_id, **fields)).items]

    async def user(self, user_id: str, state: states.UserState) -> None:
        """Let a user have a state, as sessions does."""
        await self.redis.set(keys.user(user_id), states.pack(state))

    async def copy(self, reader: MemoryReader) -> None:
        """Write all that a reader in memory holds to Redis."""
        for user_id, state in reader.users.items():
            await self.user(user_id, state)
        sets = {keys.covisits(item): found for item, found in reader.covisits.items()}
        sets |= {keys.trending(scope): found for scope, found in reader.trending.items()}
        for key, found in sets.items():
            members = (keys.item_key_bytes(int(member)) for member in found.keys)
            scored = zip(members, found.scores.tolist(), strict=True)
            await self.redis.zadd(key, dict(scored))

    async def _publish(self, topic: str, records: Iterable[tuple[str, bytes | None, int]]) -> None:
        sent = [
            await self.producer.send(
                topic, key=key.encode(), value=value, headers=[("version", str(version).encode())]
            )
            for key, value, version in records
        ]
        await asyncio.gather(*sent)


@asynccontextmanager
async def world(
    bootstrap: str,
    redis_url: str,
    items: Sequence[ItemVector] = (),
    *,
    clock_ms: Callable[[], int] = now_ms,
    **environ: str,
) -> AsyncIterator[World]:
    """Run a service that has read these items, and a stub that speaks to it."""
    there = World(bootstrap, redis_url, environ, clock_ms)
    await kafka_clients.ensure_topics(there.kafka, [topics.item_vectors(SPACE), *topics.FIXED])
    await there.producer.start()
    try:
        await there.activate()
        await there.put(items)
        await there.service.start()
        channel, there.stub = open_stub(f"127.0.0.1:{there.service.grpc_port}")
        async with channel:
            yield there
    finally:
        await there.service.stop()
        await there.producer.stop()
        await there.redis.aclose()
