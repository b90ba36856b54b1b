"""Imports: what arrived, what was refused, and how a run goes on where another was cut off.

Sessions and embedding are played here, so that it is known what they refuse and when they are done.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from redis.asyncio import Redis
from typer.testing import CliRunner, Result
from yarl import URL

from freshet import kafka_clients
from freshet.contract.events import Event, decode_event
from freshet.contract.items import decode_item
from freshet.contract.records import PROTOBUF, BadRecord
from freshet.contract.topics import (
    CLICKS,
    FIXED,
    ITEMS,
    ITEMS_BACKFILL,
    USERS,
    embedding_group,
    item_vectors,
)
from freshet.contract.users import User, decode_user
from freshet.kafka_clients import KafkaSettings, ensure_topics
from freshet.producer import RenewedProducer
from freshet.v1 import vector_pb2
from services.cli import lag
from services.cli.__main__ import app
from shared.clock import now_ms
from shared.kafka.records import ends_of, records_of
from shared.runtime import redis_client
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.redis_client import RedisSettings
from shared.users import keys, positions
from tests.servers import ROOT, eventually

pytestmark = pytest.mark.integration

SPACE = "played"
ROWS = 30_000  # more than are on their way at once


class PlayedServices:
    """Take records as sessions and embedding do; items called `bad` are refused.

    None has a picture that could be had.
    """

    def __init__(self, settings: KafkaSettings, redis: Redis) -> None:
        self._settings = settings
        self._redis = redis

    async def run(self) -> None:
        """Work until cancelled."""
        await self._redis.set(keys.ACTIVE_BUNDLE, json.dumps({"space": SPACE}))
        cluster_id = await kafka_clients.cluster_id(self._settings)
        topics = (CLICKS.name, ITEMS.name, ITEMS_BACKFILL.name, USERS.name)
        group = kafka_clients.consumer(self._settings, group_id=embedding_group(SPACE))
        taken = [
            TopicPartition(topic.name, partition)
            for topic in FIXED
            if topic.name in topics
            for partition in range(topic.partitions)
        ]
        group.assign(taken)
        producer = RenewedProducer(lambda: kafka_clients.producer(self._settings))
        async with group, producer:
            letters = DeadLetterWriter(producer, "played")
            await group.seek_to_beginning(*taken)
            while True:
                for tp, records in (await group.getmany(timeout_ms=50)).items():
                    for record in records:
                        if tp.topic == CLICKS.name:
                            await self._apply(keys.position(tp.topic, tp.partition), record)
                        elif tp.topic == USERS.name:
                            await self._apply(keys.users_read(cluster_id, tp.partition), record)
                        else:
                            await self._encode(record, producer, letters)
                            await group.commit({tp: record.offset + 1})

    async def _apply(self, name: bytes, record: ConsumerRecord) -> None:
        position = positions.Position(record.offset, record.timestamp, bytes(16))
        await self._redis.set(name, position.pack())

    async def _encode(
        self, record: ConsumerRecord, producer: RenewedProducer, letters: DeadLetterWriter
    ) -> None:
        item = decode_item(record.value, PROTOBUF)
        if item.title == "bad":
            await letters.send(record, BadRecord("bad-picture", "not a picture"))
        else:
            encoded = vector_pb2.ItemVector(item_id=item.item_id)
            if item.image_uri is not None:
                encoded.picture_missing = f"picture-not-fetched: {URL(item.image_uri).host}"
            value = encoded.SerializeToString()
            await producer.send_and_wait(item_vectors(SPACE).name, key=record.key, value=value)


@pytest.fixture
async def redis(valkey: str) -> AsyncIterator[Redis]:
    client = redis_client.connect(RedisSettings(url=valkey))
    yield client
    await client.aclose()


@pytest.fixture
async def settings(
    kafka: str, valkey: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> KafkaSettings:
    """Point commands at the session's servers."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("REDIS_URL", valkey)
    monkeypatch.setenv("FRESHET_DATA", str(tmp_path / "data"))
    found = KafkaSettings(bootstrap_servers=kafka)
    await ensure_topics(found, [*FIXED, item_vectors(SPACE)])
    return found


@asynccontextmanager
async def _working(settings: KafkaSettings, redis: Redis) -> AsyncIterator[None]:
    working = asyncio.create_task(PlayedServices(settings, redis).run())
    yield
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


@pytest.fixture
async def services(settings: KafkaSettings, redis: Redis) -> AsyncIterator[None]:
    """Let both services work."""
    async with _working(settings, redis):
        yield


@pytest.fixture
def run() -> Callable[..., Coroutine[Any, Any, Result]]:
    """Return a function that runs a command, in a thread: it runs an event loop of its own."""

    async def invoke(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))

    return invoke


async def _events(settings: KafkaSettings) -> list[Event]:
    """Return all events that were published."""
    consumer: AIOKafkaConsumer = kafka_clients.consumer(settings)
    tps = [TopicPartition(CLICKS.name, partition) for partition in range(CLICKS.partitions)]
    consumer.assign(tps)
    async with consumer:
        ends = await consumer.end_offsets(tps)
        found: list[Event] = []
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [decode_event(record.value, PROTOBUF) for record in records]
    return found


def _clicks(count: int) -> list[str]:
    return [
        f'{{"user_id":"u{number % 7}","item_id":"i{number}","type":"click"}}'
        for number in range(count)
    ]


async def test_what_was_refused_is_counted_and_named_with_its_line(
    services: None, run: Callable[..., Coroutine[Any, Any, Result]], tmp_path: Path
) -> None:
    file = tmp_path / "items.jsonl"
    titles = ("one", "bad", "two", "bad", "three")
    lines = [f'{{"item_id":"i{n}","title":"{title}"}}' for n, title in enumerate(titles)]
    file.write_text("\n".join(lines))

    result = await run("import", "files", "--items", str(file))

    assert result.exit_code == 1
    assert result.stdout.startswith("5 items, all but 2 in effect, in ")
    assert f"  {file}:2: i1 “bad”: not a picture\n" in result.stdout
    assert f"  {file}:4: i3 “bad”: not a picture\n" in result.stdout

    again = await run("import", "files", "--items", str(file), "--json")
    assert [letter["item_id"] for letter in json.loads(again.stdout)["refused"]] == ["i1", "i3"]

    shown = await run("dead-letters")
    assert shown.stdout.count("bad\n") + shown.stdout.count("bad ") >= 4
    assert f"{file}:2" in shown.stdout


async def test_items_without_their_picture_are_counted_by_the_reason(
    services: None, run: Callable[..., Coroutine[Any, Any, Result]], tmp_path: Path
) -> None:
    before, file = tmp_path / "before.csv", tmp_path / "items.csv"
    before.write_text("item_id,title,image_uri\nold,A rug,https://old.example/x.jpg\n")
    file.write_text(
        "item_id,title,image_uri\n"
        "a,A lamp,https://one.example/a.jpg\nb,A vase,https://one.example/b.jpg\n"
        "c,A chair,https://two.example/c.jpg\nd,A sofa,\n"
    )
    await run("import", "files", "--items", str(before))

    result = await run("import", "files", "--items", str(file))

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("4 items, all in effect, in ")
    assert result.stdout.splitlines()[1:] == [
        "3 items in effect without a picture:",
        "  2 × picture-not-fetched: one.example",
        "  1 × picture-not-fetched: two.example",
    ]
    again = await run("import", "files", "--items", str(file), "--json")
    without = json.loads(again.stdout)["without_picture"]
    assert {"item_id": "c", "reason": "picture-not-fetched: two.example"} in without
    assert sorted(each["item_id"] for each in without) == ["a", "b", "c"]


async def test_events_of_items_that_nobody_knows_are_counted_and_said(
    services: None, run: Callable[..., Coroutine[Any, Any, Result]], tmp_path: Path
) -> None:
    (tmp_path / "items.csv").write_text("item_id,title\n42,A lamp\n")
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,type\nu,42,click\nu,42.0,click\nv,42.0,click\nv,nowhere,click\n"
    )
    await run("import", "files", "--items", str(tmp_path / "items.csv"))

    result = await run("import", "files", "--events", str(tmp_path / "events.csv"))

    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1:] == [
        "3 events of items that the catalogue does not know:",
        "  42.0 (2 events; 42 is known)",
        "  nowhere (1 event)",
    ]


async def test_users_are_imported_before_their_events(
    services: None, run: Callable[..., Coroutine[Any, Any, Result]], tmp_path: Path
) -> None:
    (tmp_path / "users.csv").write_text("user_id,country,age\nana,JP,34\nbob,,\n")
    (tmp_path / "events.csv").write_text("user_id,item_id,type\nana,42,click\n")

    result = await run(
        *("import", "files", "--users", str(tmp_path / "users.csv")),
        *("--events", str(tmp_path / "events.csv")),
    )

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 users and 1 event, all in effect, in ")


async def test_movielens_brings_who_its_users_are(
    services: None,
    run: Callable[..., Coroutine[Any, Any, Result]],
    settings: KafkaSettings,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    (folder / "ratings.dat").write_text("7::1::5::978300760\n")
    (folder / "movies.dat").write_text("1::Toy Story (1995)::Comedy\n")
    (folder / "users.dat").write_text("7::F::25::20::48067\n8::M::1::10::55117\n")

    result = await run("import", "movielens", str(folder), "--json")

    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert [shown[what] for what in ("items", "users", "events")] == [1, 1, 1]  # who rated
    (user,) = [
        decode_user(record.value, PROTOBUF) async for record in records_of(settings, USERS.name)
    ]
    assert user == User(
        user_id="7",
        attributes={"gender": "F", "age": "25-34", "occupation": "writer", "zip_code": "48067"},
    )


async def test_old_events_count_as_if_the_last_were_now_unless_their_times_are_kept(
    services: None,
    run: Callable[..., Coroutine[Any, Any, Result]],
    settings: KafkaSettings,
    tmp_path: Path,
) -> None:
    file, before_ms = tmp_path / "old.csv", now_ms()
    file.write_text(
        "user_id,item_id,type,time_ms\nold,2014-a,click,2014-04-01\nold,2014-b,click,2014-04-03\n"
    )
    moved = await run("import", "files", "--events", str(file))
    kept = await run("import", "files", "--events", str(file), "--keep-times")

    span = "events of 2014-04-01 to 2014-04-03 (2 days)"
    assert f"{span} count as if the last were now; --keep-times leaves their times" in moved.stdout
    assert f"{span} keep their times" in kept.stdout
    times = [event.time_ms or 0 for event in await _events(settings) if event.user_id == "old"]
    first_ms, last_ms = times[:2]
    assert before_ms <= last_ms <= now_ms()
    assert last_ms - first_ms == 2 * 86_400_000
    assert times[2:] == [1_396_310_400_000, 1_396_483_200_000]


async def test_an_import_that_a_bad_line_ended_goes_on_there_once_it_is_mended(
    services: None,
    run: Callable[..., Coroutine[Any, Any, Result]],
    settings: KafkaSettings,
    tmp_path: Path,
) -> None:
    file, lines = tmp_path / "events.jsonl", _clicks(50)
    file.write_text("\n".join([*lines[:30], '{"user_id":', *lines[31:]]))

    cut = await run("import", "files", "--events", str(file))
    file.write_text("\n".join(lines))
    whole = await run("import", "files", "--events", str(file))

    assert cut.exit_code == 1
    assert "30 events had arrived" in cut.stderr
    assert f"{file}: goes on behind the 30 events that had arrived" in whole.stderr
    assert whole.stdout.startswith("50 events, all in effect")
    assert sorted(event.item_id for event in await _events(settings)) == sorted(
        f"i{number}" for number in range(50)
    )


async def test_another_file_under_the_same_name_is_imported_whole(
    services: None,
    run: Callable[..., Coroutine[Any, Any, Result]],
    settings: KafkaSettings,
    tmp_path: Path,
) -> None:
    file, lines = tmp_path / "events.jsonl", _clicks(20)
    file.write_text("\n".join([*lines[:10], "nonsense"]))
    await run("import", "files", "--events", str(file))

    file.write_text("\n".join(reversed(lines)))
    result = await run("import", "files", "--events", str(file))

    assert result.stdout.startswith("20 events, all in effect")
    assert len(await _events(settings)) == 30


async def test_a_repeated_import_repeats_the_events_ids(
    services: None,
    run: Callable[..., Coroutine[Any, Any, Result]],
    settings: KafkaSettings,
    tmp_path: Path,
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([*_clicks(3), *_clicks(3)]))

    for _ in range(2):
        await run("import", "files", "--events", str(file))

    ids = [event.event_id for event in await _events(settings)]
    assert len(ids) == 12
    assert len(set(ids)) == 6  # equal rows of one file are different events


async def test_an_interrupted_import_says_how_far_it_got_and_goes_on(
    run: Callable[..., Coroutine[Any, Any, Result]],
    settings: KafkaSettings,
    redis: Redis,
    tmp_path: Path,
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(_clicks(ROWS)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli", "import", "files", "--events", str(file)),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )

    async def count() -> int:
        return sum((await ends_of(settings, CLICKS.name)).values())

    await eventually(count, what="the first events")
    process.send_signal(signal.SIGINT)  # nobody folds, so it has not ended
    _, said = await process.communicate()
    assert process.returncode == 130, said
    assert f"{await count():,} events had arrived" in said.decode()
    assert b"Traceback" not in said

    async with _working(settings, redis):
        result = await run("import", "files", "--events", str(file))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{ROWS:,} events, all in effect")
    assert await count() == ROWS


async def test_an_import_waits_for_its_own_records_behind_which_others_and_markers_stand(
    settings: KafkaSettings,
    redis: Redis,
    run: Callable[..., Coroutine[Any, Any, Result]],
    tmp_path: Path,
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(_clicks(10)))
    importing = asyncio.create_task(run("import", "files", "--events", str(file)))

    async def published() -> bool:
        return len(await _events(settings)) == 10

    await eventually(published, what="all events")
    ends = {}
    async with kafka_clients.producer(settings) as other:
        for partition in range(CLICKS.partitions):
            written = await other.send_and_wait(CLICKS.name, b"{}", partition=partition)
            ends[partition] = written.offset
    await _commit_a_transaction(settings)
    for partition, end in ends.items():
        applied = positions.Position(end - 1, 0, bytes(16))  # the other's record is not applied
        await redis.set(keys.position(CLICKS.name, partition), applied.pack())

    result = await importing
    assert result.exit_code == 0, result.output
    assert await lag.sessions_lag(settings, redis, "c") != {"clicks": 0, "users": 0}


async def _commit_a_transaction(settings: KafkaSettings) -> dict[int, int]:
    """Write one record to each partition of `clicks` in a transaction; returns their offsets."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, transactional_id="shop"
    )
    async with producer, producer.transaction():
        sent = [
            await producer.send_and_wait(CLICKS.name, b"{}", partition=partition)
            for partition in range(CLICKS.partitions)
        ]
    return {written.partition: written.offset for written in sent}


async def test_markers_of_a_transaction_count_as_no_lag(
    settings: KafkaSettings, redis: Redis
) -> None:
    last = await _commit_a_transaction(settings)
    assert (await lag.sessions_lag(settings, redis, "c"))["clicks"] > 0

    for partition, offset in last.items():
        applied = positions.Position(offset, 0, bytes(16))
        await redis.set(keys.position(CLICKS.name, partition), applied.pack())

    assert await lag.sessions_lag(settings, redis, "c") == {"clicks": 0, "users": 0}
