"""What was streamed can be learnt from: the topics, replayed, are a dataset."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from freshet import kafka_clients
from freshet.contract.events import Event, encode_event
from freshet.contract.items import Item, encode_item
from freshet.contract.topics import CLICKS, FIXED, ITEMS, ITEMS_BACKFILL, USERS, Topic
from freshet.contract.users import User, encode_user
from freshet.kafka_clients import KafkaSettings, ensure_topics
from services.training.data.events.topics import read_topics
from shared.inputs.refusals import BadInput
from tests.servers import ROOT

pytestmark = pytest.mark.integration

AT_MS = 1_700_000_000_000


@pytest.fixture
async def settings(kafka: str) -> KafkaSettings:
    found = KafkaSettings(bootstrap_servers=kafka)
    await ensure_topics(found, FIXED)
    return found


async def publish(
    settings: KafkaSettings, topic: Topic, *records: tuple[str, bytes | None]
) -> None:
    producer: AIOKafkaProducer = await kafka_clients.started(kafka_clients.producer(settings))
    for key, value in records:
        await producer.send_and_wait(topic.name, value, key=key.encode())
    await producer.stop()


def event(user: str, item: str, type: str = "click", **more: object) -> tuple[str, bytes]:
    fields = {"time_ms": AT_MS} | more
    return user, encode_event(Event(user_id=user, item_id=item, type=type, **fields))  # type: ignore[arg-type]


async def test_what_was_chosen_is_a_dataset_with_what_is_said_of_items_and_users(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    await publish(
        settings,
        CLICKS,
        event("ann", "forgotten"),
        event("ann", "", "forget"),
        event("ann", "hat", time_ms=AT_MS + 9_000),
        event("ann", "shoe", time_ms=AT_MS),
        event("bob", "hat", event_id="once"),
        event("bob", "hat", event_id="once"),
        event("bob", "sock", "dislike"),
        ("bob", b"no event"),
        ("bob", encode_event(Event(user_id="bob", item_id="shoe", type="purchase"))),
    )
    old = Item(item_id="hat", title="Old hat", updated_ms=AT_MS)
    await publish(settings, ITEMS_BACKFILL, ("hat", encode_item(old)))
    hat = Item(item_id="hat", title="Hat", image_bytes=b"\xff\xd8picture", updated_ms=AT_MS + 1)
    shoe = Item(item_id="shoe", title="Shoe")
    rare = Item(item_id="rare", title="Nobody chose it")
    items = [(item.item_id, encode_item(item)) for item in (hat, shoe, rare)]
    await publish(settings, ITEMS, *items, ("shoe", None))
    ann = User(user_id="ann", country="DE", attributes={"age": 31.0})
    await publish(settings, USERS, ("ann", encode_user(ann)), ("bob", None))

    data = await read_topics(settings, tmp_path / "pictures")

    chosen = {
        user: [data.item_ids[item] for item in data.events.of(row)]
        for row, user in enumerate(data.user_ids)
    }
    assert chosen == {"ann": ["shoe", "hat"], "bob": ["hat", "shoe"]}
    assert data.item_ids == ("hat", "shoe")
    assert data.events.times_s is not None  # that without a time happened when it was taken
    assert data.items.keys() == {"hat"}  # shoe was deleted
    assert data.items["hat"].title == "Hat"
    assert data.items["hat"].image_bytes is None
    assert data.pictures["hat"].read_bytes() == b"\xff\xd8picture"
    assert data.attributes == {"ann": {"country": "DE", "age": 31}}


async def test_topics_without_a_choice_are_refused(settings: KafkaSettings, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="clicks: must hold events that choose an item, has none"):
        await read_topics(settings, tmp_path)


async def test_a_model_is_trained_on_what_was_streamed(
    settings: KafkaSettings, tmp_path: Path
) -> None:
    chosen = [
        event(f"user-{user}", f"item-{item}", time_ms=AT_MS + item)
        for user in range(5)
        for item in range(user, user + 6)
    ]
    await publish(settings, CLICKS, *chosen)

    trained = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.cli", "train", "popularity", "--from-topics"),
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "FRESHET_TRAINING_PYTHON": sys.executable,
        },
        stdout=PIPE,
        stderr=PIPE,
    )
    said, errors = await trained.communicate()

    assert trained.returncode == 0, errors.decode()
    assert said.startswith(b"popularity: fitted in ")
    assert list((tmp_path / ".freshet/training/topics").glob("popularity-*/model.safetensors"))
