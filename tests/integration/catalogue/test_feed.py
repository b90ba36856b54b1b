"""The catalogue follows its topic on a real broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import NewPartitions

from freshet import kafka_clients as kafka_edge
from freshet.kafka_clients import KafkaSettings
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.process import free_port
from shared.catalogue.feed import CatalogueFeed
from shared.runtime.topic_reader import POLL_MS, SLICE, TopicReader
from tests.integration.catalogue.conftest import TOPIC, Publish, at_work, publisher
from tests.servers import eventually
from tests.unit.ranking.index.snapshots import write_snapshot
from tests.unit.shared.catalogue.makers import DIM, SPACE, catalogue_of, contents, delete, put, unit

pytestmark = pytest.mark.integration

DAY_MS = 86_400_000


async def test_feed_holds_what_stood_in_the_topic_and_what_comes(
    settings: KafkaSettings, publish: Publish
) -> None:
    before = [put(f"item-{n}", 1, title=f"title {n}") for n in range(300)]
    await publish([*before, delete("item-7", 2), put("item-8", 5), put("item-8", 4)])
    feed = CatalogueFeed(settings, SPACE, DIM)
    async with at_work(feed.run()):
        async with asyncio.timeout(20):
            await feed.caught_up()
        assert feed.catalogue.living == 299
        assert feed.catalogue.row("item-7") == -1
        assert feed.catalogue.versions[feed.catalogue.row("item-8")] == 5
        await publish([put("new")])
        await eventually(lambda: feed.catalogue.row("new") >= 0, within_s=5)
        await publish([delete("new", 2)])
        await eventually(lambda: feed.catalogue.row("new") < 0, within_s=5)
    status = feed.status()
    assert (status["items"], status["stale"], status["refused"]) == (299, 1, 0)


async def test_item_is_in_the_catalogue_when_its_record_comes_not_at_the_next_look(
    settings: KafkaSettings, publish: Publish
) -> None:
    feed = CatalogueFeed(settings, SPACE, DIM)
    async with at_work(feed.run()):
        await feed.caught_up()
        waits_s = []
        for n in range(30):
            await publish([put(f"item-{n}")])
            began = time.perf_counter()
            await eventually(partial(_holds, feed, f"item-{n}"), within_s=5)
            waits_s.append(time.perf_counter() - began)
    assert np.median(waits_s) < POLL_MS / 1000, "told of it, not found at the next look"


def _holds(feed: CatalogueFeed, item_id: str) -> bool:
    return feed.catalogue.row(item_id) >= 0


async def test_caught_up_waits_for_all_that_stood_there_when_it_was_asked(
    settings: KafkaSettings, publish: Publish
) -> None:
    feed = CatalogueFeed(settings, SPACE, DIM)
    async with at_work(feed.run()):
        await feed.caught_up()
        for n in range(5):
            await publish([put(f"item-{100 * n + i}") for i in range(100)])
            await feed.caught_up()
            assert feed.catalogue.living == 100 * (n + 1)


async def test_records_that_are_no_item_vectors_are_counted_and_the_others_stay(
    settings: KafkaSettings, publish: Publish
) -> None:
    producer = kafka_edge.producer(settings)
    await producer.start()
    try:
        for n in range(40):
            await producer.send_and_wait(TOPIC.name, key=b"bad", value=b"\xff\xff")
            await publish([put(f"item-{n}")])
    finally:
        await producer.stop()
    await publish([put("strange", vector=unit(1, DIM + 8))])
    feed = CatalogueFeed(settings, SPACE, DIM)
    async with at_work(feed.run()):
        await feed.caught_up()
    assert feed.catalogue.living == 40
    assert feed.status()["refused"] == 41


async def test_other_tasks_have_their_turn_after_every_few_records(
    settings: KafkaSettings, publish: Publish
) -> None:
    await publish([put(f"item-{n}") for n in range(1_000)])
    turns = 0
    taken: list[tuple[int, int]] = []  # (turn of another task, records)

    async def beat() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    reader = TopicReader(lambda topic: kafka_edge.consumer(settings, topic), TOPIC.name)
    reading = reader.run(lambda few: taken.append((turns, len(few))))
    async with at_work(reading), at_work(beat()):
        await reader.caught_up()
    assert sum(records for _, records in taken) == 1_000
    assert max(records for _, records in taken) <= SLICE
    assert len({turn for turn, _ in taken}) == len(taken), "never two slices in one turn"


async def test_feed_reads_on_from_a_snapshot(
    settings: KafkaSettings, publish: Publish, tmp_path: Path
) -> None:
    changes = [put(f"item-{n}", 1, title=f"title {n}") for n in range(200)]
    await publish([*changes, delete("item-3", 2)])
    first = CatalogueFeed(settings, SPACE, DIM)
    async with at_work(first.run()):
        await first.caught_up()
    name = write_snapshot(tmp_path, first.catalogue, first._reader.positions)
    await publish([put("new"), delete("item-4", 2), put("item-3", 1)])
    feed = CatalogueFeed(settings, SPACE, DIM)
    snapshot = await feed.load(str(tmp_path))
    assert snapshot is not None
    assert snapshot.name == name == feed.status()["begun_with_snapshot"]
    assert feed.catalogue.living == 199
    async with at_work(feed.run()):
        await feed.caught_up()
    assert feed.catalogue.row("new") >= 0
    assert feed.catalogue.row("item-4") == -1
    assert feed.catalogue.row("item-3") == -1, "the snapshot's deletes count"
    assert feed.catalogue.stale == 1, "what the snapshot holds was not read again"


async def test_snapshot_older_than_the_topic_keeps_deletes_is_not_used(
    settings: KafkaSettings, publish: Publish, tmp_path: Path
) -> None:
    await publish([put("a"), delete("b", 9)])
    old_ms = time.time_ns() // 1_000_000 - 7 * DAY_MS
    write_snapshot(tmp_path, catalogue_of(put("a"), put("b")), {0: 0, 1: 0}, old_ms)
    feed = CatalogueFeed(settings, SPACE, DIM)
    assert await feed.load(str(tmp_path)) is None
    async with at_work(feed.run()):
        await feed.caught_up()
    assert set(contents(feed.catalogue)) == {"a"}


async def test_snapshot_of_another_log_is_not_used(
    settings: KafkaSettings, publish: Publish, tmp_path: Path
) -> None:
    await publish([put("a")])
    write_snapshot(tmp_path, catalogue_of(put("ghost")), {0: 1_000, 1: 0})
    feed = CatalogueFeed(settings, SPACE, DIM)
    assert await feed.load(str(tmp_path)) is None
    async with at_work(feed.run()):
        await feed.caught_up()
    assert set(contents(feed.catalogue)) == {"a"}


async def test_without_a_snapshot_the_topic_is_read_from_its_beginning(
    settings: KafkaSettings, publish: Publish, tmp_path: Path
) -> None:
    await publish([put("a")])
    feed = CatalogueFeed(settings, SPACE, DIM)
    assert await feed.load(str(tmp_path / "nowhere")) is None
    async with at_work(feed.run()):
        await feed.caught_up()
    assert set(contents(feed.catalogue)) == {"a"}


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """Run a broker that has the same port each time it is started."""
    broker = EmbeddedKafka(tmp_path / "kafka", free_port())
    broker.start()
    yield broker
    broker.kill()


async def test_feed_goes_on_after_its_broker_was_killed_and_started_again(
    own_broker: EmbeddedKafka,
) -> None:
    settings = KafkaSettings(bootstrap_servers=own_broker.bootstrap)
    feed = CatalogueFeed(settings, SPACE, DIM)
    async with publisher(settings) as publish:
        await publish([put("before")])
    async with at_work(feed.run()):
        await feed.caught_up()
        own_broker.kill()
        await asyncio.sleep(1)
        assert feed.catalogue.row("before") >= 0, "what is held is served all the while"
        await asyncio.to_thread(own_broker.start)
        async with asyncio.timeout(60):
            async with publisher(settings) as publish:
                await publish([put("after")])
            await feed.caught_up()
        assert set(contents(feed.catalogue)) == {"before", "after"}


async def test_consumer_that_returns_nothing_while_there_is_something_is_replaced(
    settings: KafkaSettings, publish: Publish
) -> None:
    await publish([put(f"item-{n}") for n in range(20)])
    made = 0
    taken: list[ConsumerRecord] = []

    def make(topic: str) -> AIOKafkaConsumer:
        nonlocal made
        made += 1
        consumer = kafka_edge.consumer(settings, topic)
        if made == 1:  # as aiokafka's may be after a broker's restart: no error, no record

            async def nothing(timeout_ms: int, max_records: int) -> dict[object, object]:
                await asyncio.sleep(timeout_ms / 1000)
                return {}

            consumer.getmany = nothing
        return consumer

    reader = TopicReader(make, TOPIC.name, check_s=0.3)
    async with at_work(reader.run(taken.extend)):
        async with asyncio.timeout(20):
            await reader.caught_up()
    assert (made, reader.replaced, len(taken)) == (2, 1, 20)


async def test_partitions_that_are_added_are_read_too_and_the_others_not_again(
    settings: KafkaSettings, publish: Publish
) -> None:
    await publish([put(f"item-{n}") for n in range(20)])
    taken: list[ConsumerRecord] = []
    reader = TopicReader(
        lambda topic: kafka_edge.consumer(settings, topic, metadata_max_age_ms=500),
        TOPIC.name,
    )
    async with at_work(reader.run(taken.extend)):
        await reader.caught_up()
        client = await kafka_edge.admin(settings)
        try:
            await client.create_partitions({TOPIC.name: NewPartitions(total_count=8)})
        finally:
            await client.close()
        async with publisher(settings) as publish_to_all:
            await publish_to_all([put(f"more-{n}") for n in range(50)])
        wanted = {f"more-{n}".encode() for n in range(50)}
        await eventually(lambda: wanted <= {record.key for record in taken}, within_s=15)
        await eventually(lambda: len(reader.positions) == 8, within_s=5)
    places = [(record.partition, record.offset) for record in taken]
    assert len(places) == len(set(places)) == 70
    assert reader.replaced == 0


async def test_topic_that_ends_with_a_gap_is_caught_up_with(
    settings: KafkaSettings, publish: Publish
) -> None:
    producer = kafka_edge.producer(settings, transactional_id="gap")
    await producer.start()
    try:
        async with producer.transaction():  # its commit takes an offset and is no record
            for n in range(10):
                await producer.send(TOPIC.name, key=f"item-{n}".encode(), value=None)
    finally:
        await producer.stop()
    taken: list[ConsumerRecord] = []
    reader = TopicReader(lambda topic: kafka_edge.consumer(settings, topic), TOPIC.name)
    async with at_work(reader.run(taken.extend)), asyncio.timeout(10):
        await reader.caught_up()
    assert len(taken) == 10
    assert sum(reader.positions.values()) > 10
