"""The embedding service, wired: everything it is made of, its start and its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Coroutine
from typing import Any, Final

from aiohttp import web
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import UnknownTopicOrPartitionError

from freshet import kafka_clients
from freshet.contract import topics
from freshet.v1 import embedding_pb2_grpc
from services.embedding.admission import Admission
from services.embedding.encode.batcher import Batcher
from services.embedding.encode.bundle import BadBundle, Bundle
from services.embedding.encode.encoders import Encoders
from services.embedding.encode.fusion import Fusion
from services.embedding.encode.golden import check_golden
from services.embedding.encode.item_encoder import ItemEncoder
from services.embedding.encode.measured import MeasuredEncoders
from services.embedding.items.consumer_group import Intake
from services.embedding.items.item_cache import RedisItemCache
from services.embedding.items.item_partitions import Homes
from services.embedding.items.latest_versions import Standings
from services.embedding.items.pipeline import Pipeline
from services.embedding.items.readback import Readback
from services.embedding.items.reconcile import Reconciler
from services.embedding.items.vector_publisher import Publisher
from services.embedding.pictures.decoding import Decoders
from services.embedding.pictures.fetch import Fetcher
from services.embedding.pictures.picture import Caps
from services.embedding.producer import SturdyProducer
from services.embedding.promotion import Promotion
from services.embedding.server import CALLS_AT_MOST, REQUEST_BYTES, SERVICE, Embedding
from services.embedding.settings import Settings
from services.embedding.snapshots.indexer import Indexer, SnapshotFailed
from shared.runtime import redis_client
from shared.runtime.dead_letters import DeadLetters
from shared.runtime.grpc_server import Server
from shared.runtime.health import Health
from shared.runtime.retry import retry_until_available

log = logging.getLogger(__name__)

STOP_AT_MOST_S: Final = 6.0  # for what is under way; the whole end takes under 15 s
CALLS_AT_END_S: Final = 2.0
REDIS_S: Final = 1.0
READ_BYTES: Final = 4 * 1024 * 1024
ITEMS_IN_CALLS: Final = 256  # of all Embed calls together


class Service:
    """Runs until `stop`. Build it inside a running event loop."""

    def __init__(self, settings: Settings) -> None:
        self.failed = asyncio.Event()  # a defect: nothing goes on, a new start may help
        self.health = Health("embedding")
        self.health.status = self.status
        self.health.live = lambda: "a task failed; see the log" if self.failed.is_set() else None
        self.health_port = self.port = 0
        self._settings = settings
        self._ends = contextlib.AsyncExitStack()  # what was started, to be ended backwards
        self._space = ""
        self._pipeline: Pipeline | None = None
        self._intake: Intake | None = None
        self._readback: Readback | None = None
        self._indexer: Indexer | None = None

    async def start(self) -> None:
        """Start everything and become ready; waits for Kafka and Redis as long as it takes.

        Raises BadBundle, or OSError and RuntimeError where a port is taken.
        """
        settings, ends = self._settings, self._ends
        self.health_port = await self.health.start(settings.bind, settings.health_port)
        ends.push_async_callback(self.health.stop)
        bundle = await asyncio.to_thread(Bundle.load, settings.bundle)
        self._space = bundle.space
        encoder = await self._start_encoder(bundle)
        server = Server([SERVICE], receive_max_bytes=REQUEST_BYTES, max_concurrent=CALLS_AT_MOST)
        door = Embedding(bundle.space, encoder, Admission(ITEMS_IN_CALLS))
        embedding_pb2_grpc.add_EmbeddingServicer_to_server(door, server.grpc)
        self.port = await server.start(settings.bind, settings.port)
        ends.push_async_callback(server.stop, CALLS_AT_END_S)
        await self._start_intake(bundle, encoder)
        await server.set_serving(True)
        self.health.ready = True
        log.info("ready: space %s, port %d, health %d", bundle.space, self.port, self.health_port)

    async def stop(self) -> None:
        """Finish what is under way, within bounds, and end everything."""
        self.health.ready = False
        await self._ends.aclose()

    def status(self) -> dict[str, Any]:
        """Return what `GET /status` shows."""
        shown: dict[str, Any] = {"space": self._space, "port": self.port}
        if self._pipeline is not None:
            shown |= dataclasses.asdict(self._pipeline.counts)
        if self._readback is not None:
            shown["mended"] = self._readback.mended
        if self._indexer is not None:
            shown["snapshot"] = self._indexer.status()
        tenure = self._intake.tenure if self._intake is not None else None
        if tenure is not None:
            lags = tenure.lags.items()
            shown["in_flight"] = tenure.in_flight
            shown["lag"] = {f"{tp.topic}:{tp.partition}": lag for tp, lag in sorted(lags)}
        return shown

    async def _start_encoder(self, bundle: Bundle) -> ItemEncoder:
        settings, ends = self._settings, self._ends
        encoders = await asyncio.to_thread(Encoders, bundle, settings.encoder_threads or None)
        try:
            fusion = Fusion.load(bundle.files["fusion.npz"])
        except ValueError as error:
            raise BadBundle(str(error)) from None
        await asyncio.to_thread(check_golden, bundle, encoders, fusion)
        decoders = Decoders(settings.decoders, Caps())
        ends.callback(decoders.stop)
        await decoders.start()
        batcher = await ends.enter_async_context(Batcher(MeasuredEncoders(encoders)))
        fetcher = await ends.enter_async_context(
            Fetcher(settings.image_hosts, settings.image_roots)
        )
        return ItemEncoder(fetcher, decoders, batcher, fusion)

    async def _start_intake(self, bundle: Bundle, encoder: ItemEncoder) -> None:
        settings, ends = self._settings, self._ends
        client = redis_client.connect(settings.redis, socket_timeout_s=REDIS_S)
        ends.push_async_callback(redis_client.disconnect, client)
        promotion = Promotion(client, bundle.space, bundle.dim)
        await retry_until_available("Redis", promotion.claim)

        topic = topics.item_vectors(bundle.space).name
        homes = Homes(*await retry_until_available("Kafka", lambda: self._topics(bundle.space)))
        producer = SturdyProducer(lambda: kafka_clients.producer(settings.kafka))
        await retry_until_available("Kafka", producer.start)
        ends.push_async_callback(producer.stop)
        standings = Standings()
        publisher = Publisher(producer, bundle.space)
        self._readback = readback = Readback(self._reader, topic, homes, standings, publisher)
        self._begin("readback", readback.run())

        self._pipeline = pipeline = Pipeline(
            bundle.space,
            homes,
            standings,
            encoder,
            RedisItemCache(client, bundle.space, bundle.dim),
            publisher,
            DeadLetters(producer, "embedding"),
        )
        reconciler = Reconciler(self._reader, topic, homes, standings, pipeline.publish)

        async def caught_up(item_partitions: set[int]) -> None:
            homes.own(item_partitions)
            await readback.caught_up()

        self._intake = intake = Intake(
            settings.kafka,
            f"freshet-embedding.{bundle.space}",
            caught_up,
            reconciler.run,
            pipeline.handle,
            self._fail,
            in_flight_bytes=settings.in_flight_mib * 1024 * 1024,
        )
        await retry_until_available("Kafka", intake.start)
        ends.push_async_callback(intake.stop, STOP_AT_MOST_S)

        async def promote() -> None:
            if not await promotion.claim() and await intake.group_is_done():
                await promotion.promote()

        self._indexer = Indexer(
            settings.snapshots,
            bundle.space,
            readback.positions,
            lambda: intake.has(topics.ITEMS.name, 0),
            promote,
        )
        self._begin("indexer", self._indexer.run())
        self.health.actions["snapshot"] = self._snapshot

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Let something run until the end; should it fail, nothing goes on."""

        def note(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._fail(error)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task = asyncio.create_task(work, name=name)
        task.add_done_callback(note)
        self._ends.push_async_callback(end)

    def _fail(self, error: BaseException) -> None:
        log.critical("cannot go on", exc_info=error)
        self.failed.set()

    async def _snapshot(self) -> dict[str, Any]:
        assert self._indexer is not None
        try:
            return await self._indexer.build()
        except SnapshotFailed as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from None

    def _reader(self, *names: str) -> AIOKafkaConsumer:
        return kafka_clients.consumer(self._settings.kafka, *names, fetch_max_bytes=READ_BYTES)

    async def _topics(self, space: str) -> tuple[int, int]:
        """Create what is missing. Returns the partitions of `item-vectors` and of `items`."""
        inputs = (topics.ITEMS, topics.ITEMS_BACKFILL, topics.OFFERS, topics.DEAD_LETTERS)
        await kafka_clients.ensure_topics(self._settings.kafka, inputs)
        items = await self._partitions(topics.ITEMS.name)
        vectors = dataclasses.replace(topics.item_vectors(space), partitions=items)
        await kafka_clients.ensure_topics(self._settings.kafka, [vectors])
        return await self._partitions(vectors.name), items

    async def _partitions(self, topic: str) -> int:
        admin = await kafka_clients.admin(self._settings.kafka)
        try:
            found = (await admin.describe_topics([topic]))[0]["partitions"]
        finally:
            await admin.close()
        if not found:  # just created: the broker that was asked does not know it yet
            raise UnknownTopicOrPartitionError(topic)
        return len(found)
