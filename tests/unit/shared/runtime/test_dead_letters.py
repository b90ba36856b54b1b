from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError

from freshet.contract import records
from freshet.contract.records import UNDECODABLE, BadRecord
from freshet.producer import TOO_LARGE_ERRORS, RenewedProducer
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


@pytest.mark.parametrize("too_large", TOO_LARGE_ERRORS)
async def test_where_the_topic_takes_less_the_letter_is_cut_and_says_so(
    too_large: type[Exception],
) -> None:
    producer = Producer(too_large())
    own = [("source", b"shop.csv:17"), ("trace", b"t" * 2_000_000), ("value-bytes", b"7")]
    record = Record(7, b"\xff" * 1_048_000, b"k" * 9_999, own)
    await DeadLetterWriter(producer, "sessions").send(record, ERROR)
    ((key, value, headers),) = producer.sent
    assert (key, value) == (b"clicks:0:7", None)
    assert dict(headers) | {"failed-ms": b"0"} == {
        "source": b"shop.csv:17",
        "origin": b"clicks:0:7",
        "origin-time-ms": b"%d" % record.timestamp,
        "origin-key": b"k" * 1024,
        "value-bytes": b"1048000",
        "value-sha256": sha256(b"\xff" * 1_048_000).hexdigest().encode(),
        "error-class": b"undecodable",
        "error-text": b"not an event (cut: dead-letters does not take its 1048000 bytes)",
        "service": b"sessions",
        "failed-ms": b"0",
    }


async def test_a_topic_that_takes_no_letter_at_all_holds_nothing_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    producer = Producer(MessageSizeTooLargeError("9 MiB"), MessageSizeTooLargeError("9 MiB"))
    await DeadLetterWriter(producer, "sessions").send_until_written(RECORD, ERROR)
    assert producer.sent == []
    assert "clicks:0:7" in caplog.text


async def test_the_origin_is_where_the_record_was_read_whatever_its_headers_say() -> None:
    producer = Producer()
    forged = [("origin", b"items:0:1"), ("origin-time-ms", b"1"), ("origin-key", b"lamp")]
    await DeadLetterWriter(producer, "sessions").send(Record(7, b"\xff", None, forged), ERROR)
    ((key, _, headers),) = producer.sent
    assert key == b"clicks:0:7"
    topic, replayed_key, _ = records.replay_of(headers)
    assert (topic, replayed_key) == ("clicks", None)


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
