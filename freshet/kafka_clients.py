"""Make Kafka clients: addresses and security, producers and consumers that lose nothing, topics.

Own producers wait for all replicas and are idempotent; own consumers start at the earliest record
and commit by hand.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.codec import has_lz4
from aiokafka.errors import TopicAlreadyExistsError, for_code

from freshet.access import PEM
from freshet.addresses import SERVERS
from freshet.contract.topics import DEAD_LETTER_MAX_BYTES, MESSAGE_MAX_BYTES, Topic
from freshet.settings import setting


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
        "FRESHET_KAFKA_REPLICATION_FACTOR", 1, at_least=1, at_most=9, help="of topics made here"
    )

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
    """Return a started admin client; the caller closes it."""
    client = AIOKafkaAdminClient(**settings.client_options())
    await client.start()
    return client


async def cluster_id(settings: KafkaSettings) -> str:
    """Return the id of the cluster, by which a log is told from another."""
    client = await admin(settings)
    try:
        described = await client.describe_cluster()
    finally:
        await client.close()
    return str(described["cluster_id"])


async def ensure_topics(settings: KafkaSettings, topics: Iterable[Topic]) -> None:
    """Create the topics that are missing; ones that exist stay as they are."""
    client = await admin(settings)
    try:
        new = [
            NewTopic(topic.name, topic.partitions, settings.replication_factor, None, topic.config)
            for topic in topics
        ]
        reply = await client.create_topics(new)
        for name, code, *_ in reply.topic_errors:
            error = for_code(code)
            if code != 0 and error is not TopicAlreadyExistsError:
                raise error(f"topic {name} cannot be created")
    finally:
        await client.close()
