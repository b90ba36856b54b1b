"""What the shop says of users: from the topic into Redis, on a real Kafka and a real Redis."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from freshet.contract import records
from freshet.contract.events import Event
from freshet.contract.records import JSON, PROTOBUF
from freshet.contract.topics import DEAD_LETTERS, USERS
from freshet.contract.users import User, decode_user, encode_user
from freshet.kafka_clients import KafkaSettings, ensure_topics
from freshet.producer import RenewedProducer
from freshet.publisher import Publisher, batching_producer
from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from services.sessions.users.standing_users import StandingUsers, UserRecord
from services.sessions.users.store import KeyChange, UsersStore
from shared.runtime.redis_client import RedisSettings, connect
from shared.users import keys, standing
from tests.conftest import REDIS_PROGRAM
from tests.proofs.sessions import harness
from tests.servers import Service, eventually

pytestmark = pytest.mark.integration

Start = Callable[..., Service]
NOON_MS = 1_788_264_000_000
SHOPS_MS = 1_600_000_000_000  # long ago: no version is later than its record
ANA = User(user_id="ana", country="JP", attributes={"age": "25-34", "orders": 12.0, "vip": True})


@pytest.fixture
async def log(kafka: str) -> str:
    """Return a broker with items, whose topic of users is there."""
    await harness.publish_items(kafka, 4)
    await ensure_topics(KafkaSettings(bootstrap_servers=kafka), [USERS])
    return kafka


@pytest.fixture
def environ(log: str, valkey: str) -> dict[str, str]:
    return harness.environ(log, valkey)


@pytest.fixture
async def publisher(log: str) -> AsyncIterator[Publisher]:
    async with Publisher(log, timeout=30) as publisher:
        yield publisher


async def standing_of(redis: Redis, user_id: str) -> User | None:
    value: Any = await redis.get(keys.standing(user_id))
    return None if value is None else standing.unpack(user_id, value).user


async def stands(redis: Redis, user_id: str, user: User | None) -> None:
    async def as_wanted() -> bool:
        value: Any = await redis.get(keys.standing(user_id))
        return value is not None and standing.unpack(user_id, value).user == user

    await eventually(as_wanted, within_s=30, what=f"{user_id} as {user}")


async def last_of(log: str, user_id: str) -> Any:
    """Return the last record of a user on `users`: what compaction leaves."""
    topic = await harness.read_topic(log, USERS.name)
    return [r for part in topic.values() for r in part if r.key == user_id.encode()][-1]


async def test_users_stand_in_redis_in_both_encodings_until_a_null(
    log: str, environ: dict[str, str], redis: Redis, publisher: Publisher, start_service: Start
) -> None:
    bob = User(user_id="bob", segments=("vip",))
    await publisher.user(ANA)  # before the worker is there
    async with batching_producer(KafkaSettings(bootstrap_servers=log)) as producer:
        await producer.send_and_wait(USERS.name, key=b"bob", value=encode_user(bob, JSON))
    worker = await start_service("sessions", environ).ready()
    await stands(redis, "ana", ANA)
    await stands(redis, "bob", bob)
    assert await redis.ttl(keys.standing("ana")) == -1

    await publisher.user(User(user_id="ana", country="FR"))  # the whole of it each time
    await stands(redis, "ana", User(user_id="ana", country="FR"))
    await publisher.delete_user("ana")
    await stands(redis, "ana", None)
    assert 0 < await redis.ttl(keys.standing("ana")) <= 7 * 86_400
    shown: Any = worker.status()["users"]
    assert (shown["applied"], shown["overtaken"]) == (4, 0)


async def test_a_record_that_the_contract_refuses_is_a_dead_letter_and_the_next_is_read(
    log: str, environ: dict[str, str], redis: Redis, publisher: Publisher, start_service: Start
) -> None:
    async with batching_producer(KafkaSettings(bootstrap_servers=log)) as producer:
        for key, value in (
            (b"bob", b'{"user_id":"bob","country":"jp"}'),
            (b"eve", b'{"user_id":"bob"}'),
            (b"\xff", None),
        ):
            await producer.send_and_wait(USERS.name, key=key, value=value)
    await publisher.user(ANA)
    await start_service("sessions", environ).ready()
    await stands(redis, "ana", ANA)

    async def lettered() -> bool:
        letters = await harness.read_topic(log, DEAD_LETTERS.name)
        classes = [
            records.header(letter.headers, records.ERROR_CLASS)
            for part in letters.values()
            for letter in part
        ]
        return sorted(map(str, classes)) == ["b'out-of-bounds'", "b'wrong-key'", "b'wrong-key'"]

    await eventually(lettered, what="three dead letters")


async def test_what_redis_lost_is_read_again_and_what_counts_stands_last_in_the_log(
    log: str, environ: dict[str, str], redis: Redis, publisher: Publisher, start_service: Start
) -> None:
    newer = User(user_id="ana", country="JP", updated_ms=SHOPS_MS)
    older = User(user_id="ana", country="FR", updated_ms=SHOPS_MS - 1)
    await start_service("sessions", environ).ready()
    await publisher.many([newer, older])
    await stands(redis, "ana", newer)

    async def again() -> bool:
        last = await last_of(log, "ana")
        return bool(decode_user(last.value, PROTOBUF) == newer)

    await eventually(again, within_s=30, what="the newer one published again")

    await redis.flushall()
    await stands(redis, "ana", newer)
    assert await standing_of(redis, "ana") == newer


async def test_a_forget_erases_what_was_said_in_redis_and_in_the_log_for_good(
    log: str, environ: dict[str, str], redis: Redis, publisher: Publisher, start_service: Start
) -> None:
    await publisher.many([ANA, User(user_id="bob", country="DE")])
    await start_service("sessions", environ).ready()
    await stands(redis, "ana", ANA)
    assert b"25-34" in (await redis.get(keys.standing("ana")) or b"")

    await publisher.event(Event(user_id="ana", type="forget"))
    await harness.caught_up(log, redis)  # then it is done, as Forget's position says

    value: Any = await redis.get(keys.standing("ana"))
    assert standing.unpack("ana", value).user is None
    assert b"25-34" not in value
    assert (await last_of(log, "ana")).value is None

    await redis.flushall()  # and all of the topic is read again, nulls of the forget too
    await stands(redis, "bob", User(user_id="bob", country="DE"))
    await stands(redis, "ana", None)

    await publisher.user(ANA)  # who comes back is a newcomer
    await stands(redis, "ana", ANA)


async def test_what_is_said_after_a_forget_outlives_a_null_that_comes_late(
    log: str, environ: dict[str, str], redis: Redis, publisher: Publisher, start_service: Start
) -> None:
    await start_service("sessions", environ).ready()
    await publisher.user(ANA)
    await stands(redis, "ana", ANA)
    forgotten = standing.forgotten((await last_of(log, "ana")).timestamp - 1)
    async with batching_producer(KafkaSettings(bootstrap_servers=log)) as producer:
        header = [(records.COUNTS, forgotten.version.written())]
        await producer.send_and_wait(USERS.name, key=b"ana", value=None, headers=header)

    async def again() -> bool:
        return (await last_of(log, "ana")).value is not None

    await eventually(again, within_s=30, what="what counts behind the late null")
    assert await standing_of(redis, "ana") == ANA


class RecordingProducer(RenewedProducer):
    """Keeps what is published, and has three partitions."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes | None, int | None]] = []

    async def partitions_of(self, topic: str) -> set[int]:
        return {0, 1, 2}

    async def send_and_wait(self, topic: str, **record: Any) -> Any:
        self.sent.append((record["key"], record["value"], record["partition"]))


async def test_a_forget_that_is_repeated_erases_nothing_that_was_said_since(
    redis: Redis, valkey: str
) -> None:
    store = UsersStore(connect(RedisSettings(url=valkey)))
    producer = RecordingProducer()
    users = StandingUsers(store, producer)
    await users.forget({"ana": NOON_MS})
    await users.forget({"ana": NOON_MS})
    assert sorted(producer.sent) == sorted([(b"ana", None, p) for p in (0, 1, 2)] * 2)

    place = records.Origin(USERS.name, 0, 7, NOON_MS + 1)
    position = _positions(keys.users_read("a cluster", 0))
    for updated_ms in (None, NOON_MS - 1):  # also one that the shop dates before
        said = User(user_id="ana", country="JP", updated_ms=updated_ms)
        told = _record(said, place)
        assert await users.take([told], next(position))
        await users.forget({"ana": NOON_MS})
        assert await standing_of(redis, "ana") == said
    await users.forget({"ana": NOON_MS + 1})
    assert await standing_of(redis, "ana") is None
    await store.close()


async def test_a_worker_that_is_late_changes_nothing(redis: Redis, valkey: str) -> None:
    store = UsersStore(connect(RedisSettings(url=valkey)))
    users = StandingUsers(store, RecordingProducer())
    name = keys.users_read("a cluster", 0)
    early, late = (
        _record(User(user_id="ana", country=country), records.Origin(USERS.name, 0, n, NOON_MS + n))
        for n, country in enumerate(("JP", "FR"))
    )
    position = _positions(name)
    assert await users.take([early, late], next(position))
    assert not await users.take([early], next(_positions(name)))  # expects what is no more
    assert await users.take([early], next(position))  # delivered again
    standing_now = await standing_of(redis, "ana")
    assert standing_now is not None
    assert standing_now.country == "FR"
    await store.close()


def _record(user: User, place: records.Origin) -> UserRecord:
    return UserRecord(user.user_id, user, place, place, None)


def _positions(name: bytes) -> Iterator[KeyChange]:
    values = (b"%d" % n for n in itertools.count())
    before: bytes | None = None
    for value in values:
        yield KeyChange(name, before, value)
        before = value


@pytest.fixture
def steady_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """Run a Redis that comes back on its port."""
    server = EmbeddedValkey(tmp_path / "redis", free_port(), program=REDIS_PROGRAM)
    server.start()
    yield server
    server.kill()


async def test_what_is_said_while_redis_is_gone_stands_when_it_is_back(
    log: str, steady_valkey: EmbeddedValkey, publisher: Publisher, start_service: Start
) -> None:
    await start_service("sessions", harness.environ(log, steady_valkey.url)).ready()
    async with Redis.from_url(steady_valkey.url) as redis:
        await publisher.user(ANA)
        await stands(redis, "ana", ANA)
    steady_valkey.kill()
    said = User(user_id="bob", country="DE")
    await publisher.user(said)
    await publisher.delete_user("ana")
    steady_valkey.start()
    async with Redis.from_url(steady_valkey.url) as redis:
        await stands(redis, "bob", said)
        await stands(redis, "ana", None)
