"""How the service says that it cannot start, and which bundle becomes active."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import pytest
from redis.asyncio import Redis

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
async def client(valkey: str) -> AsyncIterator[Redis]:
    connected = redis_client.connect(RedisSettings(url=valkey))
    yield connected
    await connected.aclose()


async def active(client: Redis) -> tuple[str | None, str | None]:
    now, before = [
        json.loads(value)["space"] if (value := await client.get(key)) else None
        for key in (keys.ACTIVE_BUNDLE, keys.PREVIOUS_BUNDLE)
    ]
    return now, before


async def order_of(client: Redis) -> int:
    """Return the number of the order that holds."""
    return int(json.loads(await client.get(keys.ACTIVE_BUNDLE) or b"{}")["order"])


def bundles(client: Redis, *spaces: str) -> list[Promotion]:
    return [Promotion(client, space, 8) for space in spaces]


async def settled(client: Redis, *alive: Promotion) -> list[str | None]:
    """Let bundles that have encoded everything look many times; return what was active when."""
    seen = [(await active(client))[0]]
    for each in random.Random(7).choices(alive, k=40):
        await each.claim(encoded=True)
        now = (await active(client))[0]
        if now != seen[-1]:
            seen.append(now)
    return seen


async def put(client: Redis, space: str, before: str) -> None:
    """Write what is active as releases up to 0.2 did, and people who rolled back."""
    for key, name in ((keys.ACTIVE_BUNDLE, space), (keys.PREVIOUS_BUNDLE, before)):
        await client.set(key, msgspec.json.encode(ActiveBundle(name, 8)))


async def test_first_bundle_is_active_at_once_and_the_next_when_all_is_encoded(
    client: Redis,
) -> None:
    first, second = bundles(client, "one", "two")
    assert await first.claim()
    assert not await second.claim()
    assert await active(client) == ("one", None)
    assert await second.claim(encoded=True)
    assert await active(client) == ("two", "one")
    assert await active_bundle.read(client) == ActiveBundle("two", 8)


async def test_three_bundles_that_stay_alive_settle_on_the_last(client: Redis) -> None:
    alive = bundles(client, "one", "two", "three")
    for each in alive:
        await each.claim()
    seen = await settled(client, *alive)
    assert seen[0] == "one"
    assert seen[-1] == "three"
    assert len(seen) == len(set(seen)), "none comes back"
    assert await settled(client, *alive) == ["three"]


async def test_bundle_that_is_encoded_after_a_later_one_is_not_activated(client: Redis) -> None:
    first, slow, later = bundles(client, "one", "slow", "later")
    for each in (first, slow, later):
        await each.claim()
    assert await later.claim(encoded=True)
    assert not await slow.claim(encoded=True)
    assert await active(client) == ("later", "one")


async def test_rolling_back_is_a_new_order_and_holds_beside_all_that_are_alive(
    client: Redis,
) -> None:
    alive = bundles(client, "one", "two", "three")
    for each in alive:
        await each.claim(encoded=True)
    assert await active_bundle.order(client, "one") == 4
    assert not await alive[0].claim(), "its items come first"
    assert await active(client) == ("three", "two")
    assert await settled(client, *alive) == ["three", "one"]
    assert await order_of(client) == 4
    assert await active_bundle.order(client, "three") == 5
    assert await settled(client, *alive) == ["one", "three"]
    assert await active_bundle.order(client, "unheard of") == 0
    assert (await active_bundle.standing(client)).orders == {"one": 4, "two": 2, "three": 5}


async def test_order_for_the_active_bundle_changes_its_number_alone(client: Redis) -> None:
    first, second = bundles(client, "one", "two")
    await first.claim()
    await second.claim(encoded=True)
    assert await active_bundle.order(client, "two") == 3
    assert await settled(client, first, second) == ["two"]
    assert await active(client) == ("two", "one")
    assert await order_of(client) == 3


async def test_what_somebody_points_back_to_stays(client: Redis) -> None:
    alive = bundles(client, "one", "two", "three")
    for each in alive:
        await each.claim(encoded=True)
    await put(client, "one", before="three")
    assert await active_bundle.read(client) == ActiveBundle("one", 8)
    assert await settled(client, *alive) == ["one"]
    assert await order_of(client) == 5


async def test_what_an_earlier_release_activated_holds_until_a_new_bundle_comes(
    client: Redis,
) -> None:
    await put(client, "two", before="one")
    first, second, third = bundles(client, "one", "two", "three")
    assert await settled(client, first, second) == ["two"]
    assert await settled(client, first, second, third) == ["two", "three"]


async def test_orders_are_carried_out_one_by_one_however_many_look_at_once(client: Redis) -> None:
    await asyncio.gather(
        *(each.claim() for each in bundles(client, *(f"space-{n}" for n in range(8))))
    )
    highest = 0

    async def look(each: Promotion) -> None:
        nonlocal highest
        for _ in range(20):
            await each.claim(encoded=True)
            number = await order_of(client)
            assert number >= highest, "the number never falls"
            highest = number

    await asyncio.gather(*map(look, bundles(client, *(f"space-{n}" for n in range(8)))))
    assert await order_of(client) == 8


async def test_only_the_keeper_promotes_and_only_when_all_is_encoded(client: Redis) -> None:
    first, second = bundles(client, "one", "two")
    await first.claim()
    now = {"keeper": False, "done": True}

    async def is_done() -> bool:
        return now["done"]

    async def look() -> tuple[str | None, str | None]:
        await second.look(lambda: now["keeper"], is_done)
        return await active(client)

    assert await look() == ("one", None)
    now |= {"keeper": True, "done": False}
    assert await look() == ("one", None)
    now["done"] = True
    assert await look() == ("two", "one")


async def test_redis_that_lost_everything_is_told_again(client: Redis) -> None:
    only = Promotion(client, "one", 8)
    await only.claim()
    await client.flushall()
    assert await only.claim()
    assert await active(client) == ("one", None)


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


async def test_cache_gives_back_tower_vectors_and_no_entry_that_lacks_them(client: Redis) -> None:
    tower = np.array([0, 1, 0], np.float16)
    trained = ItemCache(client, "trained", 2, 3)
    for item_id, vector in (("a", tower), ("unheard of", tower[:0])):
        encoded = dataclasses.replace(VECTORS, tower_vector=vector)
        await trained.put(item_id, CachedItem(b"hash", 7, encoded))
        found = await trained.get(item_id)
        assert found is not None
        assert found.vectors.tower_vector.tolist() == vector.tolist()
    for damaged in (None, tower[:2].tobytes(), (2 * tower).tobytes(), b"\0"):
        key = keys.item_cache("trained", "a")
        change = client.hdel(key, "tower_vector") if damaged is None else None
        await (change or client.hset(key, "tower_vector", damaged))
        assert await trained.get("a") is None


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
        await eventually(lambda: "waiting for Redis" in service.process.log_tail(9))
        with pytest.raises(urllib.error.HTTPError) as refused:
            await asyncio.to_thread(urllib.request.urlopen, f"{service.health_url}/ready")
        with refused.value as error:
            assert error.code == 503
        assert await asyncio.to_thread(service.stop) == 0
    finally:
        service.kill()
