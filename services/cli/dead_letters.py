"""Read `dead-letters`, and publish the originals again."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

from freshet import kafka_clients
from freshet.contract.records import (
    ERROR_CLASS,
    ERROR_TEXT,
    FAILED_MS,
    ORIGIN,
    ORIGIN_TIME_MS,
    SERVICE,
    BadRecord,
    header,
    replay_of,
)
from freshet.contract.topics import DEAD_LETTERS
from freshet.kafka_clients import KafkaSettings
from services.cli.lag import ends_of

GROUP: Final = "freshet-dead-letters"  # its committed offsets: what was published again
PREVIEW_CHARACTERS: Final = 200


async def newest(settings: KafkaSettings, count: int) -> tuple[int, list[dict[str, Any]]]:
    """Return how many dead letters there are and the newest `count`, oldest first."""
    shown: deque[dict[str, Any]] = deque(maxlen=count)
    total = 0
    async for record in _read(settings, None):
        total += 1
        shown.append(_describe(record))
    return total, list(shown)


async def replay(settings: KafkaSettings) -> tuple[int, int]:
    """Publish every original that was not published again yet, with its origin in the headers.

    Returns how many were, and how many records could not be told for dead letters. Stopped
    half-way, it publishes a few twice: the events' origin keeps them from counting twice.
    """
    replayed = strange = 0
    async with kafka_clients.producer(settings) as producer:
        async for record in _read(settings, GROUP):
            try:
                topic, key, headers = replay_of(record.headers)
            except BadRecord:
                strange += 1
                continue
            await producer.send_and_wait(topic, record.value, key=key, headers=headers)
            replayed += 1
    return replayed, strange


async def _read(settings: KafkaSettings, group: str | None) -> AsyncIterator[Any]:
    """Yield all records up to the present end; a group goes on after what it committed."""
    ends = await ends_of(settings, DEAD_LETTERS.name)
    ends = {tp: end for tp, end in ends.items() if end > 0}
    if not ends:
        return
    consumer: AIOKafkaConsumer = kafka_clients.consumer(settings, group_id=group)
    consumer.assign(list(ends))
    try:
        await consumer.start()
        while unread := [tp for tp in ends if await consumer.position(tp) < ends[tp]]:
            batches = await consumer.getmany(*unread, timeout_ms=1000, max_records=500)
            for tp, records in batches.items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield record
                if group is not None and records:
                    await consumer.commit({tp: records[-1].offset + 1})
    finally:
        await consumer.stop()


def _describe(record: Any) -> dict[str, Any]:
    def text(name: str) -> str:
        return (header(record.headers, name) or b"").decode("utf-8", "replace")

    value = (record.value or b"").decode("utf-8", "replace")
    return {
        "origin": text(ORIGIN),
        "origin_time_ms": int(text(ORIGIN_TIME_MS) or 0),
        "failed_ms": int(text(FAILED_MS) or 0),
        "service": text(SERVICE),
        "error_class": text(ERROR_CLASS),
        "error": text(ERROR_TEXT),
        "bytes": len(record.value or b""),
        "value": value[:PREVIEW_CHARACTERS],
    }
