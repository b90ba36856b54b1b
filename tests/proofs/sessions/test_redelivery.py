"""Deliver the log again and in other pieces, to a real Redis, by the real writer."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from redis.asyncio import Redis

from freshet.contract.records import BadRecord
from freshet.contract.topics import CLICKS
from services.sessions.effect.store import StatesStore, WriteRefused
from services.sessions.effect.writer import EffectWriter
from services.sessions.faust.batches import Batch
from services.sessions.settings import SessionsSettings
from shared.users import keys
from shared.users.states import unpack
from tests.proofs.sessions import harness
from tests.unit.sessions.kit import MemoryDeadLetters
from tests.unit.sessions.kit import batch as batch_of

pytestmark = pytest.mark.proof

ITEMS = harness.catalogue()


class NoDeadLetters(MemoryDeadLetters):
    """Fails the test that writes a dead letter."""

    async def send(self, record: Any, error: BadRecord) -> None:
        raise AssertionError(f"{record} is rejected: {error}")


@pytest.fixture
async def states(redis: Redis) -> AsyncIterator[StatesStore]:
    made = StatesStore(redis, CLICKS.name)
    yield made
    await made.close()


async def writer(store: StatesStore, log: dict[int, list[ConsumerRecord]]) -> EffectWriter:
    """A writer that has just taken over all partitions."""
    made = EffectWriter(
        store, NoDeadLetters(), SessionsSettings(cache_users=1_000, slice_events=128)
    )
    for partition, value in (await store.positions(list(log))).items():
        made.take_over(partition, value, 0)
    return made


def cut(log: dict[int, list[ConsumerRecord]], rng: random.Random) -> list[Batch]:
    """Cut each partition anywhere, and shuffle the partitions' batches among each other."""
    waiting = {partition: list(records) for partition, records in log.items() if records}
    batches = []
    while waiting:
        partition = rng.choice(list(waiting))
        size = rng.choice((1, 2, 50, 400))
        records = waiting[partition]
        batches.append(batch_of(records[:size]))
        del records[:size]
        if not records:
            del waiting[partition]
    return batches


async def everything(redis: Redis) -> dict[bytes, Any]:
    """Return Redis to the byte, stamps too."""
    client: Any = redis
    return {key: await client.dump(key) for key in await client.keys()}


async def test_redelivering_any_suffix_leaves_redis_identical_to_the_byte(
    log: str, redis: Redis, states: StatesStore
) -> None:
    await harness.publish(log, harness.shopping(3_000, users=60))
    delivered = await harness.read_topic(log)
    worker = await writer(states, delivered)
    for batch in cut(delivered, random.Random(1)):
        await worker.apply(batch, ITEMS)
    before = await everything(redis)
    for seed in range(25):
        rng = random.Random(seed)
        suffix = {p: records[rng.randrange(len(records)) :] for p, records in delivered.items()}
        again = await writer(states, delivered) if seed % 2 else worker
        for batch in cut(suffix, rng):
            await again.apply(batch, ITEMS)
        assert await everything(redis) == before, f"after the redelivery of seed {seed}"


async def test_other_cuts_of_the_log_come_to_the_same(
    log: str, redis: Redis, states: StatesStore
) -> None:
    await harness.publish(log, harness.shopping(3_000, users=60))
    delivered = await harness.read_topic(log)
    wanted = await harness.plain_fold(log)
    for seed in range(12):
        await redis.flushdb()
        worker = await writer(states, delivered)
        for batch in cut(delivered, random.Random(seed)):
            await worker.apply(batch, ITEMS)
        harness.assert_same(await harness.content_of(redis), wanted)


async def test_a_users_events_on_two_partitions_are_each_counted_once(
    log: str, redis: Redis, states: StatesStore
) -> None:
    """Another producer's hash, or partitions that were added: two workers, one user, any order."""
    shopped = list(harness.shopping(600, users=20))
    await harness.publish(log, shopped[::2], partition=0)
    await harness.publish(log, shopped[1::2], partition=1)
    delivered = await harness.read_topic(log)
    left, right = await writer(states, delivered), await writer(states, delivered)
    for batch in cut(delivered, random.Random(3)):
        worker = left if batch.partition == 0 else right
        try:
            await worker.apply(batch, ITEMS)
        except WriteRefused:  # the other one has written this user since
            await worker.apply(batch, ITEMS)
    held, wanted = await harness.content_of(redis), await harness.plain_fold(log)
    at = {key: value for key, value in wanted.items() if key.startswith(b"pos:")}
    harness.assert_same({key: held[key] for key in at}, at)
    for key in (key for key in wanted if key.startswith(b"tr:")):
        # Which of the visits that repeat each other came first counts: seconds of six hours.
        assert held[key] == pytest.approx(wanted[key], abs=0.01)
    for user in {event.user for event in shopped}:
        mine, plain = (unpack(content[keys.user(user)]) for content in (held, wanted))
        assert mine.guard == plain.guard
        assert set(mine.guard) == {0, 1}
        fields = ["item", "seconds", "event_id", "value", "type"]
        assert sorted(mine.history[fields].tolist()) == sorted(plain.history[fields].tolist())
