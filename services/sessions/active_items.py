"""The catalogue of the active space: what the fold looks items up in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from freshet import kafka_clients
from freshet.contract import topics
from services.sessions.settings import Settings
from shared.catalogue import active_bundle
from shared.catalogue.active_bundle import ActiveBundle
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.feed import CatalogueFeed
from shared.runtime.retry import retry_until_available

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0  # between looks at what is active


class ActiveItems:
    """Reads the active space's items and keeps reading; goes over to another when that is active.

    A space is read to its end before the fold sees it, so that a state's vectors do not shrink to
    the few items that happened to be there.
    """

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._redis = redis
        self._bundle: ActiveBundle | None = None
        self._feed: CatalogueFeed | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def catalogue(self) -> Catalogue:
        """Return the items to fold with; only after `start`."""
        assert self._feed is not None
        return self._feed.catalogue

    async def start(self) -> None:
        """Wait for the active bundle and for its items."""
        if self._settings.space:
            bundle = ActiveBundle(self._settings.space, self._settings.dim)
        else:
            bundle = await active_bundle.wait_for(self._redis)
        await self._read(bundle)

    async def run(self) -> None:
        """Follow the active bundle; ends with an error if reading does."""
        while True:
            assert self._reading is not None
            await asyncio.wait({self._reading}, timeout=LOOK_S)
            if self._reading.done():
                self._reading.result()
            if self._settings.space:
                continue
            try:
                bundle = await active_bundle.read(self._redis)
            except (RedisError, OSError, ValueError) as error:
                log.info("the active bundle cannot be read: %s", error)
                continue
            if bundle is not None and bundle != self._bundle:
                log.info("space %s is active now: reading it", bundle.space)
                await self._read(bundle)

    async def stop(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._reading

    def status(self) -> dict[str, Any]:
        """Describe the items for /status."""
        return {} if self._feed is None else self._feed.status()

    async def _read(self, bundle: ActiveBundle) -> None:
        settings = self._settings
        topic = topics.item_vectors(bundle.space)
        await retry_until_available("Kafka", partial(kafka_clients.ensure_topics, settings.kafka, [topic]))
        feed = CatalogueFeed(settings.kafka, bundle.space, bundle.dim)
        await retry_until_available("Kafka", partial(feed.load, settings.snapshots))
        reading = asyncio.create_task(feed.run(), name=f"items of {bundle.space}")
        await feed.caught_up()
        await self.stop()
        self._bundle, self._feed, self._reading = bundle, feed, reading
        log.info("folding with %d items of %s", feed.catalogue.living, bundle.space)
