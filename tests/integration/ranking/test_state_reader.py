"""One suite over both readers: Redis and its double in memory."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from freshet.contract import topics
from freshet.contract.users import User
from freshet.errors import Unavailable
from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from services.ranking.live.state_reader import (
    MemoryReader,
    StateReader,
    UserStates,
)
from services.ranking.stages.signals import COVISITS_READ, Weighted
from shared.breaker import Breaker
from shared.catalogue.versions import UNSTATED, LogPlace, RecordVersion
from shared.runtime.redis_client import RedisSettings, connect
from shared.users import keys, positions, standing, states
from shared.users.standing import StandingUser
from tests.unit.ranking.shop import weighted
from tests.unit.shared.users.makers import state_of

pytestmark = pytest.mark.integration

STATE = state_of(guard={3: 17}, hidden=(5, 6))
ANN = User(user_id="ann", country="JP", segments=("vip",), attributes={"age": "25-34"})
PLACE = LogPlace(1_788_264_000_000, False, 7)
VERSION = RecordVersion(PLACE, UNSTATED, PLACE)
MANY = weighted({f"item-{n}": float(n + 1) for n in range(140)}, 86_400.0)


@asynccontextmanager
async def redis_reader(url: str) -> AsyncIterator[StateReader]:
    client = connect(RedisSettings(url), socket_timeout_s=1.0)
    await client.set(keys.user("ann"), states.pack(STATE))
    await client.set(keys.standing("ann"), standing.pack(StandingUser(VERSION, ANN)))
    await client.set(
        keys.position(topics.CLICKS.name, 3), positions.Position(20, 1, bytes(16)).pack()
    )
    await client.hset(keys.UNKNOWN_IDS, keys.item_key_bytes(9), b"42.0")
    members = {
        int(key).to_bytes(8, "big"): score
        for key, score in zip(MANY.keys, MANY.scores.tolist(), strict=True)
    }
    await client.zadd(keys.covisits(7), members)
    await client.zadd(keys.trending("all"), members)
    reader = StateReader(client)
    try:
        yield reader
    finally:
        await reader.close()
        await client.aclose()


@pytest.fixture(params=["memory", "redis", "redis protocol 2"])
async def reader(
    request: pytest.FixtureRequest, valkey: str
) -> AsyncIterator[StateReader | MemoryReader]:
    if request.param == "memory":
        memory = MemoryReader()
        memory.users["ann"] = STATE
        memory.said["ann"] = ANN
        memory.applied[3] = 20
        memory.ids[9] = "42.0"
        memory.covisits[7] = MANY
        memory.trending["all"] = MANY
        yield memory
    else:
        suffix = "?protocol=2" if request.param.endswith("2") else ""
        async with redis_reader(valkey + suffix) as redis:
            yield redis


Either = StateReader | MemoryReader


async def test_ids_are_read_of_those_that_have_one(reader: Either) -> None:
    assert await reader.item_ids([9, 10], 1.0) == {9: "42.0"}
    assert await reader.item_ids([], 1.0) == {}


async def test_states_come_in_the_order_of_the_users(reader: Either) -> None:
    found = await reader.states(["nobody", "ann"], 1.0)
    assert found.states == [states.empty(), STATE]
    assert found.known == [False, True]
    assert found.applied == -1


async def test_how_far_a_partition_is_comes_with_the_states(reader: Either) -> None:
    assert (await reader.states(["ann"], 1.0, partition=3)).applied == 20
    assert (await reader.states(["ann"], 1.0, partition=2)).applied == -1


async def test_what_the_shop_says_of_the_first_user_comes_with_the_states(reader: Either) -> None:
    assert (await reader.states(["ann", "nobody"], 1.0, partition=3)).user == ANN
    assert (await reader.states(["nobody", "ann"], 1.0)).user is None


async def test_of_who_was_forgotten_nothing_is_said_and_damage_is_counted(valkey: str) -> None:
    async with redis_reader(valkey) as reader:
        client = connect(RedisSettings(valkey))
        await client.set(keys.standing("bob"), standing.pack(standing.forgotten(1)))
        await client.set(keys.standing("cid"), b"\x01damaged")
        await client.aclose()
        assert (await reader.states(["bob"], 1.0)).user is None
        assert reader.damaged == 0
        assert (await reader.states(["cid", "ann"], 1.0)) == UserStates(
            [states.empty(), STATE], [False, True]
        )
        assert reader.damaged == 1


async def test_the_heaviest_followers_and_trending_items_come_first(reader: Either) -> None:
    covisits, trending = await reader.sets([7, 8], [("all", 35), ("c:none", 5)], 1.0)
    assert [len(found.keys) for found in covisits] == [COVISITS_READ, 0]
    assert [len(found.keys) for found in trending] == [35, 0]
    for found in (covisits[0], trending[0]):
        assert isinstance(found, Weighted)
        assert found.keys.tolist() == MANY.keys[: len(found.keys)].tolist()
        assert found.scores == pytest.approx(MANY.scores[: len(found.scores)])


async def test_nothing_asked_for_is_nothing_found(reader: Either) -> None:
    assert await reader.sets([], [], 1.0) == ([], [])


async def test_without_any_time_nothing_is_read(reader: Either) -> None:
    with pytest.raises(Unavailable):
        await reader.states(["ann"], 0.0)


async def test_a_damaged_state_is_an_unknown_user_and_counted(valkey: str) -> None:
    async with redis_reader(valkey) as reader:
        client = connect(RedisSettings(valkey))
        await client.set(keys.user("bob"), b"\x01damaged")
        await client.aclose()
        assert (await reader.states(["bob", "ann"], 1.0)).states == [states.empty(), STATE]
        assert reader.damaged == 1


async def test_one_key_of_another_type_is_an_empty_set_and_no_dead_server(valkey: str) -> None:
    async with redis_reader(valkey) as reader:
        client = connect(RedisSettings(valkey))
        await client.set(keys.covisits(9), b"no set")
        await client.set(keys.trending("c:x"), b"no set")
        await client.hset(keys.user("bob"), "no", "state")
        await client.aclose()
        for _ in range(200):
            covisits, trending = await reader.sets([9, 7], [("c:x", 5), ("all", 5)], 1.0)
            assert [len(found.keys) for found in covisits] == [0, COVISITS_READ]
            assert [len(found.keys) for found in trending] == [0, 5]
            assert not reader.broken
            found = await reader.states(["bob", "ann"], 1.0)
            assert (found.states, found.known) == ([states.empty(), STATE], [False, True])
        assert reader.damaged == 400


async def test_members_that_are_no_item_keys_are_left_out(valkey: str) -> None:
    async with redis_reader(valkey) as reader:
        client = connect(RedisSettings(valkey))
        await client.zadd(keys.covisits(9), {b"short": 1.0, bytes(8): 2.0})
        await client.aclose()
        (found,), _ = await reader.sets([9], [], 1.0)
        assert found.keys.tolist() == [0]
        assert found.scores.tolist() == [2.0]


async def test_a_cancelled_read_never_hands_its_reply_to_another(valkey: str) -> None:
    async with redis_reader(valkey) as reader:
        for _ in range(50):
            task = asyncio.create_task(reader.sets([7], [], 1.0))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await reader.states(["ann"], 1.0)).states == [STATE]


async def test_a_silent_redis_costs_its_budget_a_few_times_and_then_nothing(
    fresh_valkey: EmbeddedValkey,
) -> None:
    async with redis_reader(fresh_valkey.url) as reader:
        assert (await reader.states(["ann"], 1.0)).known == [True]
        os.killpg(fresh_valkey.pid, signal.SIGSTOP)
        try:
            for _ in range(8):
                began = time.monotonic()
                with pytest.raises(Unavailable):
                    await reader.states(["ann"], 0.02)
                assert time.monotonic() - began < 0.5
            assert reader.broken
            began = time.monotonic()
            for _ in range(20):
                with pytest.raises(Unavailable):
                    await reader.states(["ann"], 0.02)
            assert time.monotonic() - began < 20 * 0.02  # most did not wait at all
        finally:
            os.killpg(fresh_valkey.pid, signal.SIGCONT)


async def test_a_redis_that_is_gone_is_found_again(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path, free_port())
    client = connect(RedisSettings(server.start()))
    reader = StateReader(client, Breaker(pause_s=0.01))
    try:
        server.kill()
        with pytest.raises(Unavailable):
            await reader.states(["ann"], 1.0)
        assert reader.broken
        server.start()
        await asyncio.sleep(0.02)
        assert (await reader.states(["ann"], 1.0)).known == [False]
        assert not reader.broken
    finally:
        server.kill()
        await reader.close()
        await client.aclose()
