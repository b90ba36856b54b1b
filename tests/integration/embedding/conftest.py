"""A running embedding service, one for each module, and a shop that feeds it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.valkey import EmbeddedValkey
from tests import servers
from tests.integration.embedding.shop import Shop, open_shop


@pytest.fixture(scope="session")
def space() -> str:
    """Return the space of the day-zero bundle."""
    manifest = servers.ROOT / "deploy" / "models" / "day-zero" / "manifest.json"
    return str(json.loads(Path(manifest).read_bytes())["space"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the storage folder that image_uri may name."""
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def embedding(
    kafka_broker: EmbeddedKafka,
    valkey_server: EmbeddedValkey,
    pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.Service]:
    """Run an embedding service on empty servers, for all tests of a module."""
    asyncio.run(servers.delete_all_topics(kafka_broker.bootstrap))
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("embedding")
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_broker.bootstrap,
        "REDIS_URL": valkey_server.url,
        "FRESHET_EMBEDDING_PORT": "0",
        "FRESHET_SNAPSHOTS": str(folder / "snapshots"),
        "FRESHET_IMAGE_ROOTS": f"file://{pictures}",
    }
    service = servers.Service("embedding", environ, folder)
    asyncio.run(service.ready())
    yield service
    service.kill()


@pytest.fixture
async def shop(
    embedding: servers.Service, kafka_broker: EmbeddedKafka, space: str
) -> AsyncIterator[Shop]:
    """Return the shop, once the service has made the topics."""
    async with open_shop(kafka_broker.bootstrap, space) as opened:
        yield opened
