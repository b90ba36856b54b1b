"""One system for all end-to-end tests, with a small shop in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from random import Random

import pytest

from freshet.channel import open_stub
from freshet.contract.items import Item
from freshet.publisher import Publisher
from freshet.v1.recommender_pb2 import RecommendRequest
from services.cli.up.valkey import EmbeddedValkey
from tests.conftest import REDIS_PROGRAM
from tests.e2e.shop import Visitor, stock
from tests.e2e.system import Up
from tests.servers import eventually

PER_STYLE = 3


@pytest.fixture(scope="session")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the environment that names another Redis server, empty where none is asked for."""
    if REDIS_PROGRAM is None:
        yield {}
        return
    server = EmbeddedValkey(tmp_path_factory.mktemp("redis"), program=REDIS_PROGRAM)
    yield {"REDIS_URL": server.start()}
    server.stop()


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory, own_redis: dict[str, str]) -> Iterator[Up]:
    """Run the whole system."""
    with Up(tmp_path_factory.mktemp("größe a,b"), own_redis) as system:
        system.start()
        yield system
        assert system.stop() == 0, system.log()


@pytest.fixture(scope="session")
def shop(up: Up) -> list[Item]:
    """Fill the system with a shop: a few kinds of things in every style; all can be recommended."""
    sold = stock(PER_STYLE)
    asyncio.run(publish(up, sold))
    return sold


async def publish(up: Up, sold: list[Item]) -> None:
    """Publish items and wait until all can be recommended."""
    assert up.running is not None
    channel, stub = open_stub(up.running.addresses.ranking)
    wanted = RecommendRequest(user_id="probe", k=500, candidates=[item.item_id for item in sold])
    async with channel, Publisher(up.kafka, linger_ms=20) as publisher:
        await asyncio.gather(*(publisher.item(item) for item in sold))

        async def served() -> bool:
            reply = await stub.Recommend(wanted, timeout=5.0)
            return len(reply.items) == len(sold)

        await eventually(served, within_s=60, what="the whole shop")


@pytest.fixture
async def publisher(up: Up, shop: list[Item]) -> AsyncIterator[Publisher]:
    """Return a publisher to the running system."""
    async with Publisher(up.kafka) as made:
        yield made


@pytest.fixture
async def visitor(up: Up, publisher: Publisher) -> AsyncIterator[Visitor]:
    """Return a user whom nobody has seen before."""
    assert up.running is not None
    channel, stub = open_stub(up.running.addresses.ranking)
    async with channel:
        yield Visitor(f"visitor-{Random().getrandbits(48):x}", publisher, stub)
