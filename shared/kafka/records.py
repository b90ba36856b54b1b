"""Read Kafka's topics as they stand: where they end, and their records up to there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from freshet import kafka_clients
from freshet.kafka_clients import KafkaSettings

Offsets = dict[TopicPartition, int]


async def ends_of(settings: KafkaSettings, *topics: str) -> Offsets:
    """Return the offset after the last record of every partition; none of a missing topic.

    Records of a transaction that is not ended yet do not count.
    """
    client = await kafka_clients.admin(settings)
    try:
        # All of them: to ask for one that is missing would let Kafka make it, set up by chance.
        described = [t for t in await client.describe_topics() if t["topic"] in topics]
    finally:
        await client.close()
    partitions = [
        TopicPartition(topic["topic"], partition["partition"])
        for topic in described
        for partition in topic["partitions"]
    ]
    if not partitions:
        return {}
    consumer = _consumer(settings)
    consumer.assign(partitions)
    try:
        await consumer.start()
        return dict(await consumer.end_offsets(partitions))
    finally:
        await consumer.stop()


async def records_of(
    settings: KafkaSettings,
    topic: str,
    *,
    begin: Mapping[TopicPartition, int] | None = None,
) -> AsyncIterator[Any]:
    """Yield a topic's records up to its present end.

    begin: offsets to begin at, else the first that the log holds.
    """
    begin = begin or {}
    ends = await ends_of(settings, topic)
    ends = {tp: end for tp, end in ends.items() if begin.get(tp, 0) < end}
    if not ends:
        return
    consumer = _consumer(settings)
    consumer.assign(list(ends))
    try:
        await consumer.start()
        for tp in ends.keys() & begin.keys():
            consumer.seek(tp, begin[tp])
        while unread := [tp for tp in ends if await consumer.position(tp) < ends[tp]]:
            batches = await consumer.getmany(*unread, timeout_ms=1000, max_records=500)
            for tp, records in batches.items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield record
    finally:
        await consumer.stop()


async def record_at(settings: KafkaSettings, topic: str, partition: int, offset: int) -> Any:
    """Return the record at an offset, None where the log does not hold it."""
    tp = TopicPartition(topic, partition)
    end = (await ends_of(settings, topic)).get(tp, 0)
    if offset >= end:
        return None
    consumer = _consumer(settings)
    consumer.assign([tp])
    try:
        await consumer.start()
        consumer.seek(tp, offset)
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=1000, max_records=1)).get(tp, ()):
                return record if record.offset == offset else None
        return None
    finally:
        await consumer.stop()


async def next_records(settings: KafkaSettings, begin: Offsets, ends: Offsets) -> Offsets:
    """Return the offset of each partition's first record from `begin` on, before its end.

    A partition on which nothing follows but a transaction's markers is left out.
    """
    found: Offsets = {}
    behind = [tp for tp, end in ends.items() if begin.get(tp, 0) < end]
    if not behind:
        return found
    consumer = _consumer(settings, max_partition_fetch_bytes=1)  # one batch each
    consumer.assign(behind)
    try:
        await consumer.start()
        for tp in behind:
            consumer.seek(tp, begin.get(tp, 0))
        while unread := [
            tp for tp in behind if tp not in found and await consumer.position(tp) < ends[tp]
        ]:
            for tp, records in (await consumer.getmany(*unread, timeout_ms=200)).items():
                found[tp] = records[0].offset
    finally:
        await consumer.stop()
    return {tp: offset for tp, offset in found.items() if offset < ends[tp]}


def _consumer(settings: KafkaSettings, **options: Any) -> AIOKafkaConsumer:
    return kafka_clients.consumer(settings, isolation_level="read_committed", **options)
