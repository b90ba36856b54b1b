"""Order which bundle is active, by numbers: however many are alive and look, they settle.

A bundle is ordered when it is first there, and takes the next number. The order is carried out once
all items are encoded, unless one with a higher number was until then; it is never carried out
twice. Rolling back is a new order for a bundle of before.

What stands in `cfg:active` without a number was put there by an earlier release, or by hand. That
is an order, too: it takes the next number when it is met.
"""

from __future__ import annotations

from collections.abc import Awaitable
from enum import IntEnum
from typing import Any, Final, cast

from redis.asyncio import Redis

from shared.catalogue.active_bundle import ActiveBundle
from shared.users import keys

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
if redis.call('HEXISTS', orders, ARGV[1]) == 0 then return 0 end
return order(ARGV[1])
"""


class Claim(IntEnum):
    """What became of a bundle's order."""

    WAITS = 0  # for its items; or for ever, behind a higher number
    HOLDS = 1  # it is the active one
    CARRIED_OUT = 2  # it is since now


async def claim(redis: Redis, bundle: ActiveBundle, *, encoded: bool) -> Claim:
    """Order a bundle if it never was; carry its order out if it is encoded, or none is active.

    Raises RedisError.
    """
    return Claim(await _run(redis, _CLAIM, bundle.space, bundle.dim, int(encoded)))


async def order(redis: Redis, space: str) -> int:
    """Order a bundle that was there before; return the number, 0 if it never was.

    Its embedding carries the order out. Raises RedisError.
    """
    return await _run(redis, _ORDER, space)


async def orders(redis: Redis) -> dict[str, int]:
    """Return the number of each space that was ever ordered. Raises RedisError."""
    found = await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(cast("str", _KEYS[2])))
    return {space.decode(): int(number) for space, number in found.items()}


async def _run(redis: Redis, script: str, *arguments: Any) -> int:
    return int(await cast("Awaitable[int]", redis.eval(script, len(_KEYS), *_KEYS, *arguments)))
