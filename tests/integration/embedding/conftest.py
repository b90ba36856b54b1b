"""A running embedding service and a shop that feeds it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests import servers
from tests.integration.embedding.shop import Shop, open_shop


@pytest.fixture(scope="session")
def space() -> str:
    """Return the space of the day-zero bundle."""
    manifest = servers.ROOT / "deploy" / "models" / "day-zero" / "manifest.json"
    return str(json.loads(Path(manifest).read_bytes())["space"])


@pytest.fixture
def addresses(kafka: str, valkey: str) -> dict[str, str]:
    """Return the environment that a service needs."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": valkey,
        "FRESHET_EMBEDDING_PORT": "0",
    }


@pytest.fixture
async def embedding(
    start_service: Callable[..., servers.Service], addresses: dict[str, str]
) -> servers.Service:
    """Return a running embedding service."""
    return await start_service("embedding", addresses).ready()


@pytest.fixture
async def shop(embedding: servers.Service, kafka: str, space: str) -> AsyncIterator[Shop]:
    """Return the shop, once the service has made the topics."""
    async with open_shop(kafka, space) as opened:
        yield opened
