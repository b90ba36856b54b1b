"""One of three brokers is killed and comes back while events flow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract import topics
from freshet.kafka_clients import KafkaSettings
from services.cli.up.kafka import EmbeddedKafka, new_cluster_id
from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from tests.proofs.sessions import harness
from tests.proofs.sessions.test_kills import assert_everything_counts_once
from tests.servers import Service

pytestmark = pytest.mark.proof

DURABLE = {
    "default.replication.factor": "3",
    "offsets.topic.replication.factor": "3",
    "min.insync.replicas": "2",
}


def brokers(folder: Path, count: int) -> list[EmbeddedKafka]:
    """Return the brokers of one cluster, each with its own controller; none is started."""
    cluster_id = new_cluster_id()
    ports = [(free_port(), free_port()) for _ in range(count)]
    voters = ",".join(f"{n}@127.0.0.1:{port}" for n, (_, port) in enumerate(ports, start=1))
    made = []
    for number, (port, controller) in enumerate(ports, start=1):
        listeners = f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"
        own = {"node.id": str(number), "listeners": listeners, "controller.quorum.voters": voters}
        settings = DURABLE | own
        at = folder / f"broker-{number}"
        made.append(EmbeddedKafka(at, port, settings=settings, cluster_id=cluster_id))
    return made


@pytest.fixture
def three_brokers(tmp_path: Path) -> Iterator[Sequence[EmbeddedKafka]]:
    """Run a cluster of three: a broker answers once it has found the others."""
    cluster = brokers(tmp_path, 3)
    try:
        with ThreadPoolExecutor(len(cluster)) as pool:
            list(pool.map(EmbeddedKafka.start, cluster))
        yield cluster
    finally:
        for broker in cluster:
            broker.kill()


@pytest.mark.timeout(240)
async def test_one_of_three_brokers_killed_and_brought_back_costs_nothing(
    three_brokers: Sequence[EmbeddedKafka],
    store: EmbeddedValkey,
    redis: Redis,
    start_service: Callable[..., Service],
) -> None:
    bootstrap = ",".join(broker.bootstrap for broker in three_brokers)
    settings = KafkaSettings(bootstrap_servers=bootstrap, replication_factor=3)
    made = [topics.CLICKS, topics.DEAD_LETTERS, topics.item_vectors(harness.SPACE)]
    await kafka_clients.ensure_topics(settings, made)
    await harness.publish_items(bootstrap, harness.ITEMS)
    one = await start_service("sessions", harness.environ(bootstrap, store.url)).ready()
    async with harness.flowing(
        bootstrap, list(harness.shopping(10_000, users=300)), per_second=400
    ):
        for broker in three_brokers[:2]:
            await asyncio.sleep(3)
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(5)
            await asyncio.to_thread(broker.start)
    await assert_everything_counts_once(bootstrap, redis, within_s=90)
    assert one.process.poll() is None  # it went on by itself
