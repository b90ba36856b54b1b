from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.cli.up.process import free_port
from services.cli.up.valkey import EmbeddedValkey
from tests.conftest import REDIS_PROGRAM
from tests.proofs.sessions import harness
from tests.servers import Service


@pytest.fixture
async def log(kafka: str) -> str:
    """Return a broker whose topics are made and whose items are published."""
    await harness.publish_items(kafka, harness.ITEMS)
    return kafka


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """Run a Redis server of the test's own, which starts again on the same port."""
    server = EmbeddedValkey(tmp_path / "redis", free_port(), program=REDIS_PROGRAM)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def redis(store: EmbeddedValkey) -> AsyncIterator[Redis]:
    client = Redis.from_url(store.url)
    yield client
    await client.aclose()


@pytest.fixture
def worker(
    log: str, store: EmbeddedValkey, start_service: Callable[..., Service]
) -> Callable[..., Service]:
    """Return a function that starts workers of one group: `worker(FRESHET_INSTANCE_ID="a")`."""
    environ = harness.environ(log, store.url)

    def start(**more: str) -> Service:
        return start_service("sessions", environ | more)

    return start
