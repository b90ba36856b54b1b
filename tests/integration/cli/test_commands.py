"""Commands that talk to Kafka and Redis alone: publish, dead letters, lag."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from typer.testing import CliRunner, Result

from freshet import kafka_clients
from freshet.contract.items import Item, encode_item
from freshet.contract.records import (
    CONTENT_TYPE,
    JSON,
    PROTOBUF,
    SOURCE,
    BadRecord,
    Origin,
    header,
    origin_of,
)
from freshet.contract.topics import CLICKS, FIXED, ITEMS, OFFERS, embedding_group
from freshet.kafka_clients import KafkaSettings, ensure_topics
from services.cli import lag
from services.cli.__main__ import app
from shared.catalogue import active_bundle
from shared.catalogue.active_bundle import ActiveBundle
from shared.runtime import redis_client
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.redis_client import RedisSettings
from shared.users import keys, positions

pytestmark = pytest.mark.integration


@pytest.fixture
async def settings(kafka: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> KafkaSettings:
    """Point commands at the session's Kafka, which has Freshet's topics."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("FRESHET_DATA", str(tmp_path))
    found = KafkaSettings(bootstrap_servers=kafka)
    await ensure_topics(found, FIXED)
    return found


async def _run(*arguments: str, stdin: str = "") -> Result:
    """Run a command as a thread: it runs an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), stdin)


async def _read(settings: KafkaSettings, topic: str, count: int) -> list[AIOKafkaConsumer]:
    consumer = kafka_clients.consumer(settings, topic)
    async with consumer:
        return [await consumer.getone() for _ in range(count)]


async def test_published_events_print_their_tokens_in_order(settings: KafkaSettings) -> None:
    lines = "".join(
        f'{{"user_id":"u{number}","item_id":"i","type":"click"}}\n' for number in range(20)
    )

    result = await _run("events", "publish", "-", stdin=lines)

    assert result.exit_code == 0, result.output
    tokens = result.stdout.split()
    records = await _read(settings, CLICKS.name, 20)
    stood = {record.key.decode(): f"{record.partition}:{record.offset}" for record in records}
    assert tokens == [stood[f"u{number}"] for number in range(20)]


async def test_activate_orders_a_bundle_of_before_and_knows_no_other(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    client = redis_client.connect(RedisSettings(url=valkey))
    for space in ("old", "new"):
        await active_bundle.claim(client, ActiveBundle(space, 8), encoded=True)

    result = await _run("activate", "old", "--json")
    assert json.loads(result.stdout) == {"space": "old", "order": 3}
    assert await active_bundle.claim(client, ActiveBundle("old", 8), encoded=True)
    assert (await active_bundle.read(client)) == ActiveBundle("old", 8)

    result = await _run("activate", "older")
    assert str(result.exception) == "no bundle of space 'older' was ever there, only: new, old"
    await client.aclose()


async def test_a_bad_line_ends_publishing_with_its_place(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"user_id":"u","item_id":"i","type":"click"}\n{"user_id":"u"}\n')

    result = await _run("events", "publish", str(file))

    assert result.exit_code == 1
    assert str(result.exception).startswith(f"{file}:2: ")
    assert len(await _read(settings, CLICKS.name, 1)) == 1


async def test_bad_lines_can_be_left_out(settings: KafkaSettings, tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text('{"item_id":"a","title":"A"}\nnonsense\n{"item_id":"b","title":"B"}\n')

    result = await _run("items", "publish", str(file), "--skip-bad", "--json")

    assert json.loads(result.stdout) == {"published": 2}
    assert f"left out {file}:2: " in result.stderr.replace("\n", "")
    assert [record.key for record in await _read(settings, ITEMS.name, 2)] != []


async def test_deletes_are_nulls_under_the_items_key(settings: KafkaSettings) -> None:
    result = await _run("items", "delete", "a", "b")

    assert result.stdout == "2 deletes published\n"
    records = await _read(settings, ITEMS.name, 2)
    assert sorted((record.key, record.value) for record in records) == [(b"a", None), (b"b", None)]


async def test_offers_are_published_as_they_stand(settings: KafkaSettings) -> None:
    await _run("offers", "publish", "-", stdin='{"item_id":"a","price":2.5}\n')

    (record,) = await _read(settings, OFFERS.name, 1)
    assert json.loads(record.value) == {"item_id": "a", "price": 2.5}


async def _bury(settings: KafkaSettings, *values: bytes) -> None:
    async with kafka_clients.producer(settings) as producer:
        letters = DeadLetterWriter(producer, "sessions")
        for offset, value in enumerate(values):
            record = ConsumerRecord(
                CLICKS.name, 1, offset, 1_700_000_000_000, 0, b"u", value, None, 1, len(value), ()
            )
            error = BadRecord("out-of-bounds", "type must not be empty")
            await letters.send(record, error)


async def test_dead_letters_are_shown_with_origin_and_reason(settings: KafkaSettings) -> None:
    await _bury(settings, b"one", b"two", b"three")

    result = await _run("dead-letters", "-n", "2", "--json")

    shown = json.loads(result.stdout)
    assert shown["total"] == 3
    assert [letter["origin"] for letter in shown["dead_letters"]] == ["clicks:1:1", "clicks:1:2"]
    assert shown["dead_letters"][0] | {"failed_ms": 0} == {
        "origin": "clicks:1:1",
        "origin_time_ms": 1_700_000_000_000,
        "failed_ms": 0,
        "service": "sessions",
        "error_class": "out-of-bounds",
        "error": "type must not be empty",
        "key": "u",
        "user_id": "u",
        "item_id": "",
        "title": "",
        "source": "",
        "bytes": 3,
        "value": "two",
    }


@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
async def test_dead_letters_name_item_title_and_line(
    settings: KafkaSettings, content_type: str
) -> None:
    value = encode_item(Item(item_id="lamp", title="[bold]A lamp"), content_type)
    headers = [(CONTENT_TYPE, content_type.encode()), (SOURCE, b"shop.csv:17")]
    record = ConsumerRecord(
        ITEMS.name, 0, 5, 1_700_000_000_000, 0, b"lamp", value, None, 4, len(value), headers
    )
    async with kafka_clients.producer(settings) as producer:
        letters = DeadLetterWriter(producer, "embedding")
        await letters.send(record, BadRecord("bad-picture", "not a picture"))

    (letter,) = json.loads((await _run("dead-letters", "--json")).stdout)["dead_letters"]
    shown = (await _run("dead-letters")).stdout

    assert (letter["item_id"], letter["title"]) == ("lamp", "[bold]A lamp")
    assert letter["source"] == "shop.csv:17"
    for told in ("lamp", "[bold]A lamp", "shop.csv:17", "items:0:5", "not a picture"):
        assert told in shown


async def test_published_lines_say_where_they_come_from(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text('{"item_id":"a","title":"A"}\n\n{"item_id":"a","title":"B"}\n')

    await _run("items", "publish", str(file))

    sources = [header(record.headers, SOURCE) for record in await _read(settings, ITEMS.name, 2)]
    assert sources == [f"{file}:1".encode(), f"{file}:3".encode()]


async def test_replayed_letters_keep_their_origin_and_are_replayed_once(
    settings: KafkaSettings,
) -> None:
    await _bury(settings, b"one", b"two")

    first = await _run("dead-letters", "--replay", "--json")
    second = await _run("dead-letters", "--replay", "--json")

    assert json.loads(first.stdout) == {"replayed": 2, "strange": 0}
    assert json.loads(second.stdout) == {"replayed": 0, "strange": 0}
    records = await _read(settings, CLICKS.name, 2)
    assert [(record.key, record.value) for record in records] == [(b"u", b"one"), (b"u", b"two")]
    assert origin_of(records[1]) == Origin(CLICKS.name, 1, 1, 1_700_000_000_000)
    assert header(records[0].headers, "error-class") is None


async def test_no_dead_letters_is_said_so(settings: KafkaSettings) -> None:
    result = await _run("dead-letters")

    assert result.stdout == "no dead letters\n"


async def test_sessions_lag_is_what_redis_has_not_applied(
    settings: KafkaSettings, valkey: str
) -> None:
    async with kafka_clients.producer(settings) as producer:
        for _ in range(5):
            await producer.send_and_wait(CLICKS.name, b"x", partition=2)
    client = redis_client.connect(RedisSettings(url=valkey))
    try:
        assert await lag.sessions_lag(settings, client) == {"clicks": 5}
        applied = positions.Position(offset=2, time_ms=0, stamp=bytes(16))
        await client.set(keys.position(CLICKS.name, 2), applied.pack())

        assert await lag.sessions_lag(settings, client) == {"clicks": 2}
    finally:
        await client.aclose()


async def test_embedding_lag_is_what_its_group_has_not_committed(settings: KafkaSettings) -> None:
    async with kafka_clients.producer(settings) as producer:
        for _ in range(3):
            await producer.send_and_wait(ITEMS.name, b"x", key=b"k", partition=0)
    group = kafka_clients.consumer(settings, group_id=embedding_group("s"))
    partition = TopicPartition(ITEMS.name, 0)
    group.assign([partition])
    async with group:
        await group.commit({partition: 2})

    assert await lag.embedding_lag(settings, "s") == {"items": 1, "items-backfill": 0}
