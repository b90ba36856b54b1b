"""Measure how far each service is behind, by Kafka and Redis themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract.topics import CLICKS, ITEMS, ITEMS_BACKFILL, embedding_group
from freshet.kafka_clients import KafkaSettings
from shared.users import keys, positions

ASK_AGAIN_S: Final = 0.25

Lags = dict[str, int]  # records not applied yet, by topic


async def ends_of(settings: KafkaSettings, *topics: str) -> dict[TopicPartition, int]:
    """Return the offset after the last record of every partition; none of a missing topic."""
    client = await kafka_clients.admin(settings)
    try:
        described = await client.describe_topics(list(topics))
    finally:
        await client.close()
    partitions = [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    ]
    if not partitions:
        return {}
    consumer = kafka_clients.consumer(settings)
    consumer.assign(partitions)
    try:
        await consumer.start()
        return dict(await consumer.end_offsets(partitions))
    finally:
        await consumer.stop()


async def sessions_lag(settings: KafkaSettings, redis: Redis) -> Lags:
    """Return how many events are not in Redis yet."""
    ends = await ends_of(settings, CLICKS.name)
    behind = 0
    for tp, end in ends.items():
        value = await redis.get(keys.position(tp.topic, tp.partition))
        applied = positions.unpack(value).offset if isinstance(value, bytes) else -1
        behind += max(0, end - 1 - applied)
    return {CLICKS.name: behind}


async def embedding_lag(settings: KafkaSettings, space: str) -> Lags:
    """Return how many items, by topic, are not encoded and published yet."""
    ends = await ends_of(settings, ITEMS.name, ITEMS_BACKFILL.name)
    client = await kafka_clients.admin(settings)
    try:
        committed = await client.list_consumer_group_offsets(embedding_group(space))
    except GroupCoordinatorNotAvailableError:  # a new broker has none before its first group
        committed = {}
    finally:
        await client.close()
    behind = dict.fromkeys((ITEMS.name, ITEMS_BACKFILL.name), 0)
    for tp, end in ends.items():
        done = committed[tp].offset if tp in committed else 0
        behind[tp.topic] += max(0, end - max(done, 0))
    return behind


async def active_space(redis: Redis) -> str | None:
    """Return the space that is served, None before embedding has said so."""
    value = await redis.get(keys.ACTIVE_BUNDLE)
    return str(json.loads(value)["space"]) if value else None


async def until_encoded(
    settings: KafkaSettings, redis: Redis, progress: Callable[[int], None]
) -> None:
    """Wait until every item is encoded; `progress` hears how many are not."""
    while True:
        space = await active_space(redis)
        if space is not None:
            behind = sum((await embedding_lag(settings, space)).values())
            progress(behind)
            if behind == 0:
                return
        await asyncio.sleep(ASK_AGAIN_S)


async def until_folded(
    settings: KafkaSettings, redis: Redis, progress: Callable[[int], None]
) -> None:
    """Wait until every event's effect is in Redis; `progress` hears how many are not."""
    while True:
        behind = sum((await sessions_lag(settings, redis)).values())
        progress(behind)
        if behind == 0:
            return
        await asyncio.sleep(ASK_AGAIN_S)
