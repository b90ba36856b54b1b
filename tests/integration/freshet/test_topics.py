"""Topics are looked at, not assumed: what is set up by chance is refused, with what mends it."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable

import pytest
from aiokafka.admin import NewTopic

from freshet import kafka_clients
from freshet.contract.items import Item
from freshet.contract.topics import CLICKS, DEAD_LETTERS, IMPRESSIONS, ITEMS, OFFERS, USERS, Topic
from freshet.kafka_clients import KafkaSettings, UnfitTopics, ensure_topics
from freshet.publisher import Publisher
from tests.servers import Service, eventually, run_kafka_tool

pytestmark = pytest.mark.integration


async def create(kafka: str, topic: Topic, **config: str) -> None:
    """Create a topic as somebody else would, with these configs alone, and wait until it shows."""
    client = await kafka_clients.admin(KafkaSettings(bootstrap_servers=kafka))

    async def shown() -> bool:
        return topic.name in await client.list_topics()

    try:
        named = {name.replace("_", "."): value for name, value in config.items()}
        await client.create_topics([NewTopic(topic.name, 1, 1, None, named)])
        await eventually(shown, what=f"topic {topic.name}")
    finally:
        await client.close()


async def partitions(kafka: str, name: str) -> int:
    """Count a topic's partitions, once it shows."""
    client = await kafka_clients.admin(KafkaSettings(bootstrap_servers=kafka))

    async def counted() -> int:
        described = [t for t in await client.describe_topics() if t["topic"] == name]
        return sum(len(topic["partitions"]) for topic in described)

    try:
        count = await eventually(counted, what=f"topic {name}")
        assert isinstance(count, int)
        return count
    finally:
        await client.close()


async def test_items_of_auto_creation_are_refused_until_the_command_has_mended_them(
    kafka: str,
) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka)
    async with Publisher(kafka) as publisher:  # before any service: Kafka makes the topic
        await publisher.item(Item(item_id="mug", title="Blue mug"))

    with pytest.raises(UnfitTopics) as refusal:
        await ensure_topics(settings, [ITEMS, OFFERS])

    said = str(refusal.value)
    assert said.startswith(
        "topic items: cleanup.policy is delete, must be compact,"
        " delete.retention.ms is 86400000, must be at least 604800000,"
        " message.timestamp.type is CreateTime, must be LogAppendTime;"
    )
    assert "offers" not in said  # was missing, and is there now
    program, *arguments = shlex.split(said.partition("this mends it: ")[2])
    assert program == "kafka-configs.sh"
    run_kafka_tool("kafka.admin.ConfigCommand", *arguments)
    await ensure_topics(settings, [ITEMS, OFFERS])


@pytest.mark.parametrize(
    ("topic", "config", "said"),
    [
        (CLICKS, {"cleanup_policy": "compact"}, "cleanup.policy is compact, must be delete"),
        (CLICKS, {"retention_ms": "3600000"}, "retention.ms is 3600000, must be at least 60480"),
        (CLICKS, {}, "message.timestamp.type is CreateTime, must be LogAppendTime"),
        (ITEMS, {"cleanup_policy": "compact,delete"}, "is compact,delete, must be compact"),
        (ITEMS, {"max_message_bytes": "1048588"}, "is 1048588, must be at least 8388608"),
        (IMPRESSIONS, {"cleanup_policy": "compact"}, "is compact, must be delete"),
        (DEAD_LETTERS, {"unclean_leader_election_enable": "true"}, "is true, must be false"),
    ],
)
async def test_config_that_breaks_a_promise_is_refused_by_name(
    kafka: str, topic: Topic, config: dict[str, str], said: str
) -> None:
    await create(kafka, topic, **config)
    with pytest.raises(UnfitTopics) as refusal:
        await ensure_topics(KafkaSettings(bootstrap_servers=kafka), [topic])
    assert said in str(refusal.value)
    assert f"--entity-name {topic.name} --add-config " in str(refusal.value)


async def test_events_may_be_kept_for_ever_and_dead_letters_shorter_than_advised(
    kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    await create(kafka, CLICKS, retention_ms="-1", message_timestamp_type="LogAppendTime")
    await create(kafka, DEAD_LETTERS, retention_ms="3600000", max_message_bytes="1048588")
    settings = KafkaSettings(bootstrap_servers=kafka, replication_factor=2)
    with caplog.at_level(logging.WARNING, "freshet.kafka_clients"):
        await ensure_topics(settings, [CLICKS, DEAD_LETTERS])
    letters, *factors = caplog.messages[1:], caplog.messages[0]
    assert "topic clicks has a replication factor of 1, not of 2" in factors[0]
    assert "topic dead-letters: retention.ms is 3600000, must be at least 2592000000" in letters[0]
    assert "kafka-configs.sh --bootstrap-server" in letters[0]


async def test_topics_are_made_with_the_partitions_that_settings_say(kafka: str) -> None:
    settings = KafkaSettings(bootstrap_servers=kafka, clicks_partitions=6, items_partitions=3)
    await ensure_topics(settings, [CLICKS, ITEMS, OFFERS, USERS, DEAD_LETTERS])
    wanted = {"clicks": 6, "items": 3, "offers": 3, "users": 3, "dead-letters": 1}
    assert {name: await partitions(kafka, name) for name in wanted} == wanted
    await ensure_topics(settings, [CLICKS, ITEMS, OFFERS, USERS, DEAD_LETTERS])  # as it made them


async def test_service_ends_with_two_and_the_command_where_a_topic_is_unfit(
    kafka: str, valkey: str, start_service: Callable[..., Service]
) -> None:
    await create(kafka, CLICKS)
    service = start_service("sessions", {"KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": valkey})
    assert await eventually(lambda: service.process.poll() is not None, what="its end")
    assert service.process.poll() == 2
    said = service.process.log_tail(10)
    assert "topic clicks: message.timestamp.type is CreateTime, must be LogAppendTime" in said
    assert "--entity-name clicks --add-config message.timestamp.type=LogAppendTime" in said
