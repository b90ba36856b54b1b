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
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import hiredis
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    MasterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from freshet.settings import Form, setting
from shared.runtime.service import Refused

SENTINEL_PORT: Final = 26_379
_SENTINEL_S: Final = 0.2  # for one Sentinel to answer: behind one that is gone the next is asked


def check_url(url: str) -> None:
    """Raise ValueError unless a URL says how to connect."""
    where = _SentinelUrl.of(url)
    primary = where.primary if where else url
    try:
        pool = ConnectionPool.from_url(primary)
        pool.connection_class(**pool.connection_kwargs)
    except (TypeError, RedisError) as error:  # an option that is none
        raise ValueError(str(error)) from None
    path = urlsplit(primary).path
    if not (path if primary.startswith("unix:") else re.fullmatch("(/[0-9]*)?", path)):
        raise ValueError(f"no database: {path}")


REDIS_URL: Final = Form(
    "redis://host:port/db, such as redis://127.0.0.1:6379/0 (rediss:// with TLS, unix:///path,"
    " redis+sentinel://host:26379,host2:26379/service/db)",
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
        help="redis://, rediss:// or unix://; redis+sentinel://host,host2/service/db by Sentinel",
    )
    connections: int = setting(
        "FRESHET_REDIS_CONNECTIONS",
        64,
        at_least=1,
        at_most=10_000,
        help="connections to Redis at most, for lists or folds and for all else each; who finds"
        " none free waits in its time",
    )


def connect(settings: RedisSettings, *, socket_timeout_s: float = 5.0) -> Redis:
    """Return a client that connects on first use: bytes in, bytes out, no retries, bounded."""
    times = {
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": socket_timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    bounds = {"max_connections": settings.connections, "timeout": socket_timeout_s}
    pool: ConnectionPool
    if where := _SentinelUrl.of(settings.url):
        pool = where.pool(times, bounds)
    else:
        pool = BlockingConnectionPool.from_url(settings.url, **times, **bounds)
    pool.connection_class = _steadfast(pool.connection_class)
    return Redis.from_pool(pool)


class _SentinelUrl(NamedTuple):
    """`redis+sentinel://user:password@host:port,host:port/service/db?options`, taken apart.

    User, password and options are the primary's; `sentinel_username` and `sentinel_password` among
    the options are Sentinel's. `rediss+sentinel` means TLS to both.
    """

    sentinels: list[tuple[str, int]]
    service: str
    credentials: dict[str, str]  # of Sentinel itself
    primary: str  # URL of whatever server is the primary, its host to be put in

    @classmethod
    def of(cls, url: str) -> _SentinelUrl | None:
        """Return what a URL says, None where it names a server. Raises ValueError."""
        scheme, *_ = parts = urlsplit(url)
        if scheme not in ("redis+sentinel", "rediss+sentinel"):
            return None
        who, at, hosts = parts.netloc.rpartition("@")
        named = [urlsplit(f"//{host}") for host in hosts.split(",")]
        service, _, db = parts.path.removeprefix("/").partition("/")
        if not service or not all(host.hostname for host in named):
            raise ValueError("no host, or no service")
        options = dict(parse_qsl(parts.query))
        credentials = {
            name: options.pop(f"sentinel_{name}")
            for name in ("username", "password")
            if f"sentinel_{name}" in options
        }
        primary = f"{scheme.removesuffix('+sentinel')}://{who}{at}primary/{db}?{urlencode(options)}"
        sentinels = [(host.hostname or "", host.port or SENTINEL_PORT) for host in named]
        return cls(sentinels, unquote(service), credentials, primary)

    def pool(self, times: dict[str, Any], bounds: dict[str, Any]) -> ConnectionPool:
        """Return a pool of connections to the primary that Sentinel names when they are made."""
        options = parse_url(self.primary)
        del options["host"]
        tls = options.pop("connection_class", None) is SSLConnection
        shared = {name: value for name, value in options.items() if name.startswith("ssl_")}
        asking = {"socket_timeout": _SENTINEL_S, "socket_connect_timeout": _SENTINEL_S, "ssl": tls}
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            self.sentinels, sentinel_kwargs={**times, **asking, **shared, **self.credentials}
        )
        pool: ConnectionPool = _SentinelPool(  # type: ignore[no-untyped-call]
            self.service, sentinel, ssl=tls, **options, **times, **bounds
        )
        return pool


class _SentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """Waits for a free connection, and ends with its connections to Sentinel."""

    async def get_master_address(self) -> Any:
        try:
            return await super().get_master_address()  # type: ignore[no-untyped-call]
        except MasterNotFoundError:  # whose text is pages about clients
            asked = ", ".join(
                f"{where['host']}:{where['port']}"
                for client in self.sentinel_manager.sentinels
                for where in (client.connection_pool.connection_kwargs,)
            )
            raise RedisConnectionError(
                f"no Sentinel names a primary of {self.service_name!r}: asked {asked}"
            ) from None

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


async def refuse_cluster(client: Redis) -> None:
    """Raise Refused if this is a Redis Cluster. Raises RedisError or OSError where none answers."""
    try:
        cluster = await client.info("cluster")
    except NoPermissionError:
        return  # a user without INFO: then nobody can tell
    if cluster.get("cluster_enabled"):
        raise Refused(
            "REDIS_URL names a Redis Cluster, which cannot change a user, co-visits and trending"
            " together: use one primary, with replicas and Sentinel where it must not be away"
            " (redis+sentinel://host:26379,host2:26379/service/0)"
        )


def _steadfast(kind: Any) -> Any:
    """Return a kind of connection that loses no cancellation and stays with no replica.

    redis-py sends within asyncio.wait_for, which before Python 3.12 returns as if nothing were when
    the task is cancelled just as it is done: whoever asks Redis in a loop would never end.
    And a server that has become a replica refuses writes for as long as one stays with it, while
    the name or Sentinel that led to it may lead to the new primary.
    """

    class SteadfastConnection(kind):  # type: ignore[misc]
        async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            task = asyncio.current_task()
            assert task is not None
            before = task.cancelling()
            await super().send_packed_command(command, check_health)
            if task.cancelling() > before:
                await self.disconnect(nowait=True)  # a reply is on its way
                raise asyncio.CancelledError

        async def read_response(self, *args: Any, **options: Any) -> Any:
            try:
                return await super().read_response(*args, **options)
            except (ReadOnlyError, MasterDownError) as error:
                await self.disconnect(nowait=True)
                raise RedisConnectionError(f"the server is a replica: {error}") from None

    return SteadfastConnection


async def disconnect(client: Redis) -> None:
    """Close a client; a server that hangs behind TLS is given up after a second, not an error."""
    with contextlib.suppress(RedisError):
        await client.aclose()


def is_wrong_type(error: object) -> bool:
    """Say whether a reply is the error of one key, which holds another type, not of the server."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


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
        """pool: tells how to connect, and how often at most; its own connections are not used."""
        self._pool = pool
        self._options = {**pool.connection_kwargs, "socket_timeout": None}
        self._places = asyncio.Semaphore(pool.max_connections)
        self._idle: list[Any] = []

    async def __call__(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies in order, a `ResponseError` for a command on a key of another type.

        Waits for a free connection where all are in use.

        Raises RedisError or OSError. A cancelled or failed exchange closes its connection, so that
        no reply is ever taken for another's.
        """
        packed = b"".join([_pack(command) for command in commands])
        async with self._places:
            return await self._exchange(packed, len(commands))

    async def _exchange(self, packed: bytes, count: int) -> list[Any]:
        while True:
            fresh = not self._idle
            make = self._pool.connection_class
            connection = make(**self._options) if fresh else self._idle.pop()
            try:
                if fresh:
                    await connection.connect()
                await connection.send_packed_command(packed, check_health=False)
                replies = await _replies(connection, count)
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
            self._idle.append(connection)
            return replies

    async def close(self) -> None:
        """Close the connections that nobody uses."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)


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
