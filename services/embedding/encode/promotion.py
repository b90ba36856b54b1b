"""Promote this service's bundle to the active one, `cfg:active`; sessions and ranking follow it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from redis.asyncio import Redis

from shared.catalogue import active_bundle
from shared.catalogue.active_bundle import ActiveBundle
from shared.runtime.retry import TRANSIENT_ERRORS
from shared.users import keys

log = logging.getLogger(__name__)

CHECK_S: Final = 5.0

# Both keys change together or not at all, and only from what was read.
_PROMOTE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class Promotion:
    """Makes this service's bundle the active one, when it may be."""

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
                    await self.promote()
            except TRANSIENT_ERRORS as error:
                log.warning("tried again in %.0f s: %r", CHECK_S, error)
            await asyncio.sleep(CHECK_S)

    async def claim(self) -> bool:
        """Become the active bundle if there is none. Returns whether this one is active."""
        await self._redis.set(keys.ACTIVE_BUNDLE, active_bundle.encode(self._own), nx=True)
        return await active_bundle.read(self._redis) == self._own

    async def promote(self) -> bool:
        """Replace the active bundle, once all items are encoded. Returns whether it did.

        A bundle that was replaced before (it stands in `cfg:previous`: somebody rolled back, or
        went on) stays replaced until somebody points back to it.
        """
        active = await self._redis.get(keys.ACTIVE_BUNDLE)
        previous = await self._redis.get(keys.PREVIOUS_BUNDLE)
        own = active_bundle.encode(self._own)
        if active is None or own in (active, previous):
            return False
        arguments = (keys.ACTIVE_BUNDLE, keys.PREVIOUS_BUNDLE, active, own)
        return bool(await self._redis.eval(_PROMOTE, 2, *arguments))
