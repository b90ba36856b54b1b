"""A topic that others made takes less than a letter: nothing waits for that."""

from __future__ import annotations

import os
from functools import partial

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from freshet import kafka_clients
from freshet.contract import records
from freshet.contract.records import UNDECODABLE, BadRecord
from freshet.contract.topics import DEAD_LETTERS
from freshet.kafka_clients import KafkaSettings
from freshet.producer import RenewedProducer
from shared.kafka.records import records_of
from shared.runtime.dead_letters import DeadLetterWriter
from tests.unit.sessions.kit import Record

pytestmark = pytest.mark.integration


async def test_a_letter_that_the_topic_finds_too_large_is_cut_and_holds_nothing_up(
    kafka: str,
) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    config = {"max.message.bytes": str(1024 * 1024)}
    await admin.create_topics([NewTopic(DEAD_LETTERS.name, 1, 1, None, config)])
    await admin.close()
    settings = KafkaSettings(bootstrap_servers=kafka)
    producer = RenewedProducer(partial(kafka_clients.producer, settings))
    writer, error = DeadLetterWriter(producer, "sessions"), BadRecord(UNDECODABLE, "not an event")
    noise = os.urandom(1_048_500)  # which no compression makes smaller

    for offset, value in enumerate((b"before", noise, noise, b"after")):
        await writer.send(Record(offset, value, b"ann"), error)  # raises where it would wait
    await producer.stop()

    letters = [letter async for letter in records_of(settings, DEAD_LETTERS.name)]
    assert [letter.value for letter in letters] == [b"before", None, None, b"after"]
    sizes = [records.header(letter.headers, records.VALUE_BYTES) for letter in letters]
    assert sizes == [None, b"1048500", b"1048500", None]
