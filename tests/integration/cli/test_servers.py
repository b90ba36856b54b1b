"""The embedded Kafka and Valkey: data survive, ports change, nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from freshet.contract.topics import CLICKS
from freshet.kafka_clients import KafkaSettings, cluster_id, ensure_topics
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.process import StartFailed
from services.cli.up.valkey import EmbeddedValkey

pytestmark = pytest.mark.integration


async def _write(bootstrap: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(CLICKS.name, value, key=b"u", partition=0)


async def _read(bootstrap: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        CLICKS.name, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    )
    async with consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def test_records_and_cluster_id_survive_a_sigkill_and_other_ports(
    fresh_kafka: EmbeddedKafka,
) -> None:
    before = KafkaSettings(bootstrap_servers=fresh_kafka.bootstrap)
    await ensure_topics(before, [CLICKS])
    await _write(fresh_kafka.bootstrap, [b"one", b"two"])
    cluster = await cluster_id(before)

    fresh_kafka.kill()
    fresh_kafka.start()

    assert fresh_kafka.bootstrap != before.bootstrap_servers
    assert await cluster_id(KafkaSettings(bootstrap_servers=fresh_kafka.bootstrap)) == cluster
    await _write(fresh_kafka.bootstrap, [b"three"])
    assert await _read(fresh_kafka.bootstrap, 3) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("name", ["größe a,b", " a\\b", "100 % = #1 ?x", "店"])
async def test_records_stay_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    """Kafka splits its folders at commas, and Java takes this language's names for ASCII."""
    environ = {**os.environ, "LC_ALL": "POSIX"}
    broker = EmbeddedKafka(tmp_path / name, environ=environ)
    try:
        broker.start()
        await ensure_topics(KafkaSettings(bootstrap_servers=broker.bootstrap), [CLICKS])
        await _write(broker.bootstrap, [b"one"])
        assert await _read(broker.bootstrap, 1) == [b"one"]
    finally:
        broker.kill()

    assert os.listdir(tmp_path) == [name]
    assert "clicks-0" in os.listdir(tmp_path / name / "data")


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_each_test_finds_the_sessions_broker_without_topics(kafka: str, turn: str) -> None:
    await ensure_topics(KafkaSettings(bootstrap_servers=kafka), [CLICKS])
    await _write(kafka, [turn.encode()])

    assert await _read(kafka, 1) == [turn.encode()]


def test_valkey_keeps_what_it_acknowledged_before_a_clean_stop(
    fresh_valkey: EmbeddedValkey,
) -> None:
    with redis.Redis.from_url(fresh_valkey.url) as client:
        client.set("key", "value")

    fresh_valkey.stop()

    with redis.Redis.from_url(fresh_valkey.start()) as client:
        assert client.get("key") == b"value"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_servers_listen_on_loopback_only(
    kafka_broker: EmbeddedKafka, valkey_server: EmbeddedValkey
) -> None:
    for pid in (kafka_broker.pid, valkey_server.pid):
        listening = [
            link.laddr.ip
            for link in psutil.Process(pid).net_connections("tcp")
            if link.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


async def test_a_server_is_not_ready_by_anothers_answers(
    valkey_server: EmbeddedValkey, tmp_path: Path
) -> None:
    port = int(valkey_server.url.removesuffix("/0").rpartition(":")[2])
    latecomer = EmbeddedValkey(tmp_path, port=port)

    with pytest.raises(StartFailed, match="ended with exit code 1"):
        latecomer.start()
