"""`i:SPACE:ITEM` in Redis: what was encoded of an item, so that equal content is not encoded again.

Only a cache: without Redis, or with an entry lost, items are encoded again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.catalogue.item_vectors import LENGTH_TOLERANCE, Vector
from shared.users import keys

log = logging.getLogger(__name__)

PAUSE_S: Final = 1.0  # after a failure Redis is left alone so long, lest each item wait for it
_VECTORS: Final = (b"vector", b"image_vector", b"text_vector")


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """What encoding gives: three float16 vectors, the modalities' empty where there is none."""

    vector: Vector  # (d,), unit length
    image_vector: Vector  # (d,) or (0,)
    text_vector: Vector  # (d,) or (0,)


@dataclass(frozen=True, slots=True, eq=False)
class Cached:
    """An entry of the cache."""

    content_hash: bytes
    version: int
    vectors: Vectors


class ItemCache(Protocol):
    """Entries by item; no method raises when the store is gone."""

    async def get(self, item_id: str) -> Cached | None: ...

    async def put(self, item_id: str, entry: Cached) -> None: ...

    async def drop(self, item_id: str) -> None: ...


class MemoryItemCache:
    """The same in memory, for tests."""

    def __init__(self) -> None:
        self.entries: dict[str, Cached] = {}

    async def get(self, item_id: str) -> Cached | None:
        return self.entries.get(item_id)

    async def put(self, item_id: str, entry: Cached) -> None:
        self.entries[item_id] = entry

    async def drop(self, item_id: str) -> None:
        self.entries.pop(item_id, None)


class RedisItemCache:
    """Entries as Redis hashes that end after 30 days without a new one."""

    def __init__(self, redis: Redis, space: str, dim: int) -> None:
        self._redis = redis
        self._space = space
        self._dim = dim
        self._not_before = 0.0

    async def get(self, item_id: str) -> Cached | None:
        """Return the entry; None where there is none, or one that does not fit the space."""
        if not self._is_there():
            return None
        try:
            fields = await self._redis.hgetall(self._key(item_id))
        except (RedisError, OSError) as error:
            self._pause(error)
            return None
        return self._entry(fields) if fields else None

    async def put(self, item_id: str, entry: Cached) -> None:
        """Replace the entry."""
        if not self._is_there():
            return
        key = self._key(item_id)
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(key)
                pipe.hset(key, mapping=_fields(entry))
                pipe.expire(key, keys.ITEM_CACHE_TTL_S)
                await pipe.execute()
        except (RedisError, OSError) as error:
            self._pause(error)

    async def drop(self, item_id: str) -> None:
        """Remove the entry."""
        if not self._is_there():
            return
        try:
            await self._redis.delete(self._key(item_id))
        except (RedisError, OSError) as error:
            self._pause(error)

    def _key(self, item_id: str) -> bytes:
        return keys.item_cache(self._space, item_id)

    def _is_there(self) -> bool:
        return time.monotonic() >= self._not_before

    def _pause(self, error: BaseException) -> None:
        self._not_before = time.monotonic() + PAUSE_S
        log.warning("the item cache is left out for %.0f s: %r", PAUSE_S, error)

    def _entry(self, fields: Mapping[Any, Any]) -> Cached | None:
        try:
            parts = [np.frombuffer(fields[name], "<f2") for name in _VECTORS]
            version = int(fields[b"version"])
            content_hash = bytes(fields[b"content_hash"])
        except (KeyError, ValueError):
            return None
        fits = len(parts[0]) == self._dim and all(len(part) in (0, self._dim) for part in parts)
        if not fits or not all(np.isfinite(part).all() for part in parts):
            return None
        length = float(np.linalg.norm(parts[0].astype(np.float32)))
        if abs(length - 1) > LENGTH_TOLERANCE:
            return None
        return Cached(content_hash, version, Vectors(*parts))


def _fields(entry: Cached) -> dict[Any, Any]:
    found = (entry.vectors.vector, entry.vectors.image_vector, entry.vectors.text_vector)
    fields = {name: part.tobytes() for name, part in zip(_VECTORS, found, strict=True)}
    return fields | {b"content_hash": entry.content_hash, b"version": b"%d" % entry.version}
