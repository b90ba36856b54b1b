"""One of three brokers is killed and comes back while events flow."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from freshet import kafka_clients
from freshet.contract import topics
from freshet.kafka_clients import KafkaSettings
from services.cli.up.valkey import EmbeddedValkey
from tests.proofs.sessions import harness
from tests.proofs.sessions.test_kills import assert_everything_counts_once
from tests.servers import Service, start_shared_kafka

pytestmark = [pytest.mark.proof, pytest.mark.shared]

Tool = Callable[..., str]


@pytest.fixture
def three_brokers(shared_folder: Path, tmp_path: Path) -> Iterator[Tool]:
    """Return a function that runs the cluster's tool: `three_brokers("kill", "--broker", "1")`."""

    tool, folder = shared_folder / "kafka" / "kafka", tmp_path / "cluster"

    def run(command: str, *arguments: str) -> str:
        if command == "start":
            return start_shared_kafka(tool, folder, *arguments)
        done = subprocess.run(
            [str(tool), command, str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    yield run
    run("kill")


@pytest.mark.timeout(240)
async def test_one_of_three_brokers_killed_and_brought_back_costs_nothing(
    three_brokers: Tool,
    store: EmbeddedValkey,
    redis: Redis,
    start_service: Callable[..., Service],
) -> None:
    durable = ("--brokers", "3", "--heap", "256m", "--set", "min.insync.replicas=2")
    bootstrap = await asyncio.to_thread(three_brokers, "start", *durable)
    settings = KafkaSettings(bootstrap_servers=bootstrap, replication_factor=3)
    made = [topics.CLICKS, topics.DEAD_LETTERS, topics.item_vectors(harness.SPACE)]
    await kafka_clients.ensure_topics(settings, made)
    await harness.publish_items(bootstrap, harness.ITEMS)
    one = await start_service("sessions", harness.environ(bootstrap, store.url)).ready()
    async with harness.flowing(
        bootstrap, list(harness.shopping(10_000, users=300)), per_second=400
    ):
        for broker in ("0", "1"):
            await asyncio.sleep(3)
            await asyncio.to_thread(three_brokers, "kill", "--broker", broker)
            await asyncio.sleep(5)
            await asyncio.to_thread(three_brokers, "restart", "--broker", broker)
    await assert_everything_counts_once(bootstrap, redis, within_s=90)
    assert one.process.poll() is None  # it went on by itself
