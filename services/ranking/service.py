"""The whole service: starts in order, says when it is ready, ends in order."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError
from redis.exceptions import RedisError

from freshet import kafka_clients
from freshet.contract import topics
from freshet.v1 import recommender_pb2_grpc
from services.ranking import onnx_ranker, server
from services.ranking.admission import Admission
from services.ranking.background import Background
from services.ranking.calls import Calls
from services.ranking.engine import Engine
from services.ranking.live.embedding_client import EmbeddingClient
from services.ranking.live.impressions import Impressions
from services.ranking.live.local_trending import LocalTrending
from services.ranking.live.state_reader import StateReader, Unavailable
from services.ranking.log_writer import LogWriter
from services.ranking.pipeline import Pipeline
from services.ranking.server import Recommender
from services.ranking.serving_space import Space
from services.ranking.settings import Settings
from services.ranking.stages import blend
from services.ranking.stages.ranker import BlendRanker, Ranker
from shared.catalogue import active_bundle
from shared.catalogue.active_bundle import ActiveBundle
from shared.runtime import garbage, metrics
from shared.runtime.dead_letters import DeadLetters
from shared.runtime.grpc_server import Server
from shared.runtime.health import Health
from shared.runtime.redis_client import connect, disconnect
from shared.runtime.retry import retry_until_available

log = logging.getLogger(__name__)

NAME: Final = "ranking"
RECEIVE_MAX_BYTES: Final = 5 * 1024 * 1024  # a picture of 4 MiB and its request
READ_S: Final = 1.0  # of a connection; each request has a tighter budget
LOOK_S: Final = 2.0  # between looks at what is active, and at figures for metrics
RETIRE_S: Final = 5.0  # that an old space is kept for the calls that still read it
STOP_GRACE_S: Final = 5.0


class Service:
    """Wires all parts; `start` returns when the service is ready."""

    def __init__(
        self,
        settings: Settings,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Raises BadRanker for a ranker that cannot be used."""
        self.settings = settings
        self._now_ms = now_ms
        self.grpc_port = 0
        self.health_port = 0
        self._health = Health(NAME)
        self._health.status = self.status
        self._health.live = self.fault
        self._fallback = BlendRanker(settings.blend)
        self._ranker = _ranker(settings) or self._fallback
        self._redis = connect(settings.redis, socket_timeout_s=READ_S)
        self._reader = StateReader(self._redis)
        self._trending = LocalTrending(self._reader)
        self._writer = LogWriter(partial(kafka_clients.producer, settings.kafka))
        self._impressions = Impressions(self._writer)
        self._embedding = EmbeddingClient(settings.embedding_address)
        self._space: Space | None = None
        self._background = Background()
        self._calls = Calls(Admission(settings.in_flight_at_most, time.monotonic))
        self._server = Server(
            [server.SERVICE],
            receive_max_bytes=RECEIVE_MAX_BYTES,
            max_concurrent=4 * settings.in_flight_at_most,  # admission refuses first, with reasons
        )
        door = Recommender(
            self._calls, settings.deadline_ms / 1000, settings.slow_deadline_ms / 1000
        )
        recommender_pb2_grpc.add_RecommenderServicer_to_server(door, self._server.grpc)

    async def start(self) -> None:
        """Listen, read everything, then be ready. Waits for Kafka and Redis as long as it takes."""
        settings = self.settings
        self.health_port = await self._health.start(settings.bind, settings.health_port)
        self.grpc_port = await self._server.start(settings.bind, settings.port)
        own = (topics.CLICKS, topics.IMPRESSIONS, topics.DEAD_LETTERS)
        await retry_until_available("Kafka", partial(kafka_clients.ensure_topics, settings.kafka, own))
        await retry_until_available("Kafka", self._writer.start)
        if settings.space:
            bundle = ActiveBundle(settings.space, settings.dim)
        else:
            bundle = await active_bundle.wait_for(self._redis)
        try:
            await self._trending.renew()
        except Unavailable as error:
            log.warning("beginning without trending: %s", error)
        await self._serve(bundle)
        self._background.start(self._trending.run(), "trending")
        self._background.start(self._impressions.run(), "impressions")
        self._background.start(self._look_after(), "look-after")
        await self._server.set_serving(True)
        self._health.ready = True

    async def stop(self) -> None:
        """Refuse new calls, let those in flight end, write what waits, close everything."""
        self._health.ready = False
        await self._server.stop(STOP_GRACE_S)
        await self._background.stop()
        await self._impressions.close()
        if self._space is not None:
            await self._space.stop()
        await self._writer.stop()
        await self._embedding.close()
        await self._reader.close()
        await disconnect(self._redis)
        await self._health.stop()

    def fault(self) -> str | None:
        """Return why the service should be started anew, None while all is well."""
        return self._background.fault or (self._space.fault if self._space else None)

    def status(self) -> dict[str, Any]:
        """Return what /status shows."""
        shown: dict[str, Any] = {
            "grpc_port": self.grpc_port,
            "ranker": self._ranker.name,
            "redis": "gone" if self._reader.broken else "there",
            "states_damaged": self._reader.damaged,
            "impressions_waiting": len(self._impressions),
        }
        return shown if self._space is None else shown | self._space.status()

    async def _serve(self, bundle: ActiveBundle) -> None:
        """Bring a space up beside the one that is served, if any, and serve it instead."""
        space = Space(self.settings, bundle, DeadLetters(self._writer, NAME))
        try:
            await space.start()
        except BaseException:
            await space.stop()
            raise
        before, self._space = self._space, space
        vectors = self.settings.vectors
        self._calls.engine = Engine(
            serving=space.serving,
            pipeline=Pipeline(
                self._reader,
                self._trending,
                self._ranker,
                self._fallback,
                vectors,
                now_ms=self._now_ms,
            ),
            impressions=self._impressions,
            embedding=self._embedding,
            producer=self._writer,
            titles=space.titles,
            blend_weights=blend.weights(self.settings.blend),
            vectors=vectors,
            snapshot=lambda: space.index.name,
        )
        garbage.settle()
        log.info("serving %d items of %s", space.serving.catalogue.living, bundle.space)
        if before is not None:
            await asyncio.sleep(RETIRE_S)
            await before.stop()

    async def _look_after(self) -> None:
        """Follow the active bundle, and keep the gauges true."""
        while True:
            await asyncio.sleep(LOOK_S)
            space = self._space
            assert space is not None  # started before this task
            metrics.CATALOGUE_ITEMS.set(space.serving.catalogue.living)
            metrics.CATALOGUE_LAG.set(space.lag() or 0)
            metrics.FRESH_ITEMS.set(space.index.sizes()["fresh"])
            if self.settings.space:
                continue
            try:
                bundle = await active_bundle.read(self._redis)
            except (RedisError, OSError, ValueError) as error:
                log.warning("the active bundle cannot be read: %s", error)
                continue
            if bundle is not None and bundle != space.bundle:
                await self._follow(bundle)

    async def _follow(self, bundle: ActiveBundle) -> None:
        """Serve another space; where that cannot be, the present one is served on."""
        log.info("space %s is active now: reading it", bundle.space)
        try:
            await self._serve(bundle)
        except (KafkaError, OSError, ValueError) as error:
            log.error("space %s cannot be served: %r", bundle.space, error)


def _ranker(settings: Settings) -> Ranker | None:
    """Return the ranker that the settings or the bundle name, None for the blend."""
    if settings.ranker:
        return onnx_ranker.load(Path(settings.ranker))
    bundle = Path(settings.bundle)
    return onnx_ranker.load_from_bundle(bundle) if bundle.is_dir() else None
