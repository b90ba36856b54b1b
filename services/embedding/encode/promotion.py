"""Promote this service's bundle to the active one, `cfg:active`; sessions and ranking follow it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from redis.asyncio import Redis

from shared.catalogue import active_bundle
from shared.catalogue.active_bundle import ActiveBundle, Claim
from shared.runtime.retry import TRANSIENT_ERRORS

log = logging.getLogger(__name__)

CHECK_S: Final = 5.0


class Promotion:
    """Makes this service's bundle the active one, when it is its turn."""

    def __init__(self, redis: Redis, space: str, dim: int) -> None:
        self._redis = redis
        self._own = ActiveBundle(space, dim)

    async def run(
        self, is_keeper: Callable[[], bool], is_done: Callable[[], Awaitable[bool]]
    ) -> None:
        """Look after the active bundle until cancelled, while this instance is the keeper.

        is_done: says whether all items are encoded.
        """
        while True:
            try:
                if is_keeper() and not await self.claim() and await is_done():
                    await self.claim(encoded=True)
            except TRANSIENT_ERRORS as error:
                log.warning("tried again in %.0f s: %r", CHECK_S, error)
            await asyncio.sleep(CHECK_S)

    async def claim(self, *, encoded: bool = False) -> bool:
        """Become the active bundle if there is none, or if all is encoded and no later one is.

        Returns whether it is active.
        """
        claimed = await active_bundle.claim(self._redis, self._own, encoded=encoded)
        if claimed == Claim.CARRIED_OUT:
            log.info("space %s is active now", self._own.space)
        return claimed != Claim.WAITS
