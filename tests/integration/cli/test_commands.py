"""Commands that talk to Kafka and Redis alone: publish, dead letters, lag."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    dead_letter_headers,
    header,
    origin_of,
)
from freshet.contract.topics import (
    CLICKS,
    DEAD_LETTERS,
    FIXED,
    ITEMS,
    OFFERS,
    USERS,
    embedding_group,
)
from freshet.kafka_clients import KafkaSettings, ensure_topics
from services.cli import lag
from services.cli.__main__ import app
from shared.catalogue import active_bundle
from shared.catalogue.active_bundle import ActiveBundle
from shared.kafka.records import ends_of
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


async def test_users_are_published_and_deleted(settings: KafkaSettings) -> None:
    line = '{"user_id":"ana","country":"JP","attributes":{"age":"25-34"}}'
    published = await _run("users", "publish", "-", stdin=f"{line}\n")
    assert published.stdout == "1 user published\n"
    deleted = await _run("users", "delete", "ana")
    assert deleted.stdout == "1 delete published\n"

    records = await _read(settings, USERS.name, 2)
    assert [(record.key, record.value) for record in records] == [
        (b"ana", line.encode()),
        (b"ana", None),
    ]


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
        "first_origin": "",
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


async def _replay(*arguments: str) -> dict[str, Any]:
    result = await _run("dead-letters", "--replay", "--yes", "--json", *arguments)
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


async def test_replayed_letters_keep_their_origin_and_are_replayed_once(
    settings: KafkaSettings,
) -> None:
    await _bury(settings, b"one", b"two")

    first, second = await _replay(), await _replay()

    assert first == {"planned": 2, "replayed": 2, "strange": 0, "refused": {}}
    assert second == {"planned": 0, "replayed": 0, "strange": 0, "refused": {}}
    records = await _read(settings, CLICKS.name, 2)
    assert [(record.key, record.value) for record in records] == [(b"u", b"one"), (b"u", b"two")]
    assert origin_of(records[1]) == Origin(CLICKS.name, 1, 1, 1_700_000_000_000)
    assert header(records[0].headers, "error-class") is None


async def test_a_record_cannot_name_the_topic_that_its_replay_goes_to(
    settings: KafkaSettings,
) -> None:
    item = encode_item(Item(item_id="lamp", title="Not the shop's"))
    forged = [("origin", b"items:0:1"), ("origin-time-ms", b"1"), ("origin-key", b"lamp")]
    async with kafka_clients.producer(settings) as producer:
        written = await producer.send_and_wait(
            CLICKS.name, item, key=b"lamp", headers=forged, partition=1
        )
        (read,) = await _read(settings, CLICKS.name, 1)
        error = BadRecord("undecodable", "not an event")
        await DeadLetterWriter(producer, "sessions").send(read, error)

    (letter,) = json.loads((await _run("dead-letters", "--json")).stdout)["dead_letters"]
    assert letter["origin"] == f"clicks:1:{written.offset}"
    assert (await _replay())["replayed"] == 1
    assert await ends_of(settings, ITEMS.name) == dict.fromkeys(
        [TopicPartition(ITEMS.name, 0), TopicPartition(ITEMS.name, 1)], 0
    )
    assert len(await _read(settings, CLICKS.name, 2)) == 2


async def test_a_letter_is_published_to_no_topic_that_its_service_does_not_read(
    settings: KafkaSettings,
) -> None:
    """As older services wrote it, of a record that named an origin of its own."""
    headers = [("origin", b"items:0:1"), ("origin-time-ms", b"1"), ("service", b"sessions")]
    async with kafka_clients.producer(settings) as producer:
        await producer.send_and_wait(DEAD_LETTERS.name, b"{}", headers=headers)
        await producer.send_and_wait(DEAD_LETTERS.name, b"{}")

    assert await _replay() == {
        "planned": 0,
        "replayed": 0,
        "strange": 1,
        "refused": {"items:0:1": "sessions reads clicks, not items"},
    }


async def test_a_replay_takes_what_is_selected_and_the_rest_stays_for_later(
    settings: KafkaSettings,
) -> None:
    async with kafka_clients.producer(settings) as producer:
        for offset in range(6):
            service, topic = [("sessions", CLICKS.name), ("ranking", OFFERS.name)][offset % 2]
            record = ConsumerRecord(topic, 0, offset, 1, 0, b"k", b"%d" % offset, None, 1, 1, ())
            error = BadRecord(("undecodable", "out-of-bounds")[offset // 4], "no")
            await DeadLetterWriter(producer, service).send(record, error)

    assert (await _replay("--topic", "nowhere"))["planned"] == 0
    assert (await _replay("--until", "2020-01-01"))["planned"] == 0
    assert (await _replay("--id", "nobody"))["planned"] == 0
    assert (await _replay("--service", "ranking", "--error", "undecodable", "--id", "k"))[
        "replayed"
    ] == 2
    assert (await _replay("--since", "2020-01-01", "--topic", "clicks"))["replayed"] == 3
    shown = await _run("dead-letters", "--json", "--service", "ranking", "--error", "undecodable")
    assert json.loads(shown.stdout)["total"] == 2
    assert (await _replay())["replayed"] == 1
    assert (await _replay())["planned"] == 0
    assert sorted(r.value for r in await _read(settings, CLICKS.name, 3)) == [b"0", b"2", b"4"]
    assert sorted(r.value for r in await _read(settings, OFFERS.name, 3)) == [b"1", b"3", b"5"]


async def test_a_replay_asks_and_a_dry_run_publishes_nothing(settings: KafkaSettings) -> None:
    await _bury(settings, b"one", b"two")

    dry = await _run("dead-letters", "--replay", "--dry-run")
    assert (dry.exit_code, dry.stdout) == (0, "2 would be published again\n")
    assert "2 × out-of-bounds, said sessions → clicks" in dry.stderr
    for answer in ("n\n", ""):
        refused = await _run("dead-letters", "--replay", stdin=answer)
        assert refused.exit_code == 1
        assert "Publish 2 again?" in refused.stderr
    assert not any((await ends_of(settings, CLICKS.name)).values())
    agreed = await _run("dead-letters", "--replay", stdin="y\n")
    assert agreed.stdout.endswith("2 published again\n")
    assert (await _run("dead-letters", "--dry-run")).exit_code == 2


async def test_of_a_cut_letter_what_stands_at_its_origin_is_published_again(
    settings: KafkaSettings,
) -> None:
    own = [(SOURCE, b"shop.csv:17"), ("trace", b"t-1")]
    async with kafka_clients.producer(settings) as producer:
        for value in (b"large", b"other"):
            await producer.send_and_wait(ITEMS.name, value, key=b"lamp", headers=own, partition=0)
        large, other = await _read(settings, ITEMS.name, 2)
        for record, error in ((large, "a"), (replace(other, value=b"gone"), "b")):
            described = dead_letter_headers(record, BadRecord(error, ""), "embedding", 1, cut=True)
            await producer.send_and_wait(DEAD_LETTERS.name, key=b"k", headers=described)

    shown = json.loads((await _run("dead-letters", "--json")).stdout)["dead_letters"]
    assert [letter["bytes"] for letter in shown] == [5, 4]
    gone = f"items:0:{other.offset}"
    assert (await _replay()) == {
        "planned": 1,
        "replayed": 1,
        "strange": 0,
        "refused": {gone: f"its value was cut, and {gone} does not hold it any more"},
    }
    again = (await _read(settings, ITEMS.name, 3))[2]
    assert (again.key, again.value) == (b"lamp", b"large")
    assert list(again.headers)[:2] == own
    assert origin_of(again) == origin_of(large)


async def test_no_dead_letters_is_said_so(settings: KafkaSettings) -> None:
    result = await _run("dead-letters")

    assert result.stdout == "no dead letters\n"


async def test_sessions_lag_is_what_redis_has_not_applied(
    settings: KafkaSettings, valkey: str
) -> None:
    async with kafka_clients.producer(settings) as producer:
        for _ in range(5):
            await producer.send_and_wait(CLICKS.name, b"x", partition=2)
        await producer.send_and_wait(USERS.name, b"x", b"x", partition=1)
    client = redis_client.connect(RedisSettings(url=valkey))
    try:
        assert await lag.sessions_lag(settings, client, "c") == {"clicks": 5, "users": 1}
        applied = positions.Position(offset=2, time_ms=0, stamp=bytes(16))
        await client.set(keys.position(CLICKS.name, 2), applied.pack())
        await client.set(keys.users_read("c", 1), applied._replace(offset=0).pack())

        assert await lag.sessions_lag(settings, client, "c") == {"clicks": 2, "users": 0}
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
