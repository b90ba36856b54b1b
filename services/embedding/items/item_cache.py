"""Keep in Redis what was encoded of an item, so that equal content is not encoded again.

Only a cache: without Redis, or with an entry lost, items are encoded again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.embedding.encode.item_encoder import EncodedVectors
from shared.catalogue.item_vectors import LENGTH_TOLERANCE, Vector
from shared.runtime.redis_client import is_wrong_type
from shared.users import keys

log = logging.getLogger(__name__)

PAUSE_S: Final = 1.0  # after a failure Redis is left alone that long, lest each item wait for it
_VECTORS: Final = (b"vector", b"image_vector", b"text_vector")
_TOWER: Final = b"tower_vector"


@dataclass(frozen=True, slots=True, eq=False)
class CachedItem:
    """An entry of the cache."""

    content_hash: bytes
    version: int  # ms since 1970
    vectors: EncodedVectors

    def is_of(self, content_hash: bytes) -> bool:
        """Say whether it is what this content gives; a picture that is missing may be there now."""
        return self.content_hash == content_hash and not self.vectors.picture_missing


class ItemCache:
    """Entries `i:SPACE:ITEM`, Redis hashes that end after 30 days without a new one.

    No method raises when Redis is gone.
    """

    def __init__(self, redis: Redis, space: str, dim: int, tower_dim: int = 0) -> None:
        """dim, tower_dim: numbers of vectors and of tower vectors; 0: the space has none."""
        self._redis = redis
        self._space = space
        self._dim = dim
        self._tower_dim = tower_dim
        self._not_before_s = 0.0

    async def get(self, item_id: str) -> CachedItem | None:
        """Return the entry; None where there is none, or one that does not fit the space."""
        if not self._is_available():
            return None
        try:
            fields = await self._redis.hgetall(self._key(item_id))
        except (RedisError, OSError) as error:
            if not is_wrong_type(error):  # which is that key's own, and `put` replaces it
                self._pause(error)
            return None
        return self._entry(fields) if fields else None

    async def put(self, item_id: str, entry: CachedItem) -> None:
        """Replace the entry."""
        if not self._is_available():
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
        if not self._is_available():
            return
        try:
            await self._redis.delete(self._key(item_id))
        except (RedisError, OSError) as error:
            self._pause(error)

    def _key(self, item_id: str) -> bytes:
        return keys.item_cache(self._space, item_id)

    def _is_available(self) -> bool:
        return time.monotonic() >= self._not_before_s

    def _pause(self, error: BaseException) -> None:
        self._not_before_s = time.monotonic() + PAUSE_S
        log.warning("the item cache is left out for %.0f s: %r", PAUSE_S, error)

    def _entry(self, fields: Mapping[Any, Any]) -> CachedItem | None:
        try:
            vector, image, text = parts = [np.frombuffer(fields[name], "<f2") for name in _VECTORS]
            tower = np.frombuffer(fields[_TOWER] if self._tower_dim else b"", "<f2")
            version = int(fields[b"version"])
            content_hash = bytes(fields[b"content_hash"])
            missing = bytes(fields.get(b"picture_missing", b"")).decode()
        except (KeyError, ValueError):
            return None
        fits = len(vector) == self._dim and all(len(part) in (0, self._dim) for part in parts)
        if not fits or len(tower) not in (0, self._tower_dim):
            return None
        if not all(np.isfinite(part).all() for part in parts):
            return None
        if not _is_unit(vector) or (tower.size and not _is_unit(tower)):
            return None
        vectors = EncodedVectors(vector, image, text, missing, tower)
        return CachedItem(content_hash, version, vectors)


def _is_unit(vector: Vector) -> bool:
    length = float(np.linalg.norm(vector.astype(np.float32)))
    return abs(length - 1) <= LENGTH_TOLERANCE  # NaN is not either


def _fields(entry: CachedItem) -> dict[Any, Any]:
    parts = (entry.vectors.vector, entry.vectors.image_vector, entry.vectors.text_vector)
    fields = {name: part.tobytes() for name, part in zip(_VECTORS, parts, strict=True)}
    missing = entry.vectors.picture_missing.encode()
    return fields | {
        b"content_hash": entry.content_hash,
        b"version": b"%d" % entry.version,
        b"picture_missing": missing,
        _TOWER: entry.vectors.tower_vector.tobytes(),
    }
