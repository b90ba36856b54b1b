"""Follow which bundle is served: `cfg:active` in Redis, which embedding writes."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from redis.asyncio import Redis
from redis.exceptions import RedisError

from freshet.settings import BadSetting, setting
from shared.runtime.retry import retry_until_available
from shared.users import keys

log = logging.getLogger(__name__)

LOOK_S: Final = 2.0  # between looks at what is active
POLL_S: Final = 0.2  # until something is active
SAY_EVERY_S: Final = 30.0


class ActiveBundle(msgspec.Struct, frozen=True):
    """The vector space that is served, and its dimensions."""

    space: Annotated[str, Meta(min_length=1, max_length=128)]
    dim: Annotated[int, Meta(ge=1, le=4096)]


@dataclass(frozen=True, slots=True)
class SpaceSettings:
    """Which space a service works in, where it is not the active one."""

    space: str = setting(
        "FRESHET_SPACE", "", help="work in this space; empty: the active one, by Redis"
    )
    dim: int = setting(
        "FRESHET_DIM", 0, at_least=0, at_most=4_096, help="dimensions of FRESHET_SPACE"
    )

    def __post_init__(self) -> None:
        """Refuse, with BadSetting, a space without its dimensions."""
        if self.space and not self.dim:
            raise BadSetting(f"FRESHET_DIM must be set with FRESHET_SPACE={self.space!r}, was 0")


_decode = msgspec.json.Decoder(ActiveBundle).decode


async def read(redis: Redis) -> ActiveBundle | None:
    """Return the active bundle, None where none was ever set.

    Raises RedisError, and ValueError for a value that is none.
    """
    value = await redis.get(keys.ACTIVE_BUNDLE)
    return None if value is None else _decode(value)


class BundleFollower:
    """Tells which bundle to work with: the one that settings name, else the active one."""

    def __init__(self, redis: Redis, settings: SpaceSettings) -> None:
        self._redis = redis
        self._fixed = ActiveBundle(settings.space, settings.dim) if settings.space else None

    async def first(self) -> ActiveBundle:
        """Wait until Redis is there and a bundle is active, saying it in the log.

        Raises ValueError for a value that is none.
        """
        waited_s = 0.0
        while self._fixed is None:
            bundle = await retry_until_available("Redis", lambda: read(self._redis))
            if bundle is not None:
                return bundle
            if waited_s % SAY_EVERY_S < POLL_S:
                log.info("waiting for an active bundle: embedding sets it when it starts")
            await asyncio.sleep(POLL_S)
            waited_s += POLL_S
        return self._fixed

    async def other_than(self, present: ActiveBundle) -> ActiveBundle | None:
        """Look once; return the bundle to go over to, None while `present` is the one."""
        if self._fixed is not None:
            return None
        try:
            bundle = await read(self._redis)
        except (RedisError, OSError, ValueError) as error:
            log.warning("the active bundle cannot be read: %s", error)
            return None
        if bundle is None or bundle == present:
            return None
        log.info("space %s is active now: reading it", bundle.space)
        return bundle
