"""Measure how far each service is behind, by Kafka and Redis themselves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from redis.asyncio import Redis

from freshet import Client, kafka_clients
from freshet.contract.topics import CLICKS, ITEMS, ITEMS_BACKFILL, USERS, embedding_group
from freshet.kafka_clients import KafkaSettings
from shared.kafka.records import Offsets, ends_of, next_records
from shared.users import keys, positions

ASK_AGAIN_S: Final = 0.25
SERVED_WITHIN_S: Final = 180.0  # without one item more, on the slowest machine we mean to run on
ASKED_AT_ONCE: Final = 500

Lags = dict[str, int]  # records not applied yet, by topic


async def sessions_lag(settings: KafkaSettings, redis: Redis, cluster_id: str) -> Lags:
    """Return how much of each topic is not in Redis yet; markers behind the last are none."""
    ends = await ends_of(settings, CLICKS.name, USERS.name)
    clicks = {tp: end for tp, end in ends.items() if tp.topic == CLICKS.name}
    users = {tp: end for tp, end in ends.items() if tp.topic == USERS.name}
    done = await _folded(redis, clicks) | await _standing(redis, cluster_id, users)
    following = await next_records(settings, done, ends)
    behind = dict.fromkeys((CLICKS.name, USERS.name), 0)
    for tp, offset in following.items():
        behind[tp.topic] += ends[tp] - offset
    return behind


async def embedding_lag(settings: KafkaSettings, space: str) -> Lags:
    """Return how many items, by topic, are not encoded and published yet."""
    ends = await ends_of(settings, ITEMS.name, ITEMS_BACKFILL.name)
    done = await _encoded(settings, space, ends)
    behind = dict.fromkeys((ITEMS.name, ITEMS_BACKFILL.name), 0)
    for tp, end in ends.items():
        behind[tp.topic] += max(0, end - done[tp])
    return behind


async def active_space(redis: Redis) -> str | None:
    """Return the space that is served, None before embedding has said so."""
    value = await redis.get(keys.ACTIVE_BUNDLE)
    return str(json.loads(value)["space"]) if value else None


async def until_encoded(
    settings: KafkaSettings, redis: Redis, last: Offsets, progress: Callable[[int], None]
) -> None:
    """Wait until every item up to these offsets is encoded; `progress` hears how many are not.

    Before a space is active none is.
    """

    async def done() -> Offsets:
        space = await active_space(redis)
        return {} if space is None else await _encoded(settings, space, last)

    await _until(done, last, progress)


async def until_folded(redis: Redis, last: Offsets, progress: Callable[[int], None]) -> None:
    """Wait until every event up to these offsets is in Redis; `progress` hears how many are not."""
    await _until(lambda: _folded(redis, last), last, progress)


async def until_standing(
    redis: Redis, cluster_id: str, last: Offsets, progress: Callable[[int], None]
) -> None:
    """Wait until all that is said of users up to these offsets is in Redis.

    progress: hears how many records are not.
    """
    await _until(lambda: _standing(redis, cluster_id, last), last, progress)


async def until_served(
    client: Client, item_ids: Sequence[str], progress: Callable[[int], None]
) -> None:
    """Return once every item is a candidate; `progress` hears how many are.

    Raises TimeoutError where that does not go on.
    """
    for start in range(0, len(item_ids), ASKED_AT_ONCE):
        part, before = item_ids[start : start + ASKED_AT_ONCE], -1
        deadline = time.monotonic() + SERVED_WITHIN_S
        while True:
            served = len(
                await client.recommend("probe", k=500, candidates=part, diversity=0.0, timeout=5.0)
            )
            progress(start + served)
            if served == len(part):
                break
            if served > before:
                before, deadline = served, time.monotonic() + SERVED_WITHIN_S
            if time.monotonic() > deadline:
                raise TimeoutError(f"{start + served} of {len(item_ids)} items can be recommended")
            await asyncio.sleep(ASK_AGAIN_S)


async def _until(
    done: Callable[[], Awaitable[Offsets]], last: Offsets, progress: Callable[[int], None]
) -> None:
    while True:
        reached = await done()
        behind = sum(max(0, offset + 1 - reached.get(tp, 0)) for tp, offset in last.items())
        progress(behind)
        if behind == 0:
            return
        await asyncio.sleep(ASK_AGAIN_S)


async def _folded(redis: Redis, partitions: Offsets) -> Offsets:
    """Return the offset after the last event in Redis of each partition."""
    return await _applied(redis, {tp: keys.position(tp.topic, tp.partition) for tp in partitions})


async def _standing(redis: Redis, cluster_id: str, partitions: Offsets) -> Offsets:
    """Return the offset after the last record of users in Redis of each partition."""
    return await _applied(
        redis, {tp: keys.users_read(cluster_id, tp.partition) for tp in partitions}
    )


async def _applied(redis: Redis, names: Mapping[TopicPartition, bytes]) -> Offsets:
    values = {tp: await redis.get(name) for tp, name in names.items()}
    return {
        tp: positions.unpack(value).offset + 1 if isinstance(value, bytes) else 0
        for tp, value in values.items()
    }


async def _encoded(settings: KafkaSettings, space: str, partitions: Offsets) -> Offsets:
    """Return the offset after the last item of each partition up to which all are encoded."""
    client = await kafka_clients.admin(settings)
    try:
        committed = await client.list_consumer_group_offsets(embedding_group(space))
    except GroupCoordinatorNotAvailableError:  # a new broker has none before its first group
        committed = {}
    finally:
        await client.close()
    return {tp: max(committed[tp].offset, 0) if tp in committed else 0 for tp in partitions}
