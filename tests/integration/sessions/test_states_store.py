"""One suite over Redis and its double: what is compared, what is set, what a full set does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from services.sessions.effect.double import MemoryStore
from services.sessions.effect.store import (
    ForeignKeys,
    StatesStore,
    UserWrite,
    WriteChunk,
    WriteRefused,
)
from services.sessions.effect.writer import EffectWriter
from services.sessions.settings import SessionsSettings
from shared.runtime import metrics
from shared.users import keys
from shared.users.states import pack, pack_guard, unpack
from tests.unit.sessions.kit import MemoryDeadLetters, MemoryItems, batch, click, key_of
from tests.unit.shared.users import makers

pytestmark = pytest.mark.integration

TOPIC = "clicks"
ALL = "all"


@pytest.fixture
async def real(redis: Redis) -> AsyncIterator[StatesStore]:
    made = StatesStore(redis, TOPIC)
    yield made
    await made.close()


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, real: StatesStore) -> StatesStore:
    return MemoryStore(TOPIC) if request.param == "memory" else real


def chunk(
    expected: bytes = b"",
    position: bytes = b"p1",
    *users: UserWrite,
    covisits: Mapping[tuple[int, int], float] | None = None,
    trends: Mapping[tuple[str, int], float] | None = None,
) -> WriteChunk:
    return WriteChunk(expected, position, users, covisits or {}, trends or {})


async def test_a_guard_compares_with_its_format_as_states_go_from_one_to_the_other(
    store: StatesStore,
) -> None:
    states = [
        makers.state_of(guard={0: 1}),
        makers.state_of(guard={0: 2}, disliked=(7,)),
        makers.state_of(guard={0: 3}, type_names=("swipe",)),
        makers.state_of(guard={0: 4}),
    ]
    guard = position = b""
    for n, state in enumerate(states):
        reached = b"p%d" % n
        await store.write(0, [chunk(position, reached, UserWrite("ann", guard, pack(state)))])
        assert await state_of(store, "ann") == pack(state)
        guard, position = pack_guard(state), reached
        other_format = bytes([3 - guard[0]]) + guard[1:]
        with pytest.raises(WriteRefused):
            await store.write(0, [chunk(position, b"p", UserWrite("ann", other_format, b"x"))])


async def members(store: StatesStore, redis: Redis, key: bytes) -> dict[int, float]:
    """Return a set's members by item key."""
    held: dict[bytes, float]
    if isinstance(store, MemoryStore):
        held = store.sets.get(key, {})
    else:
        held = dict(await redis.zrange(key, 0, -1, withscores=True))  # type: ignore[arg-type]
    return {int.from_bytes(member, "big"): score for member, score in held.items()}


async def state_of(store: StatesStore, user: str) -> bytes | None:
    return (await store.read(0, [user]))[1][user]


async def test_ids_are_kept_as_long_as_states(real: StatesStore, redis: Redis) -> None:
    await real.keep_ids({7: "42.0", 8: "größe"}, 10)
    await real.keep_ids({}, 10)

    held = await redis.hgetall(keys.UNKNOWN_IDS)
    assert held == {keys.item_key_bytes(7): b"42.0", keys.item_key_bytes(8): "größe".encode()}
    assert 0 < await redis.ttl(keys.UNKNOWN_IDS) <= keys.USER_TTL_S


async def test_no_more_ids_are_kept_than_there_is_room_for(store: StatesStore) -> None:
    assert await store.keep_ids({n: str(n) for n in range(8)}, 10) == 0
    assert await store.keep_ids({n: str(n) for n in range(5, 20)}, 10) == 10
    assert await store.keep_ids({n: str(n) for n in range(30, 31)}, 10) == 1
    assert await store.keep_ids({n: str(n) for n in range(40, 60)}, 0) == 30


async def test_the_first_segments_have_the_places_until_they_are_not_used_any_more(
    store: StatesStore,
) -> None:
    day = 86_400
    assert await store.admit_segments(["a", "b", "c"], 100 * day, 2) == [True, True, False]
    assert await store.admit_segments(["c", "b"], 120 * day, 2) == [False, True]
    assert await store.admit_segments(["b"], 90 * day, 2) == [True]  # a log that is read again
    assert await store.admit_segments(["c", "a", "b"], 131 * day, 2) == [True, False, True]


async def test_a_chunk_is_written_whole(store: StatesStore, redis: Redis) -> None:
    await store.write(
        3,
        [
            chunk(
                b"",
                b"p1",
                UserWrite("ann", b"", b"g1-state"),
                UserWrite("bob", b"", b"g1-other"),
                covisits={(7, 8): 1.5, (7, 9): 0.25},
                trends={(ALL, 8): 2.0},
            )
        ],
    )
    assert await store.read(3, ["ann", "bob", "cy"]) == (
        b"p1",
        {"ann": b"g1-state", "bob": b"g1-other", "cy": None},
    )
    assert await store.positions([3, 4]) == {3: b"p1", 4: None}
    assert await members(store, redis, keys.covisits(7)) == {8: 1.5, 9: 0.25}
    assert await members(store, redis, keys.trending(ALL)) == {8: 2.0}


async def test_weights_add_up_as_logarithms(store: StatesStore, redis: Redis) -> None:
    await store.write(0, [chunk(b"", b"p1", trends={(ALL, 1): 10.0, (ALL, 2): 38_000.5})])
    await store.write(0, [chunk(b"p1", b"p2", trends={(ALL, 1): 10.0, (ALL, 2): 3.0})])
    held = await members(store, redis, keys.trending(ALL))
    assert held == {1: 11.0, 2: 38_000.5}  # 2^10 + 2^10, and what is lost beside 2^38000


async def test_another_position_than_expected_writes_nothing(
    store: StatesStore, redis: Redis
) -> None:
    await store.write(0, [chunk(b"", b"p1")])
    late = chunk(b"p0", b"p2", UserWrite("ann", b"", b"g1-state"), trends={(ALL, 1): 1.0})
    with pytest.raises(WriteRefused):
        await store.write(0, [late])
    assert await store.read(0, ["ann"]) == (b"p1", {"ann": None})
    assert await members(store, redis, keys.trending(ALL)) == {}


async def test_a_first_chunk_does_not_overwrite_a_position(store: StatesStore) -> None:
    await store.write(0, [chunk(b"", b"p1")])
    with pytest.raises(WriteRefused):
        await store.write(0, [chunk(b"", b"p2")])
    assert await store.positions([0]) == {0: b"p1"}


@pytest.mark.parametrize("guard", [b"", b"g0", b"g10"])
async def test_another_guard_than_expected_writes_nothing(
    store: StatesStore, redis: Redis, guard: bytes
) -> None:
    await store.write(0, [chunk(b"", b"p1", UserWrite("ann", b"", b"g1-state"))])
    late = chunk(
        b"p1",
        b"p2",
        UserWrite("bob", b"", b"g2-new"),
        UserWrite("ann", guard, b"g2-state"),
        covisits={(1, 2): 1.0},
    )
    with pytest.raises(WriteRefused):
        await store.write(0, [late])
    assert await store.read(0, ["ann", "bob"]) == (b"p1", {"ann": b"g1-state", "bob": None})
    assert await members(store, redis, keys.covisits(1)) == {}


async def test_a_user_who_is_gone_is_not_written_over(store: StatesStore) -> None:
    with pytest.raises(WriteRefused):
        await store.write(0, [chunk(b"", b"p1", UserWrite("ann", b"g1", b"g2-state"))])
    assert await store.read(0, ["ann"]) == (None, {"ann": None})


async def test_after_a_refused_chunk_none_is_written(store: StatesStore) -> None:
    chunks = [
        chunk(b"", b"p1", UserWrite("ann", b"", b"g1")),
        chunk(b"p1", b"p2", UserWrite("ann", b"g0", b"g2")),
        chunk(b"p2", b"p3", UserWrite("bob", b"", b"g1")),
    ]
    with pytest.raises(WriteRefused):
        await store.write(0, chunks)
    assert await store.read(0, ["ann", "bob"]) == (b"p1", {"ann": b"g1", "bob": None})


async def test_partitions_stand_beside_each_other(store: StatesStore) -> None:
    await store.write(0, [chunk(b"", b"a1")])
    await store.write(1, [chunk(b"", b"b1")])
    await store.write(0, [chunk(b"a1", b"a2")])
    assert await store.positions([0, 1]) == {0: b"a2", 1: b"b1"}


async def test_the_first_log_is_noted_and_stays(store: StatesStore) -> None:
    assert await store.claim_log("one") == "one"
    assert await store.claim_log("two") == "one"


async def test_a_full_set_takes_a_newcomer_in_place_of_its_lowest(
    store: StatesStore, redis: Redis
) -> None:
    """It enters at the lowest's weight and its own, so that it can rise."""
    full = {(5, item): 10.0 + item for item in range(keys.COVISITS_AT_MOST)}
    await store.write(0, [chunk(b"", b"p1", covisits=full)])
    await store.write(0, [chunk(b"p1", b"p2", covisits={(5, 999): 10.0})])
    held = await members(store, redis, keys.covisits(5))
    assert len(held) == keys.COVISITS_AT_MOST
    assert 0 not in held
    assert held[999] == 11.0


async def test_newcomers_fill_the_room_before_they_replace(
    store: StatesStore, redis: Redis
) -> None:
    room = 2
    full = {(5, item): 10.0 + item for item in range(keys.COVISITS_AT_MOST - room)}
    await store.write(0, [chunk(b"", b"p1", covisits=full)])
    newcomers = {(5, 900 + n): 50.0 for n in range(room + 1)}
    await store.write(0, [chunk(b"p1", b"p2", covisits=newcomers)])
    held = await members(store, redis, keys.covisits(5))
    assert len(held) == keys.COVISITS_AT_MOST
    assert set(range(1000)) & {900, 901, 902} <= set(held)
    assert 0 not in held


async def test_more_newcomers_than_a_set_holds_are_bounded(
    store: StatesStore, redis: Redis
) -> None:
    many = {(5, item): float(item) for item in range(2 * keys.COVISITS_AT_MOST)}
    await store.write(0, [chunk(b"", b"p1", covisits=many)])
    await store.write(0, [chunk(b"p1", b"p2", covisits={(5, 10_000 + n): 1.0 for n in range(150)})])
    assert len(await members(store, redis, keys.covisits(5))) == keys.COVISITS_AT_MOST


async def test_states_and_sets_expire_and_positions_do_not(real: StatesStore, redis: Redis) -> None:
    await real.claim_log("one")
    await real.write(
        0,
        [
            chunk(
                b"",
                b"p1",
                UserWrite("ann", b"", b"g1"),
                covisits={(1, 2): 1.0},
                trends={(ALL, 2): 1.0},
            )
        ],
    )
    ttl = {key: await redis.ttl(key) for key in await redis.keys()}
    assert ttl.pop(keys.position(TOPIC, 0)) == -1
    assert ttl.pop(keys.log_of(TOPIC)) == -1
    expected = {
        keys.user("ann"): keys.USER_TTL_S,
        keys.covisits(1): keys.COVISITS_TTL_S,
        keys.trending(ALL): keys.TRENDING_TTL_S,
    }
    assert ttl.keys() == expected.keys()
    for key, seconds in expected.items():
        assert seconds - 5 <= ttl[key] <= seconds


async def test_scripts_that_a_restart_lost_are_loaded_again(
    real: StatesStore, redis: Redis
) -> None:
    await real.write(0, [chunk(b"", b"p1")])
    await redis.script_flush()
    await real.write(0, [chunk(b"p1", b"p2"), chunk(b"p2", b"p3")])
    assert await real.positions([0]) == {0: b"p3"}


async def test_a_key_of_another_type_stops_a_chunk_before_anything_is_written_and_is_named(
    real: StatesStore, redis: Redis
) -> None:
    await redis.set(keys.covisits(1), b"not a set")
    late = chunk(b"", b"p1", UserWrite("ann", b"", b"g1"), covisits={(0, 2): 1.0, (1, 2): 1.0})
    with pytest.raises(ForeignKeys) as refused:
        await real.write(0, [late])
    assert refused.value.names == {keys.covisits(1)}
    assert await real.read(0, ["ann"]) == (None, {"ann": None})
    assert not await redis.exists(keys.covisits(0))


async def test_increments_to_a_key_of_another_type_are_lost_and_counted_and_all_else_counts(
    real: StatesStore, redis: Redis
) -> None:
    client: Any = redis
    items = MemoryItems(np.eye(8))
    writer = EffectWriter(real, MemoryDeadLetters(), SessionsSettings())
    writer.take_over(0, None, 0)
    await client.set(keys.covisits(key_of(1)), b"not a set")
    await client.rpush(keys.trending(ALL), b"not a set")
    before = metrics.INCREMENTS_LOST._value.get()
    log = batch([click(n, item=n % 3) for n in range(6)])
    with pytest.raises(ForeignKeys):
        await writer.apply(log, items)
    await writer.apply(log, items)
    assert len(unpack(await client.get(keys.user("ann"))).history) == 6
    assert await client.zcard(keys.covisits(key_of(0))) == 2
    assert await client.get(keys.covisits(key_of(1))) == b"not a set"
    assert await client.lrange(keys.trending(ALL), 0, -1) == [b"not a set"]
    assert metrics.INCREMENTS_LOST._value.get() - before == 1 + 3  # of 1 → 2, and of three items


@pytest.mark.parametrize("known", [False, True])
async def test_a_user_s_key_of_another_type_makes_dead_letters_of_that_user_s_events_alone(
    real: StatesStore, redis: Redis, known: bool
) -> None:
    client: Any = redis
    items, letters = MemoryItems(np.eye(8)), MemoryDeadLetters()
    writer = EffectWriter(real, letters, SessionsSettings())
    writer.take_over(0, None, 0)
    log = [click(n, user=("ann", "bob", "cy")[n % 3]) for n in range(12)]
    if known:  # then the writer has a state in memory that Redis has no more
        await writer.apply(batch(log[:3]), items)
        await client.delete(keys.user("bob"))
    await client.rpush(keys.user("bob"), b"another program's")
    rest = batch(log[3:] if known else log)
    with pytest.raises(ForeignKeys):
        await writer.apply(rest, items)
    await writer.apply(rest, items)
    assert letters.offsets == [r.offset for r in rest.records if r.key == b"bob"]
    assert "nor a string" in str(letters.letters[0].error)
    assert await client.lrange(keys.user("bob"), 0, -1) == [b"another program's"]
    for user in ("ann", "cy"):
        assert len(unpack(await client.get(keys.user(user))).history) == 4

    await client.delete(keys.user("bob"))
    await writer.apply(batch([click(12, user="bob")]), items)
    assert len(unpack(await client.get(keys.user("bob"))).history) == 1


increments = st.dictionaries(
    st.tuples(st.sampled_from([1, 2]), st.integers(0, 150)),
    st.floats(0, 60),
    max_size=200,
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rounds=st.lists(increments, min_size=1, max_size=8))
async def test_redis_adds_as_the_double_does(
    real: StatesStore, redis: Redis, rounds: list[dict[tuple[int, int], float]]
) -> None:
    """The script's arithmetic and its choice of whom to replace, against plain Python."""
    await redis.flushdb()
    double = MemoryStore(TOPIC)
    stamps = (b"p%d" % number for number in count())
    before = b""
    for covisits in rounds:
        after = next(stamps)
        for store in (real, double):
            await store.write(0, [chunk(before, after, covisits=covisits)])
        before = after
    for name in (1, 2):
        held = await members(real, redis, keys.covisits(name))
        assert held == pytest.approx(await members(double, redis, keys.covisits(name)), abs=1e-9)
