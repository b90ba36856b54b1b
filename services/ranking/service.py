"""Run the whole service: start in order, say when it is ready, end in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from aiokafka.errors import KafkaError

from freshet import kafka_clients
from freshet.contract import topics
from freshet.errors import Unavailable
from freshet.producer import RenewedProducer
from freshet.v1 import recommender_pb2_grpc
from services.ranking import server
from services.ranking.live.embedding_client import EmbeddingClient
from services.ranking.live.impressions import Impressions
from services.ranking.live.space_feed import SpaceFeed
from services.ranking.live.state_reader import StateReader
from services.ranking.live.trending import LocalTrending
from services.ranking.models import onnx_ranker
from services.ranking.models.serving_models import ServingModels
from services.ranking.server import Recommender
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import NAME, RankingSettings
from services.ranking.stages.blend import Ranker
from shared.bundles.bundle import BadBundle
from shared.bundles.ranker import BadRanker
from shared.bundles.store import BundleStore
from shared.catalogue.active_bundle import ActiveBundle, BundleFollower
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.snapshots import Snapshot
from shared.clock import now_ms
from shared.runtime import metrics
from shared.runtime.call_guard import Admission, CallGuard
from shared.runtime.grpc_server import Server
from shared.runtime.redis_client import connect, disconnect, refuse_cluster
from shared.runtime.retry import retry_until_available
from shared.runtime.service import Fatal, Refused, Service, tune_collector

log = logging.getLogger(__name__)

RECEIVE_MAX_BYTES: Final = 5 * 1024 * 1024  # a picture of 4 MiB and its request
READ_S: Final = 1.0  # of a connection; each request has a tighter deadline
LOOK_S: Final = 2.0  # between looks at what is active, and at figures for metrics
RETIRE_S: Final = 5.0  # that an old space is kept for the calls that still read it
STOP_GRACE_S: Final = 5.0


class RankingService(Service):
    """Wires all parts; `start` returns when the service is ready."""

    def __init__(self, settings: RankingSettings, *, now_ms: Callable[[], int] = now_ms) -> None:
        """Raises Refused for models that cannot be used."""
        super().__init__(NAME, settings.door, ends_with_background=False)
        self.settings = settings
        self._now_ms = now_ms
        self.grpc_port = 0
        self.health_port = 0
        self._models = _models(settings)
        self._ranker = _named_ranker(settings)
        self._redis = connect(settings.redis, socket_timeout_s=READ_S)
        self._follower = BundleFollower(self._redis, settings.space)
        self._reader = StateReader(self._redis)
        self._trending = LocalTrending(self._reader)
        self._producer = RenewedProducer(partial(kafka_clients.producer, settings.kafka))
        self._impressions = Impressions(self._producer, settings.impressions_mib * 1024 * 1024)
        self._embedding = EmbeddingClient(settings.embedding_address, settings.access)
        self._feed: SpaceFeed | None = None
        self._guard = CallGuard(
            Admission(settings.in_flight_at_most, outside_at_most=settings.after_at_most),
            settings.deadline_at_most_ms / 1000,
        )
        self._server = Server(
            server.SERVICE,
            server.NEEDS,
            self.door,
            receive_max_bytes=RECEIVE_MAX_BYTES,
            messages_max_bytes=settings.messages_mib * 1024 * 1024,
            # Admission refuses first, with reasons.
            max_concurrent=4 * settings.in_flight_at_most + settings.after_at_most,
        )
        self._recommender = Recommender(
            self._guard,
            self._impressions,
            self._embedding,
            self._producer,
            list_s=settings.deadline_ms / 1000,
            slow_s=settings.slow_deadline_ms / 1000,
        )
        recommender_pb2_grpc.add_RecommenderServicer_to_server(self._recommender, self._server.grpc)
        # Ended backwards: calls in flight end first, then what waits is written.
        for end in (
            self.health.stop,
            partial(disconnect, self._redis),
            self._reader.close,
            self._embedding.close,
            self._producer.stop,
            self._stop_feed,
            self._impressions.close,
            self.background.stop,
            partial(self._server.stop, STOP_GRACE_S),
        ):
            self.ends.push_async_callback(end)

    async def start(self) -> None:
        """Listen, read everything, then be ready. Waits for Kafka and Redis as long as it takes.

        Raises Fatal where what the active bundle brings cannot be used.
        """
        settings = self.settings
        self.health_port = await self.health.start(settings.health_port)
        self.grpc_port = await self._server.start(settings.port)
        own = (topics.CLICKS, topics.IMPRESSIONS, topics.DEAD_LETTERS)
        ensure = partial(kafka_clients.ensure_topics, settings.kafka, own)
        await retry_until_available("Kafka", ensure)
        await retry_until_available("Kafka", self._producer.start)
        if not settings.space.space:  # where the space is told, lists are served without Redis, too
            await retry_until_available("Redis", partial(refuse_cluster, self._redis))
        bundle = await self._follower.first()
        try:
            await self._trending.renew()
        except Unavailable as error:
            log.warning("beginning without trending: %s", error)
        try:
            await self._serve(bundle)
        except BadBundle as error:
            raise Fatal(f"space {bundle.space} cannot be served: {error}") from None
        self.background.start(self._trending.run(), "trending")
        self.background.start(self._impressions.run(), "impressions")
        self.background.start(self._look_after(), "look-after")
        await self._server.set_serving(True)
        self.health.ready = True

    def fault(self) -> str | None:
        """Return why the service should be started anew, None while all is well."""
        return super().fault() or (self._feed.fault if self._feed else None)

    def status(self) -> dict[str, Any]:
        """Return what /status shows."""
        shown: dict[str, Any] = {
            "grpc_port": self.grpc_port,
            "redis": "gone" if self._reader.broken else "there",
            "states_damaged": self._reader.damaged,
            "impressions_waiting": len(self._impressions),
        }
        if self._feed is None:
            return shown
        tower = self._feed.space.tower
        models = {
            "ranker": self._feed.space.ranker.name,
            "tower": tower.name if tower else "",
        }
        return shown | models | self._feed.status()

    async def _serve(self, bundle: ActiveBundle) -> None:
        """Bring a space up beside the one that is served, if any, and serve it instead."""
        models = await asyncio.to_thread(self._models_of, bundle.space)
        feed = SpaceFeed(self.settings, bundle, self._producer, partial(self._build, models))
        try:
            space = await feed.start()
        except BaseException:
            await feed.stop()
            raise
        before, self._feed = self._feed, feed
        self._recommender.space = space
        tune_collector()
        log.info("serving %d items of %s", space.catalogue.living, bundle.space)
        if before is not None:
            await asyncio.sleep(RETIRE_S)
            await before.stop()

    def _models_of(self, space: str) -> ServingModels:
        """Return what a space's bundle brings, a published one or FRESHET_BUNDLE's.

        Raises OSError where the bundles cannot be reached, BadBundle.
        """
        if self._models is not None and self._models.space == space:
            return self._models
        store = BundleStore(self.settings.bundles.url)
        publication = store.find(space)
        if publication is None:
            log.info("no bundle of space %s is here: no models", space)
            return ServingModels(space)
        with store.lent(publication) as folder:
            return ServingModels.load(folder)

    def _build(
        self, models: ServingModels, catalogue: Catalogue, snapshot: Snapshot | None
    ) -> ServingSpace:
        return ServingSpace.build(
            catalogue,
            self._reader,
            self.settings,
            snapshot=snapshot,
            trending=self._trending,
            ranker=self._ranker or models.ranker,
            tower=models.tower,
            now_ms=self._now_ms,
        )

    async def _stop_feed(self) -> None:
        if self._feed is not None:
            await self._feed.stop()

    async def _look_after(self) -> None:
        """Follow the active bundle, and keep the gauges true."""
        while True:
            await asyncio.sleep(LOOK_S)
            feed = self._feed
            assert feed is not None  # started before this task
            metrics.CATALOGUE_ITEMS.set(feed.space.catalogue.living)
            metrics.CATALOGUE_LAG.set(feed.lag() or 0)
            metrics.FRESH_ITEMS.set(feed.space.index.sizes()["fresh"])
            bundle = await self._follower.other_than(feed.bundle)
            if bundle is not None:
                await self._go_over_to(bundle)

    async def _go_over_to(self, bundle: ActiveBundle) -> None:
        """Serve another space; where that fails, the present one is served on."""
        try:
            await self._serve(bundle)
        except (KafkaError, OSError, ValueError) as error:
            log.error("space %s cannot be served: %s", bundle.space, str(error) or repr(error))


def _models(settings: RankingSettings) -> ServingModels | None:
    """Return what the bundle brings, None where there is no bundle. Raises Refused."""
    bundle = Path(settings.bundle)
    try:
        return ServingModels.load(bundle) if bundle.is_dir() else None
    except BadBundle as error:
        raise Refused(f"FRESHET_BUNDLE: {error}") from None


def _named_ranker(settings: RankingSettings) -> Ranker | None:
    """Return the ranker that the settings name, None where they name none. Raises Refused."""
    try:
        return onnx_ranker.load(Path(settings.ranker)) if settings.ranker else None
    except BadRanker as error:
        raise Refused(f"FRESHET_RANKER: {error}") from None
