"""Reach Redis: binary clients that fail fast, many commands in one exchange.

Reads have a share of the deadline as time-out, and the library retries nothing: a command whose
reply is lost may have had its effect, so whoever writes decides what to repeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import hiredis
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from freshet.settings import Form, setting


def check_url(url: str) -> None:
    """Raise ValueError unless a URL says how to connect."""
    try:
        pool = ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, RedisError) as error:  # an option that is none
        raise ValueError(str(error)) from None
    path = urlsplit(url).path
    if not (path if url.startswith("unix:") else re.fullmatch("(/[0-9]*)?", path)):
        raise ValueError(f"no database: {path}")


REDIS_URL: Final = Form(
    "redis://host:port/db, such as redis://127.0.0.1:6379/0 (rediss:// with TLS, unix:///path)",
    check_url,
)


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis is."""

    url: str = setting(
        "REDIS_URL",
        "redis://127.0.0.1:6379/0",
        form=REDIS_URL,
        secret=True,
        help="redis://, rediss:// or unix://",
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
    pool.connection_class = _cancellable(pool.connection_class)
    return Redis.from_pool(pool)


def _cancellable(kind: Any) -> Any:
    """Return a kind of connection whose sending does not lose a cancellation.

    redis-py sends within asyncio.wait_for, which before Python 3.12 returns as if nothing were when
    the task is cancelled just as it is done: whoever asks Redis in a loop would never end.
    """

    class CancellableConnection(kind):  # type: ignore[misc]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            task = asyncio.current_task()
            assert task is not None
            before = task.cancelling()
            await super().send_packed_command(command, check_health)
            if task.cancelling() > before:
                await self.disconnect(nowait=True)  # a reply is on its way
                raise asyncio.CancelledError

    return CancellableConnection


async def disconnect(client: Redis) -> None:
    """Close a client; a server that hangs behind TLS is given up after a second, not an error."""
    with contextlib.suppress(RedisError):
        await client.aclose()


def is_wrong_type(error: object) -> bool:
    """Say whether a reply is the error of one key, which holds another type, not of the server."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


async def _replies(connection: Any, count: int) -> list[Any]:
    replies: list[Any] = []
    while len(replies) < count:
        try:
            replies.append(await connection.read_response(timeout=math.inf))
        except ResponseError as error:
            if not is_wrong_type(error):
                raise
            replies.append(error)
    return replies


IDLE_AT_MOST: Final = 64

Command = tuple[str | bytes | int, ...]

_pack: Callable[[Any], bytes] = hiredis.pack_command  # its stub knows tuples of one only


class RedisExchange:
    """Sends commands and reads their replies: one write and as few reads as there are packets.

    redis-py's pipelines cost more than Redis itself here (0.8 ms for ten sorted sets where this
    takes 0.2): each command goes through callbacks, each read and write through a time-out of its
    own. This uses redis-py's connections (addresses, passwords, TLS) and hiredis directly, each by
    one exchange at a time; the caller bounds the time of the whole.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        """pool: tells how to connect; its own connections are not used."""
        self._make = pool.connection_class
        self._options = {**pool.connection_kwargs, "socket_timeout": None}
        self._idle: list[Any] = []

    async def __call__(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order, a `ResponseError` for a command on a key of another type.

        Raises RedisError or OSError. A cancelled or failed exchange closes its connection, so that
        no reply is ever taken for another's.
        """
        packed = b"".join([_pack(command) for command in commands])
        while True:
            fresh = not self._idle
            connection = self._make(**self._options) if fresh else self._idle.pop()
            try:
                if fresh:
                    await connection.connect()
                await connection.send_packed_command(packed, check_health=False)
                replies = await _replies(connection, len(commands))
            except (RedisConnectionError, OSError):
                await connection.disconnect(nowait=True)
                if fresh:
                    raise
                # What was idle belonged to a server that is gone; there may be one again.
                await self.close()
                continue
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            if len(self._idle) < IDLE_AT_MOST:
                self._idle.append(connection)
            else:
                await connection.disconnect(nowait=True)
            return replies

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)
