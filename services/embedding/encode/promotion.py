"""Promote this service's bundle to the active one, `cfg:active`; sessions and ranking follow it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from shared.catalogue import active_bundle
from shared.catalogue.active_bundle import ActiveBundle, Claim

log = logging.getLogger(__name__)


class Promotion:
    """Makes this service's bundle the active one, when it is its turn."""

    def __init__(self, redis: Redis, space: str, dim: int) -> None:
        self._redis = redis
        self._own = ActiveBundle(space, dim)

    async def look(
        self, is_keeper: Callable[[], bool], is_done: Callable[[], Awaitable[bool]]
    ) -> None:
        """Carry the order out if this instance is the keeper and it is time to.

        is_done: says whether all items are encoded. Raises RedisError and what it raises.
        """
        if is_keeper() and not await self.claim() and await is_done():
            await self.claim(encoded=True)

    async def claim(self, *, encoded: bool = False) -> bool:
        """Become the active bundle if there is none, or if all is encoded and no later one is.

        Returns whether it is active.
        """
        claimed = await active_bundle.claim(self._redis, self._own, encoded=encoded)
        if claimed == Claim.CARRIED_OUT:
            log.info("space %s is active now", self._own.space)
        return claimed != Claim.WAITS
