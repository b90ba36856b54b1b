"""What a service may do with topics: no more than it needs, and it says what it may not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from freshet.contract.topics import CLICKS, ITEMS, OFFERS
from freshet.kafka_clients import KafkaSettings, ensure_topics
from freshet.settings import from_environment
from tests.integration.secured import SecuredKafka, make_authority

pytestmark = pytest.mark.integration


@pytest.fixture
def guarded_kafka(tmp_path: Path) -> Iterator[SecuredKafka]:
    """Run a broker that lets its user do only what it is allowed."""
    broker = SecuredKafka(tmp_path / "kafka", make_authority(tmp_path), with_rights=True)
    broker.start()
    yield broker
    broker.kill()


async def test_no_right_to_create_is_needed_where_topics_exist_nor_one_to_read_configs(
    guarded_kafka: SecuredKafka, caplog: pytest.LogCaptureFixture
) -> None:
    await ensure_topics(KafkaSettings(bootstrap_servers=guarded_kafka.plain), [CLICKS, ITEMS])
    settings = from_environment(KafkaSettings, guarded_kafka.environ())
    for topic in (CLICKS, ITEMS):
        guarded_kafka.allow("Describe", "--topic", topic.name)
    guarded_kafka.allow("DescribeConfigs", "--topic", CLICKS.name)

    with caplog.at_level(logging.WARNING, "freshet.kafka_clients"):
        await ensure_topics(settings, [CLICKS, ITEMS])
    assert caplog.messages == [
        "how topic items is set up is not known: the right DESCRIBE_CONFIGS is missing"
    ]

    with pytest.raises(TopicAuthorizationFailedError, match="topic offers cannot be created"):
        await ensure_topics(settings, [CLICKS, OFFERS])
