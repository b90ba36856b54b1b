"""How the service says that it cannot start, and which bundle becomes active."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from redis.asyncio import Redis

from services.embedding.encode import promotion
from services.embedding.encode.item_encoder import EncodedVectors
from services.embedding.encode.promotion import Promotion
from services.embedding.items.item_cache import CachedItem, ItemCache
from shared.catalogue import active_bundle
from shared.catalogue.active_bundle import ActiveBundle
from shared.runtime import redis_client
from shared.runtime.redis_client import RedisSettings
from shared.users import keys
from tests.servers import ROOT, Service, eventually

pytestmark = pytest.mark.integration


async def run(*arguments: str, environ: Mapping[str, str]) -> tuple[int, str]:
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "services.embedding", *arguments],
        env={
            **os.environ,
            "FRESHET_EMBEDDING_HEALTH_PORT": "0",
            **environ,
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stderr.decode()


async def test_bad_setting_ends_with_two_and_says_what_would_be_right() -> None:
    code, said = await run(environ={"FRESHET_EMBEDDING_PORT": "many"})
    assert code == 2
    assert said == (
        "FRESHET_EMBEDDING_PORT must be a whole number between 0 and 65535, was 'many'\n"
    )


async def test_bad_bundle_ends_with_two(tmp_path: Path) -> None:
    code, said = await run(environ={"FRESHET_BUNDLE": str(tmp_path)})
    assert code == 2
    assert said.splitlines()[-1].startswith("FRESHET_BUNDLE: ")


async def test_port_that_is_taken_ends_with_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name in ("FRESHET_EMBEDDING_PORT", "FRESHET_EMBEDDING_HEALTH_PORT"):
            code, said = await run(environ={name: port})
            assert code == 1
            assert port in said.splitlines()[-1]


async def test_unknown_command_shows_the_usage() -> None:
    code, said = await run("snapshots", environ={})
    assert code == 2
    assert "python -m services.embedding snapshot" in said


@pytest.fixture
def client(valkey: str) -> Redis:
    return redis_client.connect(RedisSettings(url=valkey))


async def active(client: Redis) -> tuple[str | None, str | None]:
    now = await active_bundle.read(client)
    before = await client.get(keys.PREVIOUS_BUNDLE)
    return now.space if now else None, active_bundle._decode(before).space if before else None


async def test_first_bundle_is_active_at_once_and_the_next_when_all_is_encoded(
    client: Redis,
) -> None:
    first, second = Promotion(client, "one", 8), Promotion(client, "two", 8)
    assert await first.claim()
    assert not await second.claim()
    assert await active(client) == ("one", None)
    assert await second.promote()
    assert await active(client) == ("two", "one")
    await client.aclose()


async def test_bundle_that_was_rolled_back_stays_so(client: Redis) -> None:
    first, second = Promotion(client, "one", 8), Promotion(client, "two", 8)
    await first.claim()
    await second.promote()
    # Somebody points back.
    await client.set(keys.ACTIVE_BUNDLE, active_bundle.encode(ActiveBundle("one", 8)))
    await client.set(keys.PREVIOUS_BUNDLE, active_bundle.encode(ActiveBundle("two", 8)))
    assert not await second.promote()
    assert not await second.claim()
    assert await active(client) == ("one", "two")
    await client.aclose()


async def test_only_the_keeper_promotes_and_only_when_all_is_encoded(
    client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "CHECK_S", 0.01)
    first, second = Promotion(client, "one", 8), Promotion(client, "two", 8)
    await first.claim()
    now = {"keeper": False, "done": True}

    async def is_done() -> bool:
        return now["done"]

    running = asyncio.create_task(second.run(lambda: now["keeper"], is_done))
    await asyncio.sleep(0.1)
    assert await active(client) == ("one", None)
    now |= {"keeper": True, "done": False}
    await asyncio.sleep(0.1)
    assert await active(client) == ("one", None)
    now["done"] = True

    async def is_promoted() -> bool:
        return await active(client) == ("two", "one")

    await eventually(is_promoted)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await client.aclose()


async def test_redis_that_lost_everything_is_told_again(client: Redis) -> None:
    only = Promotion(client, "one", 8)
    await only.claim()
    await client.flushall()
    assert await only.claim()
    assert await active(client) == ("one", None)
    await client.aclose()


VECTORS = EncodedVectors(
    np.array([1, 0], np.float16), np.empty(0, np.float16), np.array([0, 1], np.float16)
)


async def test_cache_gives_back_what_was_put(client: Redis) -> None:
    cache = ItemCache(client, "test", 2)
    await cache.put("a", CachedItem(b"hash", 7, VECTORS))
    found = await cache.get("a")
    assert found is not None
    assert (found.content_hash, found.version) == (b"hash", 7)
    assert found.vectors.vector.tobytes() == VECTORS.vector.tobytes()
    assert found.vectors.image_vector.size == 0
    await cache.drop("a")
    assert await cache.get("a") is None
    await client.aclose()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vector", b""),
        ("vector", b"\x00"),
        ("vector", np.array([1, 0, 0], np.float16).tobytes()),
        ("vector", np.array([np.nan, 0], np.float16).tobytes()),
        ("vector", np.array([0, 0], np.float16).tobytes()),
        ("image_vector", b"\x00\x00"),
        ("text_vector", np.array([np.inf, 0], np.float16).tobytes()),
        ("version", b"x"),
        ("content_hash", None),
    ],
)
async def test_damaged_entry_is_no_entry(client: Redis, field: str, value: bytes | None) -> None:
    cache = ItemCache(client, "test", 2)
    await cache.put("a", CachedItem(b"hash", 7, VECTORS))
    key = keys.item_cache("test", "a")
    await (client.hdel(key, field) if value is None else client.hset(key, field, value))
    assert await cache.get("a") is None
    await client.aclose()


async def test_entry_of_another_type_is_no_entry_and_no_reason_to_leave_the_cache_out(
    client: Redis,
) -> None:
    cache = ItemCache(client, "test", 2)
    await client.set(keys.item_cache("test", "a"), b"no hash")
    await cache.put("b", CachedItem(b"hash", 7, VECTORS))
    assert await cache.get("a") is None
    assert await cache.get("b") is not None
    await cache.put("a", CachedItem(b"hash", 7, VECTORS))
    assert await cache.get("a") is not None
    await client.aclose()


async def test_cache_that_is_away_is_left_out_and_not_asked_each_time() -> None:
    client = redis_client.connect(RedisSettings(url="redis://127.0.0.1:1/0"), socket_timeout_s=0.2)
    cache = ItemCache(client, "test", 2)
    for _ in range(100):
        assert await cache.get("a") is None
        await cache.put("a", CachedItem(b"hash", 7, VECTORS))
        await cache.drop("a")
    await client.aclose()


async def test_while_kafka_and_redis_are_away_it_waits_and_ends_when_told(tmp_path: Path) -> None:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1/0"}
    service = Service("embedding", environ | {"FRESHET_EMBEDDING_PORT": "0"}, tmp_path)

    def answers() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{service.health_url}/live") as reply:
            return bool(reply.status == 200)
        return False

    try:
        await eventually(answers)
        await eventually(lambda: "waiting for Kafka" in service.process.log_tail(9))
        with pytest.raises(urllib.error.HTTPError) as refused:
            await asyncio.to_thread(urllib.request.urlopen, f"{service.health_url}/ready")
        with refused.value as error:
            assert error.code == 503
        assert await asyncio.to_thread(service.stop) == 0
    finally:
        service.kill()
