"""Nothing is lost, and nothing old comes back: kills, pauses, restarts, days of absence."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from freshet.contract import topics
from freshet.contract.items import Item
from freshet.contract.records import VERSION, header
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from tests.integration.embedding.shop import Shop, open_shop, picture
from tests.servers import Service, eventually

pytestmark = [pytest.mark.proof, pytest.mark.timeout(300)]

Start = Callable[..., Service]
DAY_MS = 86_400_000


@pytest.fixture
def addresses(kafka: str, valkey: str) -> dict[str, str]:
    """Return what each service of a test is started with."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": valkey,
        "FRESHET_EMBEDDING_PORT": "0",
    }


@pytest.fixture
async def shop(kafka: str, space: str) -> AsyncIterator[Shop]:
    async with open_shop(kafka, space) as opened:
        yield opened


async def all_have_vectors(shop: Shop, ids: set[str], within_s: float = 90.0) -> None:
    async def done() -> bool:
        found = await shop.vectors()
        return all(found.vector(item_id) is not None for item_id in ids)

    await eventually(done, within_s=within_s, what=f"vectors of {len(ids)} items")


async def test_picture_that_was_missing_before_a_sigkill_comes_after_it(
    start_service: Start, addresses: dict[str, str], shop: Shop, tmp_path: Path
) -> None:
    """The log itself says which pictures are missing."""
    environ = addresses | {"FRESHET_IMAGE_ROOTS": f"file://{tmp_path}"}
    service = await start_service("embedding", environ).ready()
    item = Item(item_id="late", title="Red chair", image_uri=f"file://{tmp_path}/late.jpg")
    await shop.publish(item)
    assert (await shop.has_vector("late")).picture_missing
    service.kill()
    (tmp_path / "late.jpg").write_bytes(picture())
    await start_service("embedding", environ).ready()

    async def came() -> bool:
        found = (await shop.vectors()).vector("late")
        return found is not None and not found.picture_missing and bool(found.image_vector.size)

    await eventually(came, within_s=60, what="the picture")


async def test_sigkill_at_random_instants_loses_nothing(
    start_service: Start, addresses: dict[str, str], shop: Shop
) -> None:
    """Items, new versions and deletes flow while the service is killed again and again."""
    instants = random.Random(11)
    service = await start_service("embedding", addresses).ready()
    living, dead = {}, set()
    for turn in range(5):
        for number in range(40):
            item_id = f"{turn}-{number}"
            topic = instants.choice((topics.ITEMS.name, topics.ITEMS_BACKFILL.name))
            item = Item(item_id=item_id, title="First", image_bytes=picture(number))
            await shop.publish(item, topic)
            living[item_id] = "First"
            if number % 3 == 0:
                await shop.publish(Item(item_id=item_id, title="Second"))
                living[item_id] = "Second"
            if number % 7 == 0:
                await shop.delete(item_id)
                living.pop(item_id)
                dead.add(item_id)
        await asyncio.sleep(instants.uniform(0, 0.7))
        service.kill()
        service = await start_service("embedding", addresses).ready()
    await all_have_vectors(shop, set(living))

    async def settled() -> bool:
        found = await shop.vectors()
        titles = {i: v.item.title for i in living if (v := found.vector(i)) is not None}
        gone = {i for i in dead if i in found.last and found.last[i].value is None}
        return titles == living and gone == dead

    await eventually(settled, within_s=30, what="the last versions of all items")
    assert await shop.read(topics.DEAD_LETTERS.name) is not None
    assert (await shop.read(topics.DEAD_LETTERS.name)).records == []


async def test_restart_encodes_nothing_again(
    start_service: Start, addresses: dict[str, str], shop: Shop
) -> None:
    service = await start_service("embedding", addresses).ready()
    ids = {str(number) for number in range(20)}
    for item_id in ids:
        await shop.publish(Item(item_id=item_id, title=f"Item {item_id}"))
    await all_have_vectors(shop, ids)
    assert service.stop() == 0
    written = len((await shop.vectors()).records)
    service = await start_service("embedding", addresses).ready()
    await shop.publish(Item(item_id="next", title="Next"))
    await shop.has_vector("next")
    await eventually(lambda: service.status()["encoded"] != 0, what="the count of the next item")
    assert service.status()["encoded"] == 1
    assert len((await shop.vectors()).records) == written + 1


async def test_sigterm_while_items_flow_ends_in_time_and_loses_nothing(
    start_service: Start, addresses: dict[str, str], shop: Shop
) -> None:
    service = await start_service("embedding", addresses).ready()
    ids = {str(number) for number in range(150)}
    for item_id in ids:
        await shop.publish(Item(item_id=item_id, image_bytes=picture(int(item_id), side=500)))
    began_s = time.monotonic()
    assert await asyncio.to_thread(service.stop) == 0
    assert time.monotonic() - began_s < 15
    await start_service("embedding", addresses).ready()
    await all_have_vectors(shop, ids)


async def test_sigterm_ends_in_time_while_kafka_hangs(
    start_service: Start, fresh_kafka: EmbeddedKafka, valkey: str, space: str
) -> None:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": fresh_kafka.bootstrap,
        "REDIS_URL": valkey,
        "FRESHET_EMBEDDING_PORT": "0",
    }
    service = await start_service("embedding", environ).ready()
    async with open_shop(fresh_kafka.bootstrap, space) as shop:
        await shop.publish(Item(item_id="a", title="A"))
        await shop.has_vector("a")
        await shop.publish(Item(item_id="b", image_bytes=picture()))
        os.kill(fresh_kafka.pid, signal.SIGSTOP)
        try:
            began_s = time.monotonic()
            await asyncio.to_thread(service.stop)
            assert time.monotonic() - began_s < 15
        finally:
            os.kill(fresh_kafka.pid, signal.SIGCONT)
        await start_service("embedding", environ).ready()
        await shop.has_vector("b", within_s=60)


async def test_two_instances_share_and_the_other_takes_over(
    start_service: Start, addresses: dict[str, str], shop: Shop
) -> None:
    first = await start_service("embedding", addresses).ready()
    second = await start_service("embedding", addresses).ready()

    def has_half(service: Service) -> bool:
        lag = service.status().get("lag")
        return isinstance(lag, dict) and len(lag) == 2

    await eventually(lambda: has_half(first) and has_half(second), within_s=40)
    for number in range(40):
        await shop.publish(Item(item_id=str(number), title=f"Item {number}"))
    await all_have_vectors(shop, {str(number) for number in range(40)})

    def both_took_part() -> bool:
        return first.status()["encoded"] != 0 and second.status()["encoded"] != 0

    await eventually(both_took_part, what="items encoded by both")
    second.kill()
    for number in range(40, 80):
        await shop.publish(Item(item_id=str(number), title=f"Item {number}"))
    await all_have_vectors(shop, {str(number) for number in range(80)})


async def test_instance_paused_past_its_session_brings_nothing_old_back(
    start_service: Start, addresses: dict[str, str], shop: Shop
) -> None:
    paused = await start_service("embedding", addresses).ready()
    for number in range(60):
        await shop.publish(Item(item_id=str(number), image_bytes=picture(number, side=800)))
    await shop.has_vector("0")
    paused.pause()
    other = await start_service("embedding", addresses).ready()
    for number in range(60):
        if number % 2:
            await shop.publish(Item(item_id=str(number), title="Newer"))
        else:
            await shop.delete(str(number))

    async def settled() -> bool:
        found = await shop.vectors()
        for number in range(60):
            last = found.last.get(str(number))
            vector = found.vector(str(number))
            if last is None or (vector is not None) != bool(number % 2):
                return False
            if vector is not None and vector.item.title != "Newer":
                return False
        return True

    await eventually(settled, within_s=60, what="the newer versions")
    paused.resume()
    await asyncio.sleep(3)  # it may do now what it had begun
    await eventually(settled, within_s=20, what="the newer versions, still")
    found = await shop.vectors()
    for number in range(60):
        versions = [int(header(it.headers, VERSION) or 0) for it in found.of(str(number))]
        assert versions[-1] == max(versions)
    assert other.status()["live"] is True


async def test_kafka_restarted_and_redis_gone_lose_nothing(
    start_service: Start, fresh_valkey: EmbeddedValkey, tmp_path: Path, space: str
) -> None:
    broker = EmbeddedKafka(tmp_path / "kafka", free_port())  # the same port after a restart
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": broker.start(),
        "REDIS_URL": fresh_valkey.url,
        "FRESHET_EMBEDDING_PORT": "0",
    }
    try:
        service = await start_service("embedding", environ).ready()
        async with open_shop(broker.bootstrap, space) as shop:
            await shop.publish(Item(item_id="before", title="Before"))
            await shop.has_vector("before")
            fresh_valkey.kill()
            await shop.publish(Item(item_id="without redis", title="Without"))
            await shop.has_vector("without redis")
        broker.kill()
        await asyncio.sleep(3)
        broker.start()
        async with open_shop(broker.bootstrap, space) as shop:
            await shop.publish(Item(item_id="after", title="After"))
            await shop.has_vector("after", within_s=60)
        assert service.process.poll() is None
    finally:
        broker.kill()


async def test_delete_missed_during_days_of_absence_is_found(
    start_service: Start, addresses: dict[str, str], shop: Shop, kafka: str, space: str
) -> None:
    service = await start_service("embedding", addresses).ready()
    for item_id in ("forgotten", "kept", "backfilled"):
        topic = "items-backfill" if item_id == "backfilled" else "items"
        await shop.publish(Item(item_id=item_id, title=item_id), topic)
    await all_have_vectors(shop, {"forgotten", "kept", "backfilled"})
    assert service.stop() == 0
    # As if the delete had come and gone from the log: nothing of the item is left on `items`.
    await cut_log(kafka, topics.ITEMS)
    await shop.publish(Item(item_id="kept", title="kept"))
    await age_group(kafka, topics.embedding_group(space), days=7)
    await start_service("embedding", addresses).ready()
    await shop.is_gone("forgotten")
    found = await shop.vectors()
    assert found.vector("kept") is not None
    assert found.vector("backfilled") is not None


async def test_absence_of_five_days_deletes_nothing(
    start_service: Start, addresses: dict[str, str], shop: Shop, kafka: str, space: str
) -> None:
    service = await start_service("embedding", addresses).ready()
    await shop.publish(Item(item_id="kept", title="kept"))
    await shop.has_vector("kept")
    assert service.stop() == 0
    await cut_log(kafka, topics.ITEMS)
    await age_group(kafka, topics.embedding_group(space), days=5)
    await start_service("embedding", addresses).ready()
    await shop.publish(Item(item_id="next", title="next"))
    await shop.has_vector("next")
    await asyncio.sleep(2)
    assert (await shop.vectors()).vector("kept") is not None


async def cut_log(bootstrap: str, topic: topics.Topic) -> None:
    """Remove all records of a topic, up to where it ends now."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        usual = topic.config_at(replicas=1)
        both = {**usual, "cleanup.policy": "compact,delete"}
        kind, name = ConfigResourceType.TOPIC, topic.name
        await client.alter_configs([ConfigResource(kind, name, both)])  # else Kafka cuts no log
        tps = [TopicPartition(name, number) for number in range(2)]
        await client.delete_records({tp: RecordsToDelete(before_offset=-1) for tp in tps})
        await client.alter_configs([ConfigResource(kind, name, usual)])
    finally:
        await client.close()


async def age_group(bootstrap: str, group_id: str, days: float) -> None:
    """Let a group's commits say that reading ended so many days ago."""
    complete_ms = str(int(time.time() * 1000 - days * DAY_MS))
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group_id, enable_auto_commit=False
    )
    await consumer.start()
    try:
        tps = [
            TopicPartition(topic, number)
            for topic in ("items", "items-backfill")
            for number in range(2)
        ]
        consumer.assign(tps)
        commits = {}
        for tp in tps:
            offset = await consumer.committed(tp)
            assert offset is not None
            commits[tp] = (offset, complete_ms)
        await consumer.commit(commits)
    finally:
        await consumer.stop()


async def test_full_disk_for_snapshots_keeps_the_service_going(
    start_service: Start, addresses: dict[str, str], shop: Shop, tmp_path: Path
) -> None:
    folder = tmp_path / "unwritable"
    folder.write_text("a file where a folder should be")
    environ = addresses | {
        "FRESHET_SNAPSHOTS": str(folder),
        "FRESHET_SNAPSHOT_FRESH_AT_LEAST": "1",
    }
    service = await start_service("embedding", environ).ready()
    await shop.publish(Item(item_id="a", title="A"))

    def failed() -> bool:
        snapshot = service.status().get("snapshot")
        return isinstance(snapshot, dict) and "failure" in snapshot

    await eventually(failed, within_s=40, what="a failure in the status")
    await shop.publish(Item(item_id="b", title="B"))
    await shop.has_vector("b")
