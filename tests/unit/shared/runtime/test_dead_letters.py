from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from freshet.contract import records
from freshet.contract.records import UNDECODABLE, BadRecord
from freshet.producer import RenewedProducer
from shared.runtime import dead_letters, metrics
from shared.runtime.dead_letters import DeadLetterWriter
from tests.unit.sessions.kit import Record

RECORD = Record(7, b"\xff", b"ann")
ERROR = BadRecord(UNDECODABLE, "not an event")


class Producer(RenewedProducer):
    """Keeps what is sent; fails as it is told, once each."""

    def __init__(self, *fails: Exception) -> None:
        self.fails = list(fails)
        self.sent: list[tuple[bytes, bytes | None, Sequence[tuple[str, bytes]]]] = []

    async def send_and_wait(
        self,
        topic: str,
        *,
        key: bytes,
        value: bytes | None,
        headers: Any = (),
        partition: Any = None,
    ) -> Any:
        if self.fails:
            raise self.fails.pop(0)
        self.sent.append((key, value, headers))


def counted() -> float:
    value: float = metrics.DEAD_LETTERS.labels("sessions", UNDECODABLE)._value.get()
    return value


def text_of(headers: Sequence[tuple[str, bytes]]) -> bytes | None:
    return records.header(headers, records.ERROR_TEXT)


async def test_a_letter_keeps_the_original_its_origin_and_why_and_is_counted() -> None:
    producer, before = Producer(), counted()
    writer = DeadLetterWriter(producer, "sessions")
    await writer.send(RECORD, ERROR)
    ((key, value, headers),) = producer.sent
    assert (key, value, text_of(headers)) == (b"clicks:0:7", b"\xff", b"not an event")
    assert (writer.sent, counted() - before) == (1, 1)


async def test_where_the_topic_takes_less_the_reason_is_kept_without_the_value() -> None:
    producer = Producer(MessageSizeTooLargeError("9 MiB"))
    await DeadLetterWriter(producer, "sessions").send(RECORD, ERROR)
    ((_, value, headers),) = producer.sent
    assert value is None
    assert text_of(headers) == b"not an event (its value was too large)"


async def test_a_letter_that_was_not_written_is_not_counted_and_is_sent_again_where_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letters, "RETRY_S", 0.0)
    producer, before = Producer(KafkaConnectionError(), ConnectionError()), counted()
    writer = DeadLetterWriter(producer, "sessions")
    with pytest.raises(KafkaConnectionError):
        await writer.send(RECORD, ERROR)
    assert (writer.sent, counted() - before) == (0, 0)
    await writer.send_until_written(RECORD, ERROR)
    assert (len(producer.sent), writer.sent, counted() - before) == (1, 1, 1)
