"""`i:SPACE:ITEM` in Redis: what was encoded of an item, so that equal content is not encoded again.

Only a cache: without Redis, or with an entry lost, items are encoded again. Beside the vectors it
notes rank and arrival, as a hint for instances that do not own the item's partition.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.embedding.versions import Rank
from shared import keys
from shared.items import Vector

log = logging.getLogger(__name__)

_PAUSE_S = 1.0  # after a failure Redis is left alone so long, lest each item wait for it


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """What encoding gives: three float16 vectors, the modalities' empty where there is none."""

    vector: Vector  # (d,), unit length
    image_vector: Vector  # (d,) or (0,)
    text_vector: Vector  # (d,) or (0,)


@dataclass(frozen=True, slots=True, eq=False)
class Cached:
    """An entry of the cache; a deleted item has no vectors."""

    rank: Rank
    arrived_ms: int
    content_hash: bytes
    vectors: Vectors | None


class ItemCache(Protocol):
    """Entries by item; neither method raises when the store is gone."""

    async def get(self, item_id: str) -> Cached | None: ...

    async def put(self, item_id: str, entry: Cached) -> None: ...


class MemoryItemCache:
    """The same in memory, for tests."""

    def __init__(self) -> None:
        self.entries: dict[str, Cached] = {}

    async def get(self, item_id: str) -> Cached | None:
        return self.entries.get(item_id)

    async def put(self, item_id: str, entry: Cached) -> None:
        self.entries[item_id] = entry


class RedisItemCache:
    """Entries as Redis hashes that end after 30 days without a new one."""

    def __init__(self, redis: Redis, space: str, dim: int) -> None:
        self._redis = redis
        self._space = space
        self._dim = dim
        self._not_before = 0.0

    async def get(self, item_id: str) -> Cached | None:
        """Return the entry; None where there is none, or one that does not fit the space."""
        if time.monotonic() < self._not_before:
            return None
        try:
            fields = await self._redis.hgetall(keys.item_cache(self._space, item_id))
        except (RedisError, OSError) as error:
            self._pause(error)
            return None
        return self._entry(fields) if fields else None

    async def put(self, item_id: str, entry: Cached) -> None:
        """Replace the entry."""
        if time.monotonic() < self._not_before:
            return
        key = keys.item_cache(self._space, item_id)
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(key)
                pipe.hset(key, mapping=_fields(entry))
                pipe.expire(key, keys.ITEM_CACHE_TTL_S)
                await pipe.execute()
        except (RedisError, OSError) as error:
            self._pause(error)

    def _entry(self, fields: Mapping[Any, Any]) -> Cached | None:
        try:
            parts = [np.frombuffer(fields.get(name, b""), "<f2") for name in _VECTORS]
            rank = Rank(int(fields[b"version"]), fields[b"live"] == b"1", int(fields[b"offset"]))
            arrived_ms = int(fields[b"arrived_ms"])
        except (KeyError, ValueError):
            return None
        if not parts[0].size:
            return Cached(rank, arrived_ms, b"", None)
        good = len(parts[0]) == self._dim and all(len(part) in (0, self._dim) for part in parts)
        good = good and all(np.isfinite(part).all() for part in parts)
        return (
            Cached(rank, arrived_ms, fields.get(b"content_hash", b""), Vectors(*parts))
            if good
            else None
        )

    def _pause(self, error: BaseException) -> None:
        self._not_before = time.monotonic() + _PAUSE_S
        log.warning("the item cache is left out for %.0f s: %r", _PAUSE_S, error)


_VECTORS = (b"vector", b"image_vector", b"text_vector")


def _fields(entry: Cached) -> dict[Any, Any]:
    version, live, offset = entry.rank
    fields: dict[Any, Any] = {
        b"version": b"%d" % version,
        b"live": b"%d" % live,
        b"offset": b"%d" % offset,
        b"arrived_ms": b"%d" % entry.arrived_ms,
    }
    if entry.vectors is not None:
        found = (entry.vectors.vector, entry.vectors.image_vector, entry.vectors.text_vector)
        fields[b"content_hash"] = entry.content_hash
        fields |= {name: part.tobytes() for name, part in zip(_VECTORS, found, strict=True)}
    return fields
