"""The worker as a process of its own, on a real Kafka and a real Redis."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract import records
from freshet.contract.topics import CLICKS, DEAD_LETTERS
from freshet.kafka_clients import KafkaSettings
from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from shared.users import keys
from shared.users.positions import Position
from shared.users.states import UserState, unpack
from tests.conftest import REDIS_PROGRAM
from tests.proofs.sessions import harness
from tests.proofs.sessions.harness import Shopped
from tests.servers import Service, eventually

pytestmark = pytest.mark.integration

ITEMS = 40
START_MS = 1_750_000_000_000
Start = Callable[..., Service]


@pytest.fixture
async def log(kafka: str) -> str:
    """Return a broker whose topics are made and whose items are published."""
    await harness.publish_items(kafka, ITEMS)
    return kafka


@pytest.fixture
def environ(log: str, valkey: str) -> dict[str, str]:
    return harness.environ(log, valkey)


def clicks(count: int, user: str = "ann", first: int = 0) -> list[Shopped]:
    return [Shopped(user, n % ITEMS, START_MS + 1000 * n) for n in range(first, first + count)]


def lags(worker: Service) -> list[int]:
    shown: Any = worker.status()["partitions"]
    return [partition["lag"] for partition in shown.values()]


async def running(start_service: Start, environ: dict[str, str]) -> Service:
    return await start_service("sessions", environ).ready()


async def state_of(redis: Redis, user: str) -> UserState:
    value: Any = await redis.get(keys.user(user))
    return unpack(value)


async def test_events_reach_redis_as_an_offline_replay_has_them(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    await harness.publish(log, harness.shopping(1500, users=40, items=ITEMS))
    await running(start_service, environ)
    await harness.publish(log, harness.shopping(500, users=40, items=ITEMS, seed=2))
    await harness.caught_up(log, redis)
    harness.assert_same(await harness.content_of(redis), await harness.plain_fold(log, ITEMS))


async def test_the_first_record_after_each_restart_is_read(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    for restart in range(3):
        await harness.publish(log, clicks(1, first=restart))
        worker = await running(start_service, environ)
        await harness.caught_up(log, redis)
        assert worker.stop() == 0
    state = await state_of(redis, "ann")
    assert len(state.history) == 3


async def test_poison_goes_to_dead_letters_with_its_origin_and_the_rest_counts(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    producer = kafka_clients.producer(KafkaSettings(bootstrap_servers=log))
    await producer.start()
    send = producer.send_and_wait
    good = clicks(2)
    await send(CLICKS.name, key=b"ann", value=good[0].value, partition=0)
    traced = {"headers": [("a", b"1")]}
    where = await send(CLICKS.name, key=b"ann", value=b"{broken", partition=0, **traced)
    await send(CLICKS.name, key=b"eve", value=good[0].value, partition=0)
    await send(CLICKS.name, key=b"ann", value=good[1].value, partition=0)
    await producer.stop()
    await running(start_service, environ)
    await harness.caught_up(log, redis)

    (letters,) = (await harness.read_topic(log, DEAD_LETTERS.name)).values()
    assert [letter.key for letter in letters] == [b"clicks:0:1", b"clicks:0:2"]
    first = dict(letters[0].headers)
    assert letters[0].value == b"{broken"
    assert first["a"] == b"1"
    assert first[records.ERROR_CLASS] == records.UNDECODABLE.encode()
    assert first[records.ORIGIN_TIME_MS] == str(where.timestamp).encode()
    assert first[records.SERVICE] == b"sessions"
    assert dict(letters[1].headers)[records.ERROR_CLASS] == records.WRONG_KEY.encode()
    assert len((await state_of(redis, "ann")).history) == 2


async def test_a_letter_that_is_replayed_twice_counts_once_and_as_of_its_origin(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    origin = records.Origin(CLICKS.name, 3, 77, START_MS)
    producer = kafka_clients.producer(KafkaSettings(bootstrap_servers=log))
    await producer.start()
    for _ in range(2):
        await producer.send_and_wait(
            CLICKS.name,
            key=b"ann",
            value=b'{"user_id":"ann","item_id":"item-1","type":"click"}',
            headers=records.origin_headers(origin),
        )
    await producer.stop()
    await running(start_service, environ)
    await harness.caught_up(log, redis)
    (entry,) = (await state_of(redis, "ann")).history
    assert entry["seconds"] == START_MS // 1000


async def test_redis_falling_back_is_noticed_while_nothing_happens(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    worker = await running(start_service, environ)
    await harness.publish(log, clicks(5))
    await harness.caught_up(log, redis)
    held: list[Any] = await redis.keys()
    copy: dict[bytes, Any] = {key: await redis.dump(key) for key in held}
    await harness.publish(log, clicks(5, first=5))
    await harness.caught_up(log, redis)
    await redis.flushdb()
    for key, dump in copy.items():
        await redis.restore(key, 0, dump)
    await harness.caught_up(log, redis, within_s=10)
    harness.assert_same(await harness.content_of(redis), await harness.plain_fold(log, ITEMS))
    assert worker.status()["rewinds"] == 1


async def test_records_that_the_log_dropped_are_said_and_the_rest_counts(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    await harness.publish(log, clicks(10), partition=2)
    admin = AIOKafkaAdminClient(bootstrap_servers=log)
    await admin.start()
    await admin.delete_records({TopicPartition(CLICKS.name, 2): RecordsToDelete(6)})
    await admin.close()
    await redis.set(keys.position(CLICKS.name, 2), Position(1, START_MS, b"s" * 16).pack())
    worker = await running(start_service, environ)
    await harness.caught_up(log, redis)
    assert worker.status()["records_gone"] == 4  # offsets 2 to 5
    assert "4 records from offset 2 on are no longer in the log" in worker.process.log_tail(40)
    assert len((await state_of(redis, "ann")).history) == 4


async def test_transactions_count_when_they_are_committed_and_their_markers_are_no_gap(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    worker = await running(start_service, environ)
    producer = kafka_clients.producer(KafkaSettings(bootstrap_servers=log), transactional_id="app")
    await producer.start()
    taken_back = clicks(1)[0]
    await producer.begin_transaction()
    await producer.send(CLICKS.name, key=taken_back.key, value=taken_back.value)
    await producer.abort_transaction()
    for event in clicks(6):
        async with producer.transaction():
            await producer.send(CLICKS.name, key=event.key, value=event.value)
    await producer.stop()

    async def all_there() -> bool:
        found = await redis.exists(keys.user("ann"))
        return bool(found) and len((await state_of(redis, "ann")).history) == 6

    await eventually(all_there, what="six clicks in Redis")
    await eventually(lambda: lags(worker) == [0] * 4, what="lags of 0, markers and all")
    assert len((await state_of(redis, "ann")).history) == 6
    assert worker.status()["rewinds"] == 0


async def test_a_redis_that_belongs_to_another_cluster_is_refused(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    await redis.set(keys.log_of(CLICKS.name), "another-cluster")
    worker = start_service("sessions", environ)
    await eventually(lambda: worker.process.poll() is not None, what="the worker's end")
    assert worker.process.poll() == 1
    said = worker.process.log_tail(20)
    assert "another log: it notes cluster another-cluster" in said
    assert "redis-cli -h HOST -p PORT FLUSHDB" in said


@pytest.mark.parametrize(
    ("position", "why"),
    [
        (Position(2, START_MS, b"s" * 16), "has record time"),
        (Position(5, START_MS, b"s" * 16), "which ends before 5"),
    ],
)
async def test_a_redis_whose_positions_do_not_fit_the_log_is_refused(
    log: str,
    environ: dict[str, str],
    redis: Redis,
    start_service: Start,
    position: Position,
    why: str,
) -> None:
    await harness.publish(log, clicks(5), partition=1)
    await redis.set(keys.position(CLICKS.name, 1), position.pack())
    worker = start_service("sessions", environ)
    await eventually(lambda: worker.process.poll() is not None, what="the worker's end")
    assert worker.process.poll() == 1
    assert why in worker.process.log_tail(20)
    assert not await redis.exists(keys.user("ann"))


async def test_a_bad_record_too_large_for_dead_letters_holds_nothing_up(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    """Others made the topic, of the size that is usual."""
    admin = AIOKafkaAdminClient(bootstrap_servers=log)
    await admin.start()
    usual = {"max.message.bytes": str(1024 * 1024)}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, DEAD_LETTERS.name, usual)])
    await admin.close()
    worker = await running(start_service, environ)
    noise = os.urandom(1_048_000)
    headers = [("trace", os.urandom(300)), ("other", os.urandom(150))]
    async with kafka_clients.producer(KafkaSettings(bootstrap_servers=log)) as producer:
        await producer.send_and_wait(CLICKS.name, noise, key=b"ann", headers=headers, partition=1)
    await harness.publish(log, clicks(4), partition=1)

    await harness.caught_up(log, redis)
    assert len((await state_of(redis, "ann")).history) == 4
    (letters,) = (await harness.read_topic(log, DEAD_LETTERS.name)).values()
    assert [letter.value for letter in letters] == [None]
    assert records.header(letters[0].headers, records.VALUE_BYTES) == b"1048000"
    assert worker.status()["dead_letters"] == 1


async def test_a_state_of_a_newer_program_stops_it_and_once_it_can_be_read_all_counts_once(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    worker = await running(start_service, environ)
    await harness.publish(log, clicks(4), partition=1)
    await harness.caught_up(log, redis)
    ours: Any = await redis.get(keys.user("ann"))
    await redis.set(keys.user("ann"), b"\x03" + ours[1:])
    worker.stop()
    position: Any = await redis.get(keys.position(CLICKS.name, 1))

    stopped = start_service("sessions", environ)
    await harness.publish(log, clicks(4, first=4), partition=1)
    await eventually(lambda: stopped._get("live")[0] == 503, within_s=60, what="the fault")
    status, told = stopped._get("ready")
    assert (status, stopped.process.poll()) == (503, None)
    assert "user state of format 3: this program reads formats 1 and 2" in told.decode()
    assert "format 3" in str(stopped.status()["fault"])
    assert await redis.get(keys.position(CLICKS.name, 1)) == position
    assert await harness.read_topic(log, DEAD_LETTERS.name) == {0: []}
    assert stopped.stop() == 0

    await redis.set(keys.user("ann"), ours)
    await running(start_service, environ)
    await harness.caught_up(log, redis)
    harness.assert_same(await harness.content_of(redis), await harness.plain_fold(log, ITEMS))


async def test_it_waits_for_a_redis_that_comes_later(
    log: str, start_service: Start, tmp_path: Path
) -> None:
    port = free_port()
    server = EmbeddedValkey(tmp_path / "late", port, program=REDIS_PROGRAM)
    worker = start_service("sessions", harness.environ(log, f"redis://127.0.0.1:{port}/0"))
    await eventually(lambda: "waiting for Redis" in worker.process.log_tail(20), what="its waiting")
    server.start()
    try:
        await worker.ready()
        await harness.publish(log, clicks(3))
        async with Redis.from_url(server.url) as redis:
            await harness.caught_up(log, redis)
    finally:
        worker.stop()
        server.kill()


async def test_two_workers_share_the_partitions_and_one_takes_over(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    one = await running(start_service, environ)
    two = await running(start_service, environ)

    def shares() -> list[int]:
        return sorted(len(worker.status()["partitions"]) for worker in (one, two))  # type: ignore[arg-type]

    await eventually(lambda: shares() == [2, 2], what="two partitions each")
    await harness.publish(log, harness.shopping(400, users=30, items=ITEMS))
    assert one.stop() == 0
    await harness.publish(log, harness.shopping(400, users=30, items=ITEMS, seed=2))
    await harness.caught_up(log, redis)
    harness.assert_same(await harness.content_of(redis), await harness.plain_fold(log, ITEMS))


async def test_users_who_come_on_added_partitions_are_folded_on(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    """A partition that no position is known of is read from where it begins."""
    first = await running(start_service, environ)
    await harness.publish(log, harness.shopping(300, users=30, items=ITEMS))
    await harness.caught_up(log, redis)
    first.stop()
    admin = AIOKafkaAdminClient(bootstrap_servers=log)
    await admin.start()
    await admin.create_partitions({CLICKS.name: NewPartitions(total_count=7)})
    await admin.close()
    await running(start_service, environ)
    await harness.publish(log, harness.shopping(300, users=30, items=ITEMS, seed=2))
    await harness.caught_up(log, redis)
    states = [await state_of(redis, f"u{n}") for n in range(30)]
    assert sum(len(state.history) for state in states) == 600
    assert any(len(state.guard) == 2 for state in states)


async def test_it_says_how_it_is(
    log: str, environ: dict[str, str], redis: Redis, start_service: Start
) -> None:
    worker = await running(start_service, environ)
    await harness.publish(log, clicks(4), partition=2)
    await harness.caught_up(log, redis)

    def of_partition_two() -> object:
        return worker.status()["partitions"]["2"]  # type: ignore[index]

    wanted = {"position": 3, "lag": 0}
    await eventually(lambda: of_partition_two() == wanted, what="a lag of 0")
    status = worker.status()
    assert status["waiting_for"] is None
    assert status["users_in_memory"] == 1
    assert status["catalogue"]["items"] == ITEMS  # type: ignore[index]
    assert worker._get("live") == (200, b"alive\n")
    metrics = worker._get("metrics")[1].decode()
    assert 'freshet_events_folded_total{partition="2"} 4.0' in metrics
    assert 'freshet_sessions_lag_records{partition="2"} 0.0' in metrics
    assert "freshet_event_to_state_seconds_count" in metrics


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("FRESHET_SESSIONS_BATCH_RECORDS", "0", "a whole number between 1 and 100000, was '0'"),
        ("FRESHET_SESSIONS_HEARTBEAT_S", "soon", "a number between 0.1 and 600, was 'soon'"),
    ],
)
async def test_a_bad_setting_is_refused_by_name(
    start_service: Start, variable: str, value: str, why: str
) -> None:
    worker = start_service("sessions", {variable: value})
    await eventually(lambda: worker.process.poll() is not None, what="the worker's end")
    assert worker.process.poll() == 2
    assert f"{variable} must be {why}" in worker.process.log_tail(5)
