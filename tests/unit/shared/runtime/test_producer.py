"""A producer that goes on until the broker has the record."""

from __future__ import annotations

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, OutOfOrderSequenceNumber

from freshet.contract.records import TOO_LARGE, BadRecord
from services.embedding import producer as sturdy
from services.embedding.producer import SturdyProducer


class Fake:
    """An aiokafka producer that fails as it is told."""

    def __init__(self, fails: list[Exception], start_fails: list[Exception]) -> None:
        self.fails, self.start_fails = fails, start_fails
        self.sent: list[str] = []
        self.running = False

    async def start(self) -> None:
        if self.start_fails:
            raise self.start_fails.pop(0)
        self.running = True

    async def stop(self) -> None:
        self.running = False

    async def send_and_wait(self, topic: str, **record: object) -> str:
        if self.fails:
            raise self.fails.pop(0)
        self.sent.append(topic)
        return "written"


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
    monkeypatch.setattr(sturdy, "FIRST_WAIT_S", 0.0)


async def test_producer_that_broke_is_replaced_and_the_record_sent() -> None:
    broker = Broker([OutOfOrderSequenceNumber()])
    producer = SturdyProducer(broker.make)
    await producer.start()
    assert await producer.send_and_wait("items") == "written"
    assert [made.running for made in broker.made] == [False, True]
    assert broker.made[1].sent == ["items"]


async def test_kafka_that_is_away_is_waited_for() -> None:
    broker = Broker([KafkaConnectionError()] * 2)
    producer = SturdyProducer(broker.make)
    await producer.start()
    broker.start_fails += [KafkaConnectionError()] * 2
    await producer.send_and_wait("items")
    assert sum(made.running for made in broker.made) == 1


async def test_record_that_is_too_large_is_refused_at_once() -> None:
    broker = Broker([MessageSizeTooLargeError("9 MiB")])
    producer = SturdyProducer(broker.make)
    await producer.start()
    with pytest.raises(BadRecord, match="too large for items") as refused:
        await producer.send_and_wait("items")
    assert refused.value.error_class == TOO_LARGE
    assert len(broker.made) == 1


async def test_start_that_fails_leaves_no_producer_running() -> None:
    broker = Broker([], [KafkaConnectionError()])
    producer = SturdyProducer(broker.make)
    with pytest.raises(KafkaConnectionError):
        await producer.start()
    await producer.stop()
    assert not any(made.running for made in broker.made)
