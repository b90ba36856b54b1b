"""Which bundle is served: `cfg:active` in Redis, written by embedding, followed by the others."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from redis.asyncio import Redis

from shared.runtime.retry import until_there
from shared.users import keys

log = logging.getLogger(__name__)

POLL_S: Final = 0.2
SAY_EVERY_S: Final = 30.0


class ActiveBundle(msgspec.Struct, frozen=True):
    """The vector space that is served, and its dimensions."""

    space: Annotated[str, Meta(min_length=1, max_length=128)]
    dim: Annotated[int, Meta(ge=1, le=4096)]


_decode = msgspec.json.Decoder(ActiveBundle).decode


async def read(redis: Redis) -> ActiveBundle | None:
    """Return the active bundle, None where none was ever set.

    Raises RedisError, and ValueError for a value that is none.
    """
    value = await redis.get(keys.ACTIVE_BUNDLE)
    return None if value is None else _decode(value)


async def wait_for(redis: Redis) -> ActiveBundle:
    """Wait until Redis is there and a bundle is active, and say so in the log.

    Raises ValueError for a value that is none.
    """
    waited_s = 0.0
    while True:
        bundle = await until_there("Redis", lambda: read(redis))
        if bundle is not None:
            return bundle
        if waited_s % SAY_EVERY_S < POLL_S:
            log.info("waiting for an active bundle: embedding sets it when it starts")
        await asyncio.sleep(POLL_S)
        waited_s += POLL_S


def encode(bundle: ActiveBundle) -> bytes:
    """Return the value of `cfg:active`, the same bytes for equal bundles."""
    return msgspec.json.encode(bundle)
