"""Encode all items in the space of one bundle; a service does so for several of them at once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import UnknownTopicOrPartitionError
from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract import topics
from freshet.producer import RenewedProducer
from services.embedding.encode.batcher import Batcher
from services.embedding.encode.item_encoder import ItemEncoder
from services.embedding.encode.precedence import Precedence
from services.embedding.encode.promotion import Promotion
from services.embedding.items.arrivals import Arrivals, inherited
from services.embedding.items.consumer_group import ItemConsumerGroup
from services.embedding.items.item_cache import ItemCache
from services.embedding.items.item_partitions import ItemPartitions
from services.embedding.items.latest_versions import LatestVersions
from services.embedding.items.readback import Readback
from services.embedding.items.reconcile import Reconciler
from services.embedding.items.record_handler import RecordHandler
from services.embedding.items.vector_publisher import VectorPublisher
from services.embedding.pictures.decoding import Decoders
from services.embedding.pictures.fetch import Fetcher
from services.embedding.pictures.missing_pictures import MissingPictures
from services.embedding.pictures.picture_retries import PictureRetries
from services.embedding.settings import NAME, EmbeddingSettings
from services.embedding.snapshots.indexer import Indexer
from shared.bundles.bundle import Bundle
from shared.bundles.golden import started
from shared.catalogue import active_bundle
from shared.runtime import metrics
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.retry import retry_until_available
from shared.runtime.service import Background
from shared.runtime.topic_reader import RecordReader

log = logging.getLogger(__name__)

STOP_AT_MOST_S: Final = 6.0  # for what is under way; the whole end takes under 15 s
READ_BYTES: Final = 4 * 1024 * 1024


class Tools(NamedTuple):
    """What the spaces of a service share: nothing of it depends on a bundle."""

    redis: Redis
    fetcher: Fetcher
    decoders: Decoders
    search_decoders: Decoders
    precedence: Precedence


class EncodedSpace:
    """One bundle at work, from `start` to `stop`: items in, vectors and snapshots out."""

    def __init__(
        self,
        settings: EmbeddingSettings,
        tools: Tools,
        is_served: Callable[[], bool],
        failed: Callable[[BaseException | None], None],
    ) -> None:
        """is_served: whether it goes before the others; failed: hears of what ends its work."""
        self._settings = settings
        self._tools = tools
        self._is_served = is_served
        self._ends = contextlib.AsyncExitStack()
        self._background = Background(failed)
        self.encoder: ItemEncoder
        self.indexer: Indexer | None = None
        self._space, self._dim, self._tower_dim = "", 0, 0
        self._promotion: Promotion | None = None
        self._handler: RecordHandler | None = None
        self._group: ItemConsumerGroup | None = None
        self._readback: Readback | None = None
        self._retries: PictureRetries | None = None

    @property
    def fault(self) -> str | None:
        """Why its work ended, None while it goes on."""
        return self._background.fault

    async def load(self, bundle: Bundle) -> None:
        """Start the models of a bundle and try them. Raises BadBundle."""
        threads = self._settings.encoder_threads or None
        encoders, fusion, tower = await asyncio.to_thread(started, bundle, threads)
        batcher = await self._ends.enter_async_context(Batcher(encoders))
        _, fetcher, decoders, search_decoders, precedence = self._tools
        self.encoder = ItemEncoder(
            fetcher, decoders, search_decoders, batcher, fusion, tower, precedence, self._is_served
        )
        self._space, self._dim = bundle.space, bundle.dim
        self._tower_dim = bundle.tower.dim if bundle.tower else 0

    async def start(self) -> None:
        """Read and publish items from now on; waits for Kafka and Redis as long as it takes."""
        settings, redis, space = self._settings, self._tools.redis, self._space
        ends, encoder = self._ends, self.encoder
        topic = topics.item_vectors(space).name
        # Before others hear of the space: they would make its topic, as large as they know.
        counts = await retry_until_available("Kafka", self._make_topics)
        self._promotion = promotion = Promotion(redis, space, self._dim)
        await retry_until_available("Redis", promotion.claim)

        partitions, latest = ItemPartitions(*counts), LatestVersions()
        producer = RenewedProducer(lambda: kafka_clients.producer(settings.kafka))
        await retry_until_available("Kafka", producer.start)
        ends.push_async_callback(producer.stop)
        publisher = VectorPublisher(producer, space)
        records = RecordReader(self._record_reader, topic)
        ends.push_async_callback(records.close)

        async def record_at(partition: int, offset: int) -> ConsumerRecord | None:
            return await retry_until_available("Kafka", lambda: records.read(partition, offset))

        missing = MissingPictures()
        cache = ItemCache(redis, space, self._dim, self._tower_dim)
        self._readback = readback = Readback(
            self._reader, topic, partitions, latest, publisher, missing, record_at
        )
        self._background.start(readback.run(), f"readback of {space}")
        self._retries = retries = PictureRetries(
            missing,
            latest,
            partitions,
            record_at,
            encoder,
            cache,
            publisher,
            readback.caught_up,
        )
        self._background.start(retries.run(), f"pictures of {space}")

        self._handler = handler = RecordHandler(
            space,
            partitions,
            latest,
            encoder,
            cache,
            publisher,
            DeadLetterWriter(producer, NAME),
            Arrivals(await self._inherited()),
            record_at,
        )
        reconciler = Reconciler(self._reader, topic, partitions, latest, handler.publish)

        async def caught_up(item_partitions: set[int]) -> None:
            partitions.own(item_partitions)
            await readback.caught_up()

        self._group = group = ItemConsumerGroup(
            settings.kafka,
            topics.embedding_group(space),
            caught_up,
            reconciler.run,
            handler.handle,
            lambda error: self._background.fail(f"items of {space}", error),
            in_flight_bytes=settings.in_flight_mib * 1024 * 1024,
        )
        await retry_until_available("Kafka", group.start)
        ends.push_async_callback(group.stop, STOP_AT_MOST_S)
        self.indexer = Indexer(
            settings.snapshots, space, self._dim, readback.positions, self.is_keeper
        )
        self._background.start(self.indexer.run(), f"indexer of {space}")

    async def stop(self) -> None:
        """Finish what is under way, within bounds, and end everything."""
        await self._background.stop()
        await self._ends.aclose()

    async def leave(self) -> None:
        """Read nothing any more and let others read."""
        if self._group is not None:
            await self._group.stop(0)

    def is_keeper(self) -> bool:
        """Say whether this instance looks after the space's snapshots and orders."""
        return self._group is not None and self._group.has(topics.ITEMS.name, 0)

    async def promote(self) -> None:
        """Carry the bundle's order out, if all is encoded and its index is made.

        Raises what Redis and Kafka raise.
        """
        if self._promotion is not None:
            await self._promotion.look(self.is_keeper, self._is_ready)

    async def _is_ready(self) -> bool:
        assert self._group is not None
        assert self.indexer is not None
        return await self._group.is_done() and self.indexer.is_current()

    def report(self) -> None:
        """Set the gauges, which are of the served space."""
        lags: Counter[str] = Counter()
        for tp, lag in self._lags().items():
            lags[tp.topic] += lag
        for topic, lag in lags.items():
            metrics.EMBEDDING_LAG.labels(topic).set(lag)
        if self._retries is not None:
            for error_class, count in self._retries.missing().items():
                metrics.PICTURES_MISSING.labels(error_class).set(count)
        if self.indexer is not None and self.indexer.last is not None:
            metrics.SNAPSHOT_AT.set(self.indexer.last.created_ms / 1000)

    def status(self) -> dict[str, Any]:
        """Return what `GET /status` shows of it."""
        shown: dict[str, Any] = {"space": self._space}
        if self._handler is not None:
            shown |= dataclasses.asdict(self._handler.counts)
        if self._readback is not None:
            shown["mended"] = self._readback.mended
        if self._retries is not None:
            shown["pictures"] = self._retries.status()
        if self.indexer is not None:
            shown["snapshot"] = self.indexer.status()
        assignment = self._group.assignment if self._group is not None else None
        if assignment is not None:
            shown["in_flight"] = assignment.in_flight
            lags = sorted(self._lags().items())
            shown["lag"] = {f"{tp.topic}:{tp.partition}": lag for tp, lag in lags}
        return shown

    def _lags(self) -> dict[Any, int]:
        assignment = self._group.assignment if self._group is not None else None
        return {} if assignment is None else assignment.lags

    async def _inherited(self) -> dict[int, int]:
        """Read since when items are there, where another space is served so far."""
        redis = self._tools.redis
        active = await retry_until_available("Redis", lambda: active_bundle.read(redis))
        if active is None or active.space == self._space:
            return {}
        topic = topics.item_vectors(active.space)
        await kafka_clients.ensure_topics(self._settings.kafka, [topic])
        return await inherited(self._reader, topic.name)

    def _reader(self, *names: str) -> AIOKafkaConsumer:
        return kafka_clients.consumer(self._settings.kafka, *names, fetch_max_bytes=READ_BYTES)

    def _record_reader(self) -> AIOKafkaConsumer:
        return kafka_clients.consumer(self._settings.kafka, max_partition_fetch_bytes=1)

    async def _make_topics(self) -> tuple[int, int]:
        """Create what is missing. Returns the partitions of `item-vectors` and of `items`."""
        inputs = (topics.ITEMS, topics.ITEMS_BACKFILL, topics.OFFERS, topics.DEAD_LETTERS)
        await kafka_clients.ensure_topics(self._settings.kafka, inputs)
        items = await self._count_partitions(topics.ITEMS.name)
        vectors = dataclasses.replace(topics.item_vectors(self._space), partitions=items)
        await kafka_clients.ensure_topics(self._settings.kafka, [vectors])
        return await self._count_partitions(vectors.name), items

    async def _count_partitions(self, topic: str) -> int:
        admin = await kafka_clients.admin(self._settings.kafka)
        try:
            partitions = (await admin.describe_topics([topic]))[0]["partitions"]
        finally:
            await admin.close()
        if not partitions:  # just created: the broker that was asked does not know it yet
            raise UnknownTopicOrPartitionError(topic)
        return len(partitions)
