"""Follow the catalogue of the active space: what the fold looks items up in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import Any, Final

from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract import topics
from services.sessions.settings import SessionsSettings
from shared.catalogue.active_bundle import LOOK_S, ActiveBundle, BundleFollower
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.feed import CatalogueFeed
from shared.runtime.retry import retry_until_available

CATCH_UP_AT_MOST_S: Final = 10.0
CATCH_UP_AGAIN_S: Final = 60.0  # after a wait in vain: events get on, their items come late anyway

log = logging.getLogger(__name__)


class ActiveItems:
    """Reads the active space's items and keeps reading; goes over to another when that is active.

    A space is read to its end before the fold sees it, so that a state's vectors do not shrink to
    the few items that happened to be there.
    """

    def __init__(self, settings: SessionsSettings, redis: Redis) -> None:
        self._settings = settings
        self._follower = BundleFollower(redis, settings.space)
        self._bundle: ActiveBundle
        self._feed: CatalogueFeed | None = None
        self._reading: asyncio.Task[None] | None = None
        self._in_vain_until_s = 0.0

    @property
    def catalogue(self) -> Catalogue:
        """Return the items to fold with; only after `start`."""
        assert self._feed is not None
        return self._feed.catalogue

    async def start(self) -> None:
        """Wait for the active bundle and for its items."""
        await self._read(await self._follower.first())

    async def run(self) -> None:
        """Follow the active bundle; ends with an error if reading does."""
        while True:
            assert self._reading is not None
            await asyncio.wait({self._reading}, timeout=LOOK_S)
            if self._reading.done():
                self._reading.result()
            if bundle := await self._follower.other_than(self._bundle):
                await self._read(bundle)

    async def caught_up(self) -> None:
        """Wait until all items are there that were encoded when this was called, if that is soon.

        Without it the first events of new items could come before them, and count for nobody.
        """
        clock = asyncio.get_running_loop().time
        if self._feed is None or clock() < self._in_vain_until_s:
            return
        try:
            async with asyncio.timeout(min(CATCH_UP_AT_MOST_S, self._settings.stall_s / 2)):
                await self._feed.caught_up()
        except BaseException as error:
            self._in_vain_until_s = clock() + CATCH_UP_AGAIN_S
            if not isinstance(error, TimeoutError):
                raise
            log.warning("items are not read to the end of their topic; events get on without")

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
        kafka = self._settings.kafka
        topic = topics.item_vectors(bundle.space)
        await retry_until_available("Kafka", partial(kafka_clients.ensure_topics, kafka, [topic]))
        feed = CatalogueFeed(kafka, bundle.space, bundle.dim)
        await retry_until_available("Kafka", partial(feed.load, self._settings.snapshots))
        reading = asyncio.create_task(feed.run(), name=f"items of {bundle.space}")
        await feed.caught_up()
        await self.stop()
        self._bundle, self._feed, self._reading = bundle, feed, reading
        log.info("folding with %d items of %s", feed.catalogue.living, bundle.space)
