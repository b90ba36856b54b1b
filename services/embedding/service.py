"""Wire the embedding service from its parts."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from aiohttp import web
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import UnknownTopicOrPartitionError
from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract import topics
from freshet.producer import RenewedProducer
from freshet.v1 import embedding_pb2_grpc
from services.embedding import server
from services.embedding.encode.batcher import Batcher
from services.embedding.encode.item_encoder import ItemEncoder
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
from services.embedding.pictures.addresses import private_network
from services.embedding.pictures.decoding import Decoders
from services.embedding.pictures.fetch import Fetcher
from services.embedding.pictures.missing_pictures import MissingPictures
from services.embedding.pictures.picture_retries import PictureRetries
from services.embedding.settings import NAME, EmbeddingSettings
from services.embedding.snapshots.indexer import Indexer, SnapshotFailed, SnapshotUnderWay
from shared.bundles.bundle import BadBundle, Bundle
from shared.bundles.encoders import Encoders
from shared.bundles.fusion import Fusion
from shared.bundles.golden import check_golden
from shared.bundles.picture import PictureLimits
from shared.bundles.towers import ItemTower, check_item_tower
from shared.catalogue import active_bundle
from shared.runtime import redis_client
from shared.runtime.call_guard import CallGuard
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.grpc_server import Server
from shared.runtime.retry import retry_until_available
from shared.runtime.service import Refused, Service
from shared.runtime.topic_reader import RecordReader

log = logging.getLogger(__name__)

STOP_AT_MOST_S: Final = 6.0  # for what is under way; the whole end takes under 15 s
CALLS_AT_END_S: Final = 2.0
REDIS_S: Final = 1.0
MIB: Final = 1024 * 1024
READ_BYTES: Final = 4 * MIB
SEARCH_DECODE_S: Final = 2  # nobody waits longer for a search
THREADS: Final = 64  # for names of picture hosts (at most 32 at once, and slow) and large records
ITEMS_IN_CALLS: Final = 256  # of all Embed calls together
QUERIES_IN_CALLS: Final = 256


class EmbeddingService(Service):
    """Turns items into vectors until `stop`; a defect ends the process, as a new start may help."""

    def __init__(self, settings: EmbeddingSettings) -> None:
        super().__init__(NAME, settings.door, ends_with_background=True)
        self.port = 0
        self._settings = settings
        self._space = ""
        self._handler: RecordHandler | None = None
        self._group: ItemConsumerGroup | None = None
        self._readback: Readback | None = None
        self._retries: PictureRetries | None = None
        self._indexer: Indexer | None = None

    async def start(self) -> None:
        """Start everything and become ready; waits for Kafka and Redis as long as it takes.

        Raises Refused for a bad bundle, OSError where a port is taken.
        """
        settings, ends = self._settings, self.ends
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
        health_port = await self.health.start(settings.health_port)
        ends.push_async_callback(self.health.stop)
        try:
            bundle = await asyncio.to_thread(Bundle.load, settings.bundle)
            encoder = await self._start_encoder(bundle)
        except BadBundle as error:
            raise Refused(f"FRESHET_BUNDLE: {error}") from None
        self._space = bundle.space
        grpc_server = Server(
            server.SERVICE,
            server.NEEDS,
            self.door,
            receive_max_bytes=server.REQUEST_BYTES,
            messages_max_bytes=settings.messages_mib * 1024 * 1024,
            max_concurrent=server.CALLS_AT_MOST,
        )
        embed_s = settings.embed_deadline_ms / 1000
        answering = server.EmbeddingServer(
            bundle.space,
            encoder,
            CallGuard(server.admission(ITEMS_IN_CALLS, "items"), embed_s),
            CallGuard(server.admission(QUERIES_IN_CALLS, "queries"), embed_s),
            embed_s=embed_s,
            query_s=settings.query_deadline_ms / 1000,
        )
        embedding_pb2_grpc.add_EmbeddingServicer_to_server(answering, grpc_server.grpc)
        self.port = await grpc_server.start(settings.port)
        ends.push_async_callback(grpc_server.stop, CALLS_AT_END_S)
        await self._start_items(bundle, encoder)
        await grpc_server.set_serving(True)
        self.health.ready = True
        log.info("ready: space %s, port %d, health %d", bundle.space, self.port, health_port)

    async def stop(self) -> None:
        """Finish what is under way, within bounds, and end everything."""
        self.health.ready = False
        await self.background.stop()
        await super().stop()

    async def leave(self) -> None:
        """See Service.leave."""
        if self._group is not None:
            await self._group.stop(0)

    def status(self) -> dict[str, Any]:
        """Return what `GET /status` shows."""
        shown: dict[str, Any] = {"space": self._space, "port": self.port}
        if self._handler is not None:
            shown |= dataclasses.asdict(self._handler.counts)
        if self._readback is not None:
            shown["mended"] = self._readback.mended
        if self._retries is not None:
            shown["pictures"] = self._retries.status()
        if self._indexer is not None:
            shown["snapshot"] = self._indexer.status()
        assignment = self._group.assignment if self._group is not None else None
        if assignment is not None:
            lags = assignment.lags.items()
            shown["in_flight"] = assignment.in_flight
            shown["lag"] = {f"{tp.topic}:{tp.partition}": lag for tp, lag in sorted(lags)}
        return shown

    async def _start_encoder(self, bundle: Bundle) -> ItemEncoder:
        """Start what encodes. Raises BadBundle."""
        settings, ends = self._settings, self.ends
        encoders = await asyncio.to_thread(Encoders, bundle, settings.encoder_threads or None)
        try:
            fusion = Fusion.load(bundle.files["fusion.npz"])
        except ValueError as error:
            raise BadBundle(str(error)) from None
        await asyncio.to_thread(check_golden, bundle, encoders, fusion)
        tower = ItemTower(bundle) if bundle.tower else None
        if tower is not None:
            check_item_tower(bundle, tower)
        at_most_bytes = settings.decoder_mib * MIB
        limits = PictureLimits(settings.image_mib * MIB, settings.image_megapixels * 1_000_000)
        decoders = Decoders(settings.decoders, limits, at_most_bytes=at_most_bytes)
        search_decoders = Decoders(
            1, limits, at_most_s=SEARCH_DECODE_S, at_most_bytes=at_most_bytes
        )
        for pool in (decoders, search_decoders):
            ends.callback(pool.stop)
            await pool.start()
        batcher = await ends.enter_async_context(Batcher(encoders))
        fetcher = await ends.enter_async_context(
            Fetcher(
                settings.image_hosts,
                settings.image_roots,
                max_bytes=settings.image_mib * MIB,
                permitted_networks=tuple(map(private_network, settings.image_networks)),
            )
        )
        return ItemEncoder(fetcher, decoders, search_decoders, batcher, fusion, tower)

    async def _start_items(self, bundle: Bundle, encoder: ItemEncoder) -> None:
        settings, ends = self._settings, self.ends
        redis = redis_client.connect(settings.redis, socket_timeout_s=REDIS_S)
        ends.push_async_callback(redis_client.disconnect, redis)
        await retry_until_available("Redis", partial(redis_client.refuse_cluster, redis))
        topic = topics.item_vectors(bundle.space).name
        # Before others hear of the space: they would make its topic, as large as they know.
        counts = await retry_until_available("Kafka", lambda: self._make_topics(bundle.space))
        promotion = Promotion(redis, bundle.space, bundle.dim)
        await retry_until_available("Redis", promotion.claim)

        partitions, latest = ItemPartitions(*counts), LatestVersions()
        producer = RenewedProducer(lambda: kafka_clients.producer(settings.kafka))
        await retry_until_available("Kafka", producer.start)
        ends.push_async_callback(producer.stop)
        publisher = VectorPublisher(producer, bundle.space)
        records = RecordReader(self._record_reader, topic)
        ends.push_async_callback(records.close)

        async def record_at(partition: int, offset: int) -> ConsumerRecord | None:
            return await retry_until_available("Kafka", lambda: records.read(partition, offset))

        missing = MissingPictures()
        tower_dim = bundle.tower.dim if bundle.tower else 0
        cache = ItemCache(redis, bundle.space, bundle.dim, tower_dim)
        self._readback = readback = Readback(
            self._reader, topic, partitions, latest, publisher, missing, record_at
        )
        self.background.start(readback.run(), "readback")
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
        self.background.start(retries.run(), "pictures")

        self._handler = handler = RecordHandler(
            bundle.space,
            partitions,
            latest,
            encoder,
            cache,
            publisher,
            DeadLetterWriter(producer, NAME),
            Arrivals(await self._inherited(redis, bundle.space)),
            record_at,
        )
        reconciler = Reconciler(self._reader, topic, partitions, latest, handler.publish)

        async def caught_up(item_partitions: set[int]) -> None:
            partitions.own(item_partitions)
            await readback.caught_up()

        self._group = group = ItemConsumerGroup(
            settings.kafka,
            topics.embedding_group(bundle.space),
            caught_up,
            reconciler.run,
            handler.handle,
            lambda error: self.background.fail("items", error),
            in_flight_bytes=settings.in_flight_mib * MIB,
        )
        await retry_until_available("Kafka", group.start)
        ends.push_async_callback(group.stop, STOP_AT_MOST_S)

        def is_keeper() -> bool:
            return group.has(topics.ITEMS.name, 0)

        self._indexer = Indexer(settings.snapshots, bundle.space, readback.positions, is_keeper)
        self.background.start(self._indexer.run(), "indexer")
        self.background.start(promotion.run(is_keeper, group.is_done), "promotion")
        self.health.actions["snapshot"] = self._snapshot

    async def _inherited(self, redis: Redis, space: str) -> dict[int, int]:
        """Read since when items are there, where another space is served so far."""
        active = await retry_until_available("Redis", lambda: active_bundle.read(redis))
        if active is None or active.space == space:
            return {}
        topic = topics.item_vectors(active.space)
        await kafka_clients.ensure_topics(self._settings.kafka, [topic])
        return await inherited(self._reader, topic.name)

    async def _snapshot(self) -> dict[str, Any]:
        assert self._indexer is not None
        try:
            return await self._indexer.build()
        except SnapshotUnderWay as error:
            raise web.HTTPConflict(text=f"{error}\n") from None
        except SnapshotFailed as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from None

    def _reader(self, *names: str) -> AIOKafkaConsumer:
        return kafka_clients.consumer(self._settings.kafka, *names, fetch_max_bytes=READ_BYTES)

    def _record_reader(self) -> AIOKafkaConsumer:
        return kafka_clients.consumer(self._settings.kafka, max_partition_fetch_bytes=1)

    async def _make_topics(self, space: str) -> tuple[int, int]:
        """Create what is missing. Returns the partitions of `item-vectors` and of `items`."""
        inputs = (topics.ITEMS, topics.ITEMS_BACKFILL, topics.OFFERS, topics.DEAD_LETTERS)
        await kafka_clients.ensure_topics(self._settings.kafka, inputs)
        items = await self._count_partitions(topics.ITEMS.name)
        vectors = dataclasses.replace(topics.item_vectors(space), partitions=items)
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
