from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from freshet import kafka_clients
from freshet.kafka_clients import KafkaSettings
from freshet.producer import Entry, RenewedProducer
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.process import free_port

pytestmark = pytest.mark.integration


async def test_after_an_outage_the_next_record_is_written(tmp_path: Path) -> None:
    broker = EmbeddedKafka(tmp_path, free_port())
    settings = KafkaSettings(bootstrap_servers=broker.start())
    quick = {"request_timeout_ms": 1_000, "retry_backoff_ms": 50}
    producer = RenewedProducer(partial(kafka_clients.producer, settings, **quick))
    try:
        first = await producer.send_and_wait("clicks", key=b"a", value=b"1", headers=[])
        assert first.offset == 0
        broker.kill()
        with pytest.raises(KafkaError):
            await producer.send_and_wait("clicks", key=b"a", value=b"2", headers=[])
        with pytest.raises(KafkaError):  # a new producer, and still no broker
            await producer.send_all("clicks", [Entry(b"a", b"3", [])])
        broker.start()
        await producer.send_all("clicks", [Entry(b"a", b"4", []), Entry(b"a", b"5", [])])
        last = await producer.send_and_wait("clicks", key=b"a", value=b"6", headers=[])
        assert last.offset >= 3
    finally:
        await producer.stop()
        broker.kill()
