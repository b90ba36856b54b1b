"""Read the newest dead letters: which record, where it stood, why nobody could process it."""

from __future__ import annotations

from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from freshet.contract import records
from freshet.contract.topics import DEAD_LETTERS
from freshet.kafka_clients import KafkaSettings
from shared.kafka.records import ends_of, records_of

SHOWN: Final = 50


class LetterShown(msgspec.Struct, frozen=True):
    """A record that could not be processed, and why."""

    origin: str  # topic:partition:offset
    key: str
    service: str
    error_class: str
    error: str
    failed_ms: int


async def newest(settings: KafkaSettings) -> tuple[LetterShown, ...]:
    """Return the newest dead letters, the newest first. Raises KafkaError."""
    ends = await ends_of(settings, DEAD_LETTERS.name)
    begin = {tp: max(0, end - SHOWN) for tp, end in ends.items()}
    found = [_shown(each) async for each in records_of(settings, DEAD_LETTERS.name, begin=begin)]
    return tuple(sorted(found, key=lambda letter: -letter.failed_ms)[:SHOWN])


def _shown(record: ConsumerRecord) -> LetterShown:
    def of(name: str) -> str:
        return (records.header(record.headers, name) or b"").decode(errors="replace")

    failed_ms = of(records.FAILED_MS)
    return LetterShown(
        origin=of(records.ORIGIN),
        key=of(records.ORIGIN_KEY),
        service=of(records.SERVICE),
        error_class=of(records.ERROR_CLASS),
        error=of(records.ERROR_TEXT),
        failed_ms=int(failed_ms) if failed_ms.isdigit() else record.timestamp,
    )
