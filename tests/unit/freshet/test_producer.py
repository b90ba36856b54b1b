"""A producer that is made anew, and one that goes on until the broker has the record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    RecordListTooLargeError,
)

from freshet import producer as renewed
from freshet.contract.records import TOO_LARGE, BadRecord
from freshet.producer import Entry, RenewedProducer
from tests.servers import eventually


class Fake:
    """An aiokafka producer that fails as it is told."""

    def __init__(self, fails: list[Exception], start_fails: list[Exception]) -> None:
        self.fails, self.start_fails = fails, start_fails
        self.sent: list[str] = []
        self.silent = False
        self.running = False

    async def start(self) -> None:
        if self.start_fails:
            raise self.start_fails.pop(0)
        self.running = True

    async def stop(self) -> None:
        self.running = False

    async def send(self, topic: str, value: object, **record: object) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        if self.fails:
            future.set_exception(self.fails.pop(0))
        elif not self.silent:
            self.sent.append(topic)
            future.set_result("written")
        return future


class Broker:
    """Makes producers that share what is to fail."""

    def __init__(self, fails: list[Exception], start_fails: list[Exception] | None = None) -> None:
        self.fails = fails
        self.start_fails = start_fails or []
        self.made: list[Fake] = []

    def make(self) -> Fake:
        self.made.append(Fake(self.fails, self.start_fails))
        return self.made[-1]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewed, "FIRST_WAIT_S", 0.0)


async def test_producer_that_broke_is_replaced_and_the_record_sent() -> None:
    broker = Broker([OutOfOrderSequenceNumber()])
    producer = RenewedProducer(broker.make)
    await producer.start()
    written: object = await producer.send_until_written("items", key=b"a", value=b"1")
    assert written == "written"
    await eventually(lambda: [made.running for made in broker.made] == [False, True])
    assert broker.made[1].sent == ["items"]


async def test_kafka_that_is_away_is_waited_for() -> None:
    broker = Broker([KafkaConnectionError()] * 2)
    producer = RenewedProducer(broker.make)
    await producer.start()
    broker.start_fails += [KafkaConnectionError()] * 2
    await producer.send_until_written("items", key=b"a", value=b"1")
    await eventually(lambda: sum(made.running for made in broker.made) == 1)


async def test_record_that_is_too_large_is_refused_at_once() -> None:
    broker = Broker([MessageSizeTooLargeError("9 MiB")])
    producer = RenewedProducer(broker.make)
    await producer.start()
    with pytest.raises(BadRecord, match="too large for items") as refused:
        await producer.send_until_written("items", key=b"a", value=b"1")
    assert refused.value.error_class == TOO_LARGE


async def test_a_producer_whose_record_a_broker_finds_too_large_is_replaced() -> None:
    """It used up a sequence number, so that what follows would be out of order."""
    broker = Broker([RecordListTooLargeError()])
    producer = RenewedProducer(broker.make)
    with pytest.raises(RecordListTooLargeError):
        await producer.send_and_wait("items", key=b"a", value=b"1")
    await eventually(lambda: not broker.made[0].running)
    await producer.send_and_wait("items", key=b"a", value=b"2")
    assert broker.made[1].sent == ["items"]


async def test_start_that_fails_leaves_no_producer_running() -> None:
    broker = Broker([], [KafkaConnectionError()])
    producer = RenewedProducer(broker.make)
    with pytest.raises(KafkaConnectionError):
        await producer.start()
    await producer.stop()
    assert not any(made.running for made in broker.made)


async def test_a_record_that_is_never_acknowledged_ends_and_takes_its_producer_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renewed, "ACKNOWLEDGED_WITHIN_S", 0.01)
    broker = Broker([])
    producer = RenewedProducer(broker.make)
    await producer.start()
    broker.made[0].silent = True
    with pytest.raises(KafkaConnectionError, match="no acknowledgement within"):
        await producer.send_and_wait("items", key=b"a", value=b"1")
    await producer.send_all("items", [Entry(b"a", b"2")])
    assert broker.made[1].sent == ["items"]


async def test_a_caller_who_waits_no_longer_leaves_the_producer_to_be_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(renewed, "ACKNOWLEDGED_WITHIN_S", 0.05)
    broker = Broker([])
    producer = RenewedProducer(broker.make)
    await producer.start()
    broker.made[0].silent = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await producer.send_and_wait("items", key=b"a", value=b"1")
    await eventually(lambda: not broker.made[0].running, what="the silent producer's end")
    await producer.send_and_wait("items", key=b"a", value=b"2")
    assert len(broker.made) == 2
