"""The whole service: starts in order, says when it is ready, ends in order."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from protos import recommender_pb2_grpc
from services.ranking import blend, server
from services.ranking.admission import Admission
from services.ranking.availability import Availability
from services.ranking.engine import Engine
from services.ranking.features import FeatureSettings
from services.ranking.filters import ItemFilter
from services.ranking.impressions import Impressions
from services.ranking.index.served import ServedIndex
from services.ranking.listing import Serving
from services.ranking.local_trending import LocalTrending
from services.ranking.newest import Newest
from services.ranking.offers import Offers
from services.ranking.offers_feed import OffersFeed
from services.ranking.pipeline import Pipeline
from services.ranking.ranker import BlendRanker
from services.ranking.server import Recommender
from services.ranking.settings import Settings
from services.ranking.state_reader import StateReader, Unavailable
from shared import active_bundle, kafka, topics
from shared.active_bundle import ActiveBundle
from shared.catalogue_feed import CatalogueFeed
from shared.grpc_server import Server
from shared.health import Health
from shared.kafka import DeadLetters
from shared.redis import connect
from shared.retry import until_there

log = logging.getLogger(__name__)

NAME: Final = "ranking"
RECEIVE_MAX_BYTES: Final = 5 * 1024 * 1024  # a picture of 4 MiB and its request
READ_S: Final = 1.0  # of a connection; each request has a tighter budget
STOP_GRACE_S: Final = 5.0


class Service:
    """Wires all parts; `start` returns when the service is ready."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.health = Health(NAME)
        self.health.status = self.status
        self.grpc_port = 0
        self._redis = connect(settings.redis, socket_timeout_s=READ_S)
        self._server = Server(
            [server.SERVICE],
            receive_max_bytes=RECEIVE_MAX_BYTES,
            max_concurrent=4 * settings.in_flight_at_most,  # admission refuses first, with reasons
        )
        self._door = Recommender(settings.deadline_ms / 1000, Admission(settings.in_flight_at_most))
        recommender_pb2_grpc.add_RecommenderServicer_to_server(self._door, self._server.grpc)
        self._producer = kafka.producer(settings.kafka)
        self._tasks: list[asyncio.Task[None]] = []
        self._feed: CatalogueFeed | None = None
        self._offers_feed: OffersFeed | None = None
        self._trending: LocalTrending | None = None
        self._impressions = Impressions(self._producer)

    async def start(self) -> None:
        """Listen, read everything, then be ready. Waits for Kafka and Redis as long as it takes."""
        settings = self.settings
        await self.health.start(settings.bind, settings.health_port)
        self.grpc_port = await self._server.start(settings.bind, settings.port)
        bundle = await self._bundle()
        wanted = (topics.item_vectors(bundle.space), topics.OFFERS, topics.IMPRESSIONS)
        own = (topics.CLICKS, topics.DEAD_LETTERS)
        await until_there("Kafka", partial(kafka.ensure_topics, settings.kafka, (*wanted, *own)))
        await until_there("Kafka", self._producer.start)
        engine = await self._engine(bundle)
        gc.collect()
        gc.freeze()  # what is there now stays: it need not be looked through again
        self._door.engine = engine
        self._impressions.start()
        await self._server.set_serving(True)
        self.health.ready = True
        log.info("ready: %d items of %s", engine.serving.catalogue.living, bundle.space)

    async def stop(self) -> None:
        """Refuse new calls, let those in flight end, write what waits, close everything."""
        self.health.ready = False
        await self._server.stop(STOP_GRACE_S)
        await self._impressions.stop()
        if self._trending is not None:
            await self._trending.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._producer.stop()
        await self._redis.aclose()
        await self.health.stop()

    def status(self) -> dict[str, Any]:
        """Return what /status shows."""
        shown: dict[str, Any] = {"grpc_port": self.grpc_port}
        if self._feed is not None:
            shown["catalogue"] = self._feed.status()
        if self._offers_feed is not None:
            shown["offers"] = self._offers_feed.status()
        return shown

    async def _bundle(self) -> ActiveBundle:
        settings = self.settings
        if settings.space:
            return ActiveBundle(settings.space, settings.dim)
        return await active_bundle.wait_for(self._redis)

    async def _engine(self, bundle: ActiveBundle) -> Engine:
        """Read the catalogue, offers and trending, and put all parts together."""
        settings = self.settings
        feed = self._feed = CatalogueFeed(settings.kafka, bundle.space, bundle.dim)
        offers = Offers(feed.catalogue)
        index = ServedIndex(feed.catalogue)
        availability = Availability(feed.catalogue, offers)
        letters = DeadLetters(self._producer, NAME)
        offers_feed = self._offers_feed = OffersFeed(settings.kafka, offers, letters)
        self._run(feed.run(), "catalogue")
        self._run(offers_feed.run(), "offers")
        await feed.caught_up()
        await offers_feed.caught_up()
        reader = StateReader(self._redis)
        trending = self._trending = LocalTrending(reader)
        try:
            await trending.renew()
        except Unavailable as error:
            log.warning("beginning without trending: %s", error)
        trending.start()
        serving = Serving(
            feed.catalogue,
            index,
            Newest(feed.catalogue),
            ItemFilter(feed.catalogue, offers, availability),
            offers.terms,
            FeatureSettings(settings.covisit_half_life_s, settings.freshness_half_life_s),
        )
        ranker = BlendRanker(settings.blend)
        return Engine(
            serving=serving,
            pipeline=Pipeline(reader, trending, ranker, ranker, settings.vectors),
            impressions=self._impressions,
            blend_weights=blend.weights(settings.blend),
            vectors=settings.vectors,
            snapshot=lambda: index.name,
        )

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))
