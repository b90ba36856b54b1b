"""Every tenth record is poison."""

from __future__ import annotations

import random

import pytest
from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract import records
from freshet.contract.topics import CLICKS, DEAD_LETTERS
from freshet.kafka_clients import KafkaSettings
from tests.proofs.sessions import harness
from tests.proofs.sessions.test_kills import Start, assert_everything_counts_once

pytestmark = pytest.mark.proof

POISON: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
    (b"u1", b"", []),
    (b"u1", None, []),
    (b"u1", b"\xff\xfe\x00", []),
    (b"u1", b'{"user_id":"u1"}', []),
    (b"u1", b'{"user_id":"u1","item_id":"item-1","type":"click","value":1e999}', []),
    (b"u1", b'{"user_id":"u1","item_id":"item-1","type":"click","time_ms":-1}', []),
    (b"u1", b'{"user_id":"' + b"u" * 200 + b'","item_id":"item-1","type":"click"}', []),
    (b"u2", b'{"user_id":"u1","item_id":"item-1","type":"click"}', []),
    (b"u1", b"[" * 5_000, []),
    (b"u1", b"\x0a\xff", [(records.CONTENT_TYPE, records.PROTOBUF.encode())]),
    (b"u1", b"{}", [(records.CONTENT_TYPE, b"application/xml")]),
]


async def test_a_tenth_of_poison_is_all_in_dead_letters_and_nothing_else_is(
    log: str, redis: Redis, worker: Start
) -> None:
    one = await worker().ready()
    rng = random.Random(10)
    producer = kafka_clients.producer(KafkaSettings(bootstrap_servers=log), linger_ms=20)
    await producer.start()
    sent = []
    for number, event in enumerate(harness.shopping(5_000, users=100)):
        if number % 10 == 0:
            key, value, headers = rng.choice(POISON)
            partition = rng.randrange(CLICKS.partitions)
            sent.append(
                await producer.send(
                    CLICKS.name, key=key, value=value, headers=headers, partition=partition
                )
            )
        await producer.send(CLICKS.name, key=event.key, value=event.value)
    await producer.flush()
    await producer.stop()
    stood = [await where for where in sent]

    await assert_everything_counts_once(log, redis)
    (letters,) = (await harness.read_topic(log, DEAD_LETTERS.name)).values()
    origins = [records.origin_of(letter) for letter in letters]
    assert sorted((o.topic, o.partition, o.offset, o.time_ms) for o in origins) == sorted(
        (w.topic, w.partition, w.offset, w.timestamp) for w in stood
    )
    assert one.process.poll() is None
    assert "gent" not in one.process.log_tail(10_000)  # Faust tells of each agent that it restarts
    assert one.status()["dead_letters"] == 500
