"""Make Kafka clients: addresses and security, producers and consumers that lose nothing, topics.

Own producers wait for all replicas and are idempotent; own consumers start at the earliest record
and commit by hand.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.codec import has_lz4
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from freshet.access import PEM
from freshet.addresses import SERVERS
from freshet.contract import topics
from freshet.contract.topics import DEAD_LETTER_MAX_BYTES, MESSAGE_MAX_BYTES, Misfit, Topic
from freshet.settings import BadSetting, setting

UNAUTHORIZED: Final = (ClusterAuthorizationFailedError, TopicAuthorizationFailedError)

log = logging.getLogger(__name__)


class UnfitTopics(BadSetting):
    """Topics are set up so that a promise breaks; the text says how, and what mends each."""


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where Kafka is and how to talk to it."""

    bootstrap_servers: str = setting(
        "KAFKA_BOOTSTRAP_SERVERS",
        "127.0.0.1:9092",
        form=SERVERS,
        help="host:port, comma separated",
    )
    security_protocol: str = setting(
        "FRESHET_KAFKA_SECURITY_PROTOCOL",
        "PLAINTEXT",
        one_of=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        help="how brokers are spoken to",
    )
    ca_file: str = setting(
        "FRESHET_KAFKA_CA_FILE", "", form=PEM, help="PEM; empty: the system's authorities"
    )
    cert_file: str = setting("FRESHET_KAFKA_CERT_FILE", "", form=PEM, help="PEM client certificate")
    key_file: str = setting(
        "FRESHET_KAFKA_KEY_FILE", "", form=PEM, help="PEM key of the client certificate"
    )
    sasl_mechanism: str = setting(
        "FRESHET_KAFKA_SASL_MECHANISM",
        "SCRAM-SHA-512",
        one_of=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
        help="how the password is proven",
    )
    sasl_username: str = setting("FRESHET_KAFKA_SASL_USERNAME", "", help="user")
    sasl_password: str = setting("FRESHET_KAFKA_SASL_PASSWORD", "", secret=True, help="password")
    replication_factor: int = setting(
        "FRESHET_KAFKA_REPLICATION_FACTOR",
        1,
        at_least=1,
        at_most=9,
        help="of topics made here; 3 or more: two must have what is acknowledged",
    )
    clicks_partitions: int = setting(
        "FRESHET_KAFKA_CLICKS_PARTITIONS",
        topics.CLICKS.partitions,
        at_least=1,
        at_most=1_000,
        help="of `clicks`, where it is made here: sessions' workers at most",
    )
    items_partitions: int = setting(
        "FRESHET_KAFKA_ITEMS_PARTITIONS",
        topics.ITEMS.partitions,
        at_least=1,
        at_most=1_000,
        help="of `items`, `items-backfill`, `offers` and `users`, where made here: embedding's"
        " instances",
    )

    def partitions_of(self, topic: Topic) -> int:
        """Return how many partitions a topic gets that is made here."""
        if topic == topics.CLICKS:
            return self.clicks_partitions
        as_items = (topics.ITEMS, topics.ITEMS_BACKFILL, topics.OFFERS, topics.USERS)
        return self.items_partitions if topic in as_items else topic.partitions

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS context, or None where the protocol needs none."""
        if "SSL" not in self.security_protocol:
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file or None)
        return context

    def client_options(self) -> dict[str, Any]:
        """Return the options that every aiokafka client takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": [part.strip() for part in self.bootstrap_servers.split(",")],
            "security_protocol": self.security_protocol,
            "ssl_context": self.ssl_context(),
        }
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options


def producer(settings: KafkaSettings, **overrides: Any) -> AIOKafkaProducer:
    """Return a producer (not started): acks=all, idempotent, up to a dead letter's size.

    Compressed by lz4; by gzip, which Python has, where a client is installed without it.
    """
    options = settings.client_options() | {
        "acks": "all",
        "enable_idempotence": True,
        "max_request_size": DEAD_LETTER_MAX_BYTES,
        "compression_type": "lz4" if has_lz4() else "gzip",
        "request_timeout_ms": 15_000,
    }
    return AIOKafkaProducer(**(options | overrides))


async def started(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    """Start a producer and return it; one that cannot be started is stopped. Raises KafkaError."""
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer


def consumer(settings: KafkaSettings, *topics: str, **overrides: Any) -> AIOKafkaConsumer:
    """Return a consumer (not started): earliest, manual commit, fetches bounded to 32 MiB."""
    options = settings.client_options() | {
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "max_partition_fetch_bytes": MESSAGE_MAX_BYTES + 1024 * 1024,
        "fetch_max_bytes": 32 * 1024 * 1024,
        "fetch_max_wait_ms": 100,
        "session_timeout_ms": 10_000,
        "heartbeat_interval_ms": 3_000,
    }
    return AIOKafkaConsumer(*topics, **(options | overrides))


async def admin(settings: KafkaSettings) -> AIOKafkaAdminClient:
    """Return a started admin client; the caller closes it. Raises KafkaError."""
    client = AIOKafkaAdminClient(**settings.client_options())
    try:
        await client.start()
    except BaseException:
        await client.close()
        raise
    return client


async def cluster_id(settings: KafkaSettings) -> str:
    """Return the id of the cluster, by which a log is told from another."""
    client = await admin(settings)
    try:
        described = await client.describe_cluster()
    finally:
        await client.close()
    return str(described["cluster_id"])


async def ensure_topics(settings: KafkaSettings, needed: Iterable[Topic]) -> None:
    """Create the topics that are missing, and look how those are set up that exist.

    Raises UnfitTopics where that breaks a promise, and KafkaError. No right to create is needed
    where all exist; where their configs may not be read, that is a warning.
    """
    client = await admin(settings)
    try:
        # All of them: to ask for one that is missing would let Kafka make it, set up by chance.
        described = await client.describe_topics()
        there = {topic["topic"]: topic["partitions"] for topic in described if topic["partitions"]}
        wanted = list(needed)
        existing = [topic for topic in wanted if topic.name in there]
        if missing := [topic for topic in wanted if topic.name not in there]:
            await _create(client, settings, missing)
        replicas = {topic.name: len(there[topic.name][0]["replicas"]) for topic in existing}
        configs = await _configs(client, existing)
    finally:
        await client.close()
    _refuse_misfits(settings, existing, configs, replicas)


async def _create(
    client: AIOKafkaAdminClient, settings: KafkaSettings, missing: list[Topic]
) -> None:
    replicas = settings.replication_factor
    new = [
        NewTopic(
            topic.name, settings.partitions_of(topic), replicas, None, topic.config_at(replicas)
        )
        for topic in missing
    ]
    reply = await client.create_topics(new)
    for name, code, *_ in reply.topic_errors:
        error = for_code(code)
        if code != 0 and error is not TopicAlreadyExistsError:
            raise error(f"topic {name} cannot be created")


async def _configs(client: AIOKafkaAdminClient, existing: list[Topic]) -> dict[str, dict[str, str]]:
    """Return each topic's config, none of those that may not be read, which are said."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in existing]
    configs = {}
    for reply in await client.describe_configs(asked):
        for code, _, _, name, entries in reply.resources:
            error = for_code(code)
            if error in UNAUTHORIZED:
                log.warning(
                    "how topic %s is set up is not known: the right DESCRIBE_CONFIGS is missing",
                    name,
                )
            elif code != 0:
                raise error(f"the config of topic {name} cannot be read")
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs


def _refuse_misfits(
    settings: KafkaSettings,
    existing: list[Topic],
    configs: Mapping[str, Mapping[str, str]],
    replicas: Mapping[str, int],
) -> None:
    """Say what is not set up as advised. Raises UnfitTopics for what breaks a promise."""
    breaking = []
    for topic in existing:
        misfits = topic.misfits(configs[topic.name], replicas[topic.name])
        said = (
            f"{', '.join(map(str, misfits))}; this mends it: {_mending(settings, topic, misfits)}"
        )
        if any(misfit.breaks for misfit in misfits):
            breaking.append(f"topic {topic.name}: {said}")
        elif misfits:
            log.warning("topic %s: %s", topic.name, said)
        if replicas[topic.name] < settings.replication_factor:
            log.warning(
                "topic %s has a replication factor of %d, not of %d as"
                " FRESHET_KAFKA_REPLICATION_FACTOR says: kafka-reassign-partitions.sh changes it",
                topic.name,
                replicas[topic.name],
                settings.replication_factor,
            )
    if breaking:
        raise UnfitTopics("\n".join(breaking))


def _mending(settings: KafkaSettings, topic: Topic, misfits: list[Misfit]) -> str:
    """Return the command that sets up a topic as it must be."""
    secured = "" if settings.security_protocol == "PLAINTEXT" else " --command-config FILE"
    configs = ",".join(f"{misfit.config}={misfit.needed}" for misfit in misfits)
    return (
        f"kafka-configs.sh --bootstrap-server {settings.bootstrap_servers}{secured} --alter"
        f" --entity-type topics --entity-name {topic.name} --add-config {configs}"
    )
