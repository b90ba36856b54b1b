"""One space as it is served: catalogue, offers and index in memory, kept in step with Kafka."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from freshet import kafka_clients
from freshet.contract import topics
from services.ranking.background import Background
from services.ranking.index import watch
from services.ranking.index.index_searcher import Searcher
from services.ranking.index.served import ServedIndex
from services.ranking.index.watch import SnapshotWatch
from services.ranking.listing import Serving
from services.ranking.live.availability import Availability
from services.ranking.live.filters import ItemFilter
from services.ranking.live.newest import Newest
from services.ranking.live.offers import Offers
from services.ranking.live.offers_feed import OffersFeed
from services.ranking.live.title_words import TitleWords
from services.ranking.live.trend_rows import TrendRows
from services.ranking.settings import Settings
from services.ranking.stages.features import FeatureSettings
from shared.catalogue.active_bundle import ActiveBundle
from shared.catalogue.feed import CatalogueFeed
from shared.runtime.dead_letters import DeadLetters
from shared.runtime.retry import retry_until_available


class Space:
    """Everything of one space; `start` returns when it holds what the topics held by then."""

    def __init__(self, settings: Settings, bundle: ActiveBundle, letters: DeadLetters) -> None:
        self.bundle = bundle
        self.serving: Serving
        self.titles: TitleWords
        self.index: ServedIndex
        self._settings = settings
        self._letters = letters
        self._feed = CatalogueFeed(settings.kafka, bundle.space, bundle.dim)
        self._offers: OffersFeed | None = None
        self._background = Background()

    async def start(self) -> None:
        """Load the snapshot, read the topics, keep reading. Waits for Kafka as long as it takes."""
        settings, catalogue = self._settings, self._feed.catalogue
        wanted = (topics.item_vectors(self.bundle.space), topics.OFFERS)
        await retry_until_available("Kafka", partial(kafka_clients.ensure_topics, settings.kafka, wanted))
        snapshot = await retry_until_available("Kafka", partial(self._feed.load, settings.snapshots))
        # Nothing changes the catalogue before the feed runs, so threads may read it.
        self.index = await asyncio.to_thread(watch.begin, catalogue, snapshot)
        self.titles = await asyncio.to_thread(TitleWords, catalogue)
        offers = Offers(catalogue)
        availability = Availability(catalogue, offers)
        self._offers = OffersFeed(settings.kafka, offers, self._letters)
        self._background.start(self._feed.run(), "catalogue")
        self._background.start(self._offers.run(), "offers")
        await self._feed.caught_up()
        await self._offers.caught_up()
        self._background.start(
            SnapshotWatch(self.index, catalogue, settings.snapshots).run(), "snapshots"
        )
        self.serving = Serving(
            catalogue,
            Searcher(self.index),
            Newest(catalogue),
            ItemFilter(catalogue, offers, availability),
            offers.terms,
            TrendRows(catalogue),
            FeatureSettings(settings.covisit_half_life_s, settings.freshness_half_life_s),
        )

    async def stop(self) -> None:
        """Read no more; what is in memory can still be read."""
        await self._background.stop()

    @property
    def fault(self) -> str | None:
        """Why the space is no longer kept in step; None while it is."""
        return self._background.fault

    def status(self) -> dict[str, Any]:
        """Return what /status shows of it."""
        shown: dict[str, Any] = {"catalogue": self._feed.status()}
        if self._offers is not None:
            shown["offers"] = self._offers.status()
            shown["index"] = {"snapshot": self.index.name, **self.index.sizes()}
        return shown

    def lag(self) -> int | None:
        """Return how many records of `item-vectors` are not applied; None: not known yet."""
        lag: int | None = self._feed.status()["lag"]
        return lag
