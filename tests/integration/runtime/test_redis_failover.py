"""Redis is reached through Sentinel, left when it becomes a replica, and refused as a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from shared.runtime.redis_client import RedisExchange, RedisSettings, connect, refuse_cluster
from shared.runtime.service import Refused
from tests.servers import Service, eventually
from tests.watched_redis import WatchedRedis

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[WatchedRedis]:
    made = WatchedRedis(tmp_path)
    try:
        await made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    settings = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    server = EmbeddedValkey(tmp_path / "cluster", settings=settings)
    server.start()
    yield server
    server.kill()


async def test_what_was_written_goes_on_at_the_new_primary(watched: WatchedRedis) -> None:
    client = connect(RedisSettings(watched.url), socket_timeout_s=1.0)
    exchange = RedisExchange(client.connection_pool)
    async with client:
        await refuse_cluster(client)
        await client.set("a", 1)
        await exchange([("SET", "b", 2), ("WAIT", 1, 5_000)])
        watched.servers[0].kill()

        async def written() -> bool:
            try:
                await exchange([("SET", "c", 3)])
                await client.set("d", 4)
            except (RedisError, OSError):
                return False
            return True

        await eventually(written, within_s=30, what="writes at the new primary")
        assert await exchange([("MGET", "a", "b", "c", "d")]) == [[b"1", b"2", b"3", b"4"]]
        await exchange.close()


async def test_a_primary_that_becomes_a_replica_and_comes_back_is_connected_to_anew(
    fresh_valkey: EmbeddedValkey,
) -> None:
    client = connect(RedisSettings(fresh_valkey.url), socket_timeout_s=1.0)
    exchange = RedisExchange(client.connection_pool)
    other = connect(RedisSettings(fresh_valkey.url))
    async with client, other:
        before = await client.client_id(), (await exchange([("CLIENT", "ID")]))[0]
        await other.replicaof("127.0.0.1", "1")
        for write in (client.set("a", 1), exchange([("SET", "a", 1)])):
            with pytest.raises(RedisError, match="replica"):
                await write
        await other.replicaof("NO", "ONE")
        await client.set("a", 1)
        assert await exchange([("SET", "a", 2), ("GET", "a")]) == [b"OK", b"2"]
        after = await client.client_id(), (await exchange([("CLIENT", "ID")]))[0]
        assert not set(before) & set(after)
        await exchange.close()


async def test_a_cluster_is_refused_with_what_to_use_instead(
    cluster: EmbeddedValkey, kafka: str, start_service: Callable[..., Service]
) -> None:
    async with connect(RedisSettings(cluster.url)) as client:
        with pytest.raises(Refused, match=r"REDIS_URL names a Redis Cluster.*redis\+sentinel://"):
            await refuse_cluster(client)
    environ = {"REDIS_URL": cluster.url, "KAFKA_BOOTSTRAP_SERVERS": kafka}
    service = start_service("sessions", environ)
    await eventually(lambda: service.process.poll() is not None, within_s=60, what="its end")
    assert service.process.poll() == 2
    assert "redis+sentinel://host:26379" in service.process.log_tail(1)


async def test_connections_are_bounded_and_waited_for(valkey: str) -> None:
    client = connect(RedisSettings(valkey, connections=3))
    exchange = RedisExchange(client.connection_pool)
    slow = [exchange([("BLPOP", f"nothing-{n}", 0)]) for n in range(3)]
    waiting = [asyncio.create_task(one) for one in slow]
    async with connect(RedisSettings(valkey)) as other:

        async def blocked() -> bool:
            return bool((await other.info("clients"))["blocked_clients"] == 3)

        await eventually(blocked, what="three slow calls")
        fourth = asyncio.create_task(exchange([("PING",)]))
        await other.ping()
        assert not fourth.done()
        await other.rpush("nothing-1", "something")
        assert await fourth == [b"PONG"]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert await exchange([("PING",)]) == [b"PONG"]
    await exchange.close()
    await client.aclose()
