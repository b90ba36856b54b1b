"""Two shops share one Kafka and one Redis by prefixes, and do not see each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from freshet import Client, kafka_clients
from freshet.contract.events import Event
from freshet.contract.items import Item
from freshet.contract.users import User
from freshet.errors import FreshetError
from freshet.kafka_clients import KafkaSettings
from freshet.publisher import Publisher
from services.cli.up.kafka import EmbeddedKafka
from services.cli.up.process import free_port
from shared.kafka.records import ends_of
from tests.servers import Service, eventually

pytestmark = pytest.mark.integration

SHOPS = ("shoes.", "hats.")
SERVICES = ("embedding", "sessions", "ranking")
VISITOR = "ada"  # of both


@pytest.mark.timeout(180)
async def test_two_shops_on_one_kafka_and_one_redis_do_not_see_each_other(
    fresh_kafka: EmbeddedKafka, valkey: str, start_service: Callable[..., Service]
) -> None:
    kafka = fresh_kafka.bootstrap  # one where no other test has left a group
    ports = {shop: free_port() for shop in SHOPS}
    running = [
        start_service(
            name,
            {
                "FRESHET_TOPIC_PREFIX": shop,
                "KAFKA_BOOTSTRAP_SERVERS": kafka,
                "REDIS_URL": valkey,
                "FRESHET_EMBEDDING_PORT": "0",
                "FRESHET_RANKING_PORT": str(ports[shop]),
            },
        )
        for shop in SHOPS
        for name in SERVICES
    ]
    await asyncio.gather(*(service.ready(within_s=150) for service in running))

    for shop in SHOPS:
        async with Publisher(kafka, topic_prefix=shop) as publisher:
            for number in (1, 2):
                await publisher.item(Item(item_id=f"{shop}{number}", title=f"one of the {shop}"))
            await publisher.user(User(user_id=VISITOR, segments=(shop,)))
            click = Event(user_id=VISITOR, item_id=f"{shop}1", type="click")
            published = await publisher.many([click])
            assert published.positions  # known for the shop's own clicks

        async with Client(f"127.0.0.1:{ports[shop]}") as client:

            async def listed(client: Client, after: str) -> list[str]:
                try:
                    shown = await client.recommend(VISITOR, after=after)
                except FreshetError:
                    return []
                return [item.item_id for item in shown]

            async def the_other_alone(
                client: Client = client, shop: str = shop, after: str = published.positions[0]
            ) -> bool:
                return await listed(client, after) == [f"{shop}2"]

            await eventually(the_other_alone, within_s=60, what=f"the list of {shop}")
            history = (await client.state(VISITOR)).history

            async def told(client: Client = client, shop: str = shop) -> bool:
                user = (await client.state(VISITOR)).user
                return user is not None and user.segments == (shop,)

            await eventually(told, what=f"what {shop} says of its visitor")
            assert [entry.item_id for entry in history] == [f"{shop}1"]

    admin = await kafka_clients.admin(KafkaSettings(bootstrap_servers=kafka))
    try:
        topics = {name for name in await admin.list_topics() if not name.startswith("__")}
        groups = {name for name, *_ in await admin.list_consumer_groups()}
    finally:
        await admin.close()
    assert all(name.startswith(SHOPS) for name in topics | groups)
    assert {
        f"{shop}{group}" for shop in SHOPS for group in ("sessions", "sessions-users")
    } <= groups
    both = [{name.removeprefix(shop) for name in topics if name.startswith(shop)} for shop in SHOPS]
    assert (
        both[0]
        == both[1]
        >= {*("clicks", "items", "offers", "users", "impressions", "dead-letters")}
    )
    async with Redis.from_url(valkey) as redis:
        names: list[Any] = await redis.keys()
        assert all(name.decode().startswith(SHOPS) for name in names)
        for kind in ("u", "ua"):
            assert {f"{shop}{kind}:{{{VISITOR}}}".encode() for shop in SHOPS} <= set(names)
    assert not await ends_of(KafkaSettings(bootstrap_servers=kafka), "clicks", "items")
