"""The embedding service, wired: everything it is made of, its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import UnknownTopicOrPartitionError

from services.embedding.active import ActiveBundle
from services.embedding.batcher import Batcher
from services.embedding.bundle import Bundle
from services.embedding.cache_store import RedisItemCache
from services.embedding.decoding import Decoders
from services.embedding.encode import ItemEncoder
from services.embedding.encoders import Encoders
from services.embedding.fetch import Fetcher
from services.embedding.fusion import Fusion
from services.embedding.homes import Homes
from services.embedding.intake import Intake
from services.embedding.pictures import Caps
from services.embedding.pipeline import Pipeline
from services.embedding.producer import SturdyProducer
from services.embedding.publish import Publisher
from services.embedding.readback import Readback
from services.embedding.reconcile import Reconciler
from services.embedding.settings import Settings
from services.embedding.standings import Standings
from shared import kafka, redis, topics
from shared.health import Health
from shared.retry import until_there

log = logging.getLogger(__name__)

STOP_AT_MOST_S = 8.0  # for what is under way; with everything else the end takes under 15 s


class Service:
    """Runs until `stop`. Build it inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.health = Health("embedding")
        self.health.status = self.status
        self.health_port = 0
        self._ends = contextlib.AsyncExitStack()  # what was started, to be ended backwards
        self.space = ""
        self.pipeline: Pipeline | None = None
        self.intake: Intake | None = None

    async def start(self) -> None:
        """Start everything and become ready; waits for Kafka and Redis as long as it takes.

        Raises BadBundle or OSError (a port is taken): nothing can be waited for.
        """
        settings = self._settings
        self.health_port = await self.health.start(settings.bind, settings.health_port)
        self._ends.push_async_callback(self.health.stop)
        bundle = await asyncio.to_thread(Bundle.load, settings.bundle)
        self.space = bundle.space
        encoders = await asyncio.to_thread(Encoders, bundle, settings.encoder_threads or None)
        fusion = Fusion.load(bundle.files["fusion.npz"])
        decoders = Decoders(settings.decoders, Caps())
        self._ends.callback(decoders.stop)
        await decoders.start()
        batcher = await self._ends.enter_async_context(Batcher(encoders))
        fetcher = await self._ends.enter_async_context(
            Fetcher(settings.image_hosts, settings.image_roots)
        )
        encoder = ItemEncoder(fetcher, decoders, batcher, fusion)
        await self._connect(bundle, encoder)
        self.health.ready = True
        log.info("ready: space %s, health port %d", bundle.space, self.health_port)

    async def stop(self) -> None:
        """Finish what is under way, within bounds, and end everything."""
        self.health.ready = False
        await self._ends.aclose()

    def status(self) -> dict[str, Any]:
        """Return what `GET /status` shows."""
        shown: dict[str, Any] = {"space": self.space}
        if self.pipeline is not None:
            shown |= dataclasses.asdict(self.pipeline.counts)
        return shown

    async def _connect(self, bundle: Bundle, encoder: ItemEncoder) -> None:
        settings = self._settings
        cache_redis = redis.connect(settings.redis, socket_timeout_s=1.0)
        self._ends.push_async_callback(cache_redis.aclose)
        active = ActiveBundle(cache_redis, bundle.space, bundle.dim)
        await until_there("Redis", active.claim)
        homes = Homes(*await until_there("Kafka", lambda: self._topics(bundle.space)))
        producer = SturdyProducer(lambda: kafka.producer(settings.kafka))
        await until_there("Kafka", producer.start)
        self._ends.push_async_callback(producer.stop)
        vectors_topic = topics.item_vectors(bundle.space).name
        standings = Standings()
        publisher = Publisher(producer, bundle.space)
        cache = RedisItemCache(cache_redis, bundle.space, bundle.dim)
        self.pipeline = Pipeline(
            bundle.space,
            homes,
            standings,
            encoder,
            cache,
            publisher,
            kafka.DeadLetters(producer, "embedding"),
        )
        readback = Readback(self._reader, vectors_topic, homes, standings, publisher)
        await until_there("Kafka", readback.start)
        self._ends.push_async_callback(readback.stop)
        reconciler = Reconciler(
            self._reader,
            self._partitions,
            vectors_topic,
            homes,
            standings,
            self.pipeline.publish,
        )
        self.intake = Intake(
            settings.kafka,
            f"freshet-embedding.{bundle.space}",
            readback,
            homes.owned_with,
            reconciler.run,
            self.pipeline.handle,
            in_flight_bytes=settings.in_flight_mib * 1024 * 1024,
        )
        await until_there("Kafka", self.intake.start)
        self._ends.push_async_callback(self.intake.stop, STOP_AT_MOST_S)

    def _reader(self) -> AIOKafkaConsumer:
        return kafka.consumer(self._settings.kafka, fetch_max_bytes=4 * 1024 * 1024)

    async def _topics(self, space: str) -> tuple[int, int]:
        """Create what is missing. Returns the partitions of `item-vectors` and of `items`."""
        inputs = (topics.ITEMS, topics.ITEMS_BACKFILL, topics.OFFERS, topics.DEAD_LETTERS)
        await kafka.ensure_topics(self._settings.kafka, inputs)
        items = await self._partitions(topics.ITEMS.name)
        vectors = dataclasses.replace(topics.item_vectors(space), partitions=items)
        await kafka.ensure_topics(self._settings.kafka, [vectors])
        return await self._partitions(vectors.name), items

    async def _partitions(self, topic: str) -> int:
        admin = await kafka.admin(self._settings.kafka)
        try:
            found = await admin.describe_topics([topic])
        finally:
            await admin.close()
        if not found[0]["partitions"]:  # just created: the broker asked does not know it yet
            raise UnknownTopicOrPartitionError(topic)
        return len(found[0]["partitions"])
