"""Keep which bundle is served, `cfg:active` in Redis: embedding writes it, who serves follows.

Which one is active goes by orders with rising numbers, so that the bundles that are alive settle,
however many they are and however often they look. A bundle is ordered when it is first there, and
takes the next number. The order is carried out once all items are encoded, unless one with a higher
number was until then; it is never carried out twice. Rolling back is a new order for a bundle of
before.

What stands in `cfg:active` without a number was put there by an earlier release, or by hand. That
is an order, too: it takes the next number when it is met.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Final, cast

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

_KEYS: Final = (keys.ACTIVE_BUNDLE, keys.PREVIOUS_BUNDLE, keys.BUNDLE_ORDERS)

_BEGIN: Final = """
local active, previous, orders = unpack(KEYS)

local function bundle_at(key)
  local value = redis.call('GET', key)
  return value and cjson.decode(value)
end

local now = bundle_at(active)

local function order(space)
  local highest = now and now.order or 0
  for _, number in ipairs(redis.call('HVALS', orders)) do
    highest = math.max(highest, tonumber(number))
  end
  redis.call('HSET', orders, space, highest + 1)
  return highest + 1
end

local function put(space, dim, number)
  local value = '{"space":%s,"dim":%d,"order":%d}'
  redis.call('SET', active, value:format(cjson.encode(space), dim, number))
end

if now and not now.order then
  local before = bundle_at(previous)
  if before then order(before.space) end
  now.order = order(now.space)
  put(now.space, now.dim, now.order)
end
"""

_CLAIM: Final = f"""{_BEGIN}
local space, dim, encoded = ARGV[1], ARGV[2], ARGV[3] == '1'
local own = tonumber(redis.call('HGET', orders, space)) or order(space)
if now and now.space == space then
  if own > now.order then put(space, dim, own) end
  return 1
end
if now and not (encoded and own > now.order) then return 0 end
if now then redis.call('SET', previous, redis.call('GET', active)) end
put(space, dim, own)
return 2
"""

_ORDER: Final = f"""{_BEGIN}
if ARGV[2] == '0' and redis.call('HEXISTS', orders, ARGV[1]) == 0 then return 0 end
return order(ARGV[1])
"""


class ActiveBundle(msgspec.Struct, frozen=True):
    """The vector space that is served, and its dimensions."""

    space: Annotated[str, Meta(min_length=1, max_length=128)]
    dim: Annotated[int, Meta(ge=1, le=4096)]


@dataclass(frozen=True, slots=True)
class Standing:
    """What Redis says of all bundles at one moment."""

    active: ActiveBundle | None
    previous: ActiveBundle | None  # that was active before it
    orders: Mapping[str, int]  # by each space that was ever ordered

    @property
    def ordered(self) -> str | None:
        """The space that was ordered last, whether it is active yet or not."""
        return max(self.orders, key=self.orders.__getitem__, default=None)

    def spaces(self) -> list[str]:
        """Return the active space, the one that was ordered last, and the one before."""
        active, previous = (b.space if b else None for b in (self.active, self.previous))
        return [space for space in dict.fromkeys((active, self.ordered, previous)) if space]


class Claim(IntEnum):
    """What became of a bundle's order."""

    WAITS = 0  # for its items; or for ever, behind a higher number
    HOLDS = 1  # it is the active one
    CARRIED_OUT = 2  # it is since now


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


async def claim(redis: Redis, bundle: ActiveBundle, *, encoded: bool) -> Claim:
    """Order a bundle if it never was; carry its order out if it is encoded, or none is active.

    Raises RedisError.
    """
    return Claim(await _run(redis, _CLAIM, bundle.space, bundle.dim, int(encoded)))


async def order(redis: Redis, space: str, *, new: bool = False) -> int:
    """Order a bundle that was there before; return the number, 0 if it never was.

    new: it may be one that was not. Embedding carries the order out. Raises RedisError.
    """
    return await _run(redis, _ORDER, space, int(new))


async def standing(redis: Redis) -> Standing:
    """Return which bundles were and are to be served. Raises RedisError, and ValueError."""
    async with redis.pipeline() as pipe:
        pipe.mget(_KEYS[:2])
        pipe.hgetall(cast("str", _KEYS[2]))
        (active, previous), found = await pipe.execute()
    return Standing(
        None if active is None else _decode(active),
        None if previous is None else _decode(previous),
        {space.decode(): int(number) for space, number in found.items()},
    )


async def _run(redis: Redis, script: str, *arguments: Any) -> int:
    return int(await cast("Awaitable[int]", redis.eval(script, len(_KEYS), *_KEYS, *arguments)))


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
