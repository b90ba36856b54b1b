"""Keep one space in step with Kafka and with the snapshots, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from freshet import kafka_clients
from freshet.contract import topics
from freshet.producer import RenewedProducer
from services.ranking.index.watch import SnapshotWatch
from services.ranking.live.offers_feed import OffersFeed
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import NAME, RankingSettings
from shared.catalogue.active_bundle import ActiveBundle
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.feed import CatalogueFeed
from shared.catalogue.snapshots import Snapshot
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.retry import retry_until_available
from shared.runtime.service import Background


class SpaceFeed:
    """Fills a space from its topics, and goes on; `start` returns the space to serve."""

    def __init__(
        self,
        settings: RankingSettings,
        bundle: ActiveBundle,
        producer: RenewedProducer,
        build: Callable[[Catalogue, Snapshot | None], ServingSpace],
    ) -> None:
        self.bundle = bundle
        self.space: ServingSpace
        self._settings = settings
        self._producer = producer
        self._build = build
        self._catalogue = CatalogueFeed(settings.kafka, bundle.space, bundle.dim)
        self._offers: OffersFeed
        self._background = Background()

    async def start(self) -> ServingSpace:
        """Load the snapshot, read what the topics hold by now, keep reading.

        Waits for Kafka as long as it takes.
        """
        kafka, url = self._settings.kafka, self._settings.snapshots
        own = (topics.item_vectors(self.bundle.space), topics.OFFERS)
        await retry_until_available("Kafka", partial(kafka_clients.ensure_topics, kafka, own))
        snapshot = await retry_until_available("Kafka", partial(self._catalogue.load, url))
        # Nothing changes the catalogue before the feed runs, so a thread may read it.
        space = await asyncio.to_thread(self._build, self._catalogue.catalogue, snapshot)
        letters = DeadLetterWriter(self._producer, NAME)
        self._offers = OffersFeed(kafka, space.offers, self._producer, letters)
        self._background.start(self._catalogue.run(), "catalogue")
        self._background.start(self._offers.run(), "offers")
        await self._catalogue.caught_up()
        await self._offers.caught_up()
        towers = space.tower.index if space.tower else None
        watch = SnapshotWatch(space.index, space.catalogue, url, towers=towers)
        self._background.start(watch.run(), "snapshots")
        space.newest.rows()  # chosen of all that came since it was made: not in the first call
        self.space = space
        return space

    async def stop(self) -> None:
        """Read no more; what is in memory can still be read, and goes with its last reader."""
        await self._background.stop()
        self._catalogue.catalogue.close()

    @property
    def fault(self) -> str | None:
        """Why the space is no longer kept in step; None while it is."""
        return self._background.fault

    def status(self) -> dict[str, Any]:
        """Return what /status shows of it, once it is started."""
        index = self.space.index
        return {
            "catalogue": self._catalogue.status(),
            "offers": self._offers.status(),
            "index": {"snapshot": index.name, **index.sizes()},
        }

    def lag(self) -> int | None:
        """Return how many records of `item-vectors` are not applied; None: not known yet."""
        lag: int | None = self._catalogue.status()["lag"]
        return lag
