"""Redis' edge: binary clients that fail fast.

Reads have their stage's budget as time-out and nothing is retried by the library: a command whose
reply is lost may have had its effect, so whoever writes decides what to repeat.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from shared.settings import setting


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis is."""

    url: str = setting(
        "REDIS_URL", "redis://127.0.0.1:6379/0", help="redis://, rediss:// or unix://"
    )


def connect(
    settings: RedisSettings, *, socket_timeout_s: float = 5.0, max_connections: int = 16
) -> Redis:
    """Return a client that connects on first use: bytes in, bytes out, no retries, bounded."""
    pool = BlockingConnectionPool.from_url(
        settings.url,
        max_connections=max_connections,
        timeout=socket_timeout_s,
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=socket_timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


async def disconnect(client: Redis) -> None:
    """Close a client; a server that hangs behind TLS is given up after a second, not an error."""
    with contextlib.suppress(RedisError):
        await client.aclose()
