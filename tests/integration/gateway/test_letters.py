"""Dead letters as the page sees them: filtered, and published again as many as were confirmed."""

from __future__ import annotations

import pytest
from aiokafka import ConsumerRecord

from freshet import kafka_clients
from freshet.contract.records import BadRecord
from freshet.contract.topics import CLICKS, DEAD_LETTERS, OFFERS
from freshet.errors import Unavailable
from freshet.kafka_clients import KafkaSettings
from services.gateway.console.letters import DeadLetterDesk, LettersAsked, ReplayAsked
from services.gateway.http.refusals import HttpRefusal
from shared.kafka.records import records_of
from shared.runtime.dead_letters import DeadLetterWriter

pytestmark = pytest.mark.integration


@pytest.fixture
async def settings(kafka: str) -> KafkaSettings:
    return KafkaSettings(kafka)


async def bury(settings: KafkaSettings) -> None:
    """Write two letters of clicks, of two users, and one of offers."""
    await kafka_clients.ensure_topics(settings, (CLICKS, DEAD_LETTERS, OFFERS))
    async with kafka_clients.producer(settings) as producer:
        for offset, (service, topic, key) in enumerate(
            [("sessions", CLICKS, b"ada"), ("sessions", CLICKS, b"bob"), ("ranking", OFFERS, b"m")]
        ):
            record = ConsumerRecord(topic.name, 0, offset, 1, 0, key, b"x", None, 1, 1, ())
            await DeadLetterWriter(producer, service).send(record, BadRecord("undecodable", "no"))


async def test_what_the_filters_mean_is_published_again_once_and_the_rest_waits(
    settings: KafkaSettings,
) -> None:
    await bury(settings)
    desk = DeadLetterDesk(settings)

    ada = await desk.look(LettersAsked(topic=("clicks",), id=("ada",)))
    assert [(each.key, each.waits) for each in ada.letters] == [("ada", True)]
    assert (ada.total, ada.waiting) == (1, 1)
    assert (await desk.look(LettersAsked(error=("too-large",)))).total == 0
    assert (await desk.look(LettersAsked(until_ms=1))).total == 0

    done = await desk.replay(ReplayAsked(id=("ada",), confirmed=1))

    assert done.replayed == 1
    assert [r.key async for r in records_of(settings, CLICKS.name)] == [b"ada"]
    every = await desk.look(LettersAsked())
    assert {each.key: each.waits for each in every.letters} == {
        "ada": False,
        "bob": True,
        "m": True,
    }
    assert (every.total, every.waiting) == (3, 2)


async def test_another_number_than_was_confirmed_publishes_nothing(
    settings: KafkaSettings,
) -> None:
    await bury(settings)
    desk = DeadLetterDesk(settings)

    with pytest.raises(HttpRefusal, match="2 were confirmed, and 3 wait by now") as refusal:
        await desk.replay(ReplayAsked(confirmed=2))

    assert refusal.value.status == 409
    assert (await desk.look(LettersAsked())).waiting == 3


async def test_without_kafka_it_is_said_so() -> None:
    with pytest.raises(Unavailable, match="Kafka does not answer"):
        await DeadLetterDesk(KafkaSettings("127.0.0.1:1")).look(LettersAsked())
