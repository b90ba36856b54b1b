"""A replay gives the same figures by the running services and by the functions they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from freshet import Client, Publisher
from freshet.contract.events import Event
from freshet.kafka_clients import KafkaSettings
from services.cli.replay.online import Online
from services.cli.replay.replay import COVISITS, DAY_ZERO, replay
from services.ranking.service import RankingService
from services.ranking.settings import RankingSettings
from shared.clock import now_ms
from tests import servers
from tests.bench.offline import Offline
from tests.integration.ranking.world import world
from tests.unit.ranking.shop import KINDS, Shop

pytestmark = pytest.mark.integration

EACH = 30
USERS = 12
HOUR_MS = 3_600_000


def simulated(count: int, seed: int) -> list[Event]:
    """Return events of users who mostly stay with a kind of item, hours apart, until now."""
    rng = np.random.default_rng(seed)
    begin_ms = now_ms() - count * HOUR_MS
    events = []
    for number in range(count):
        user = int(rng.integers(USERS))
        kind = KINDS[(user + int(rng.random() < 0.2)) % len(KINDS)]
        item = int(rng.zipf(1.4)) % EACH
        events.append(
            Event(
                user_id=f"user-{user}",
                item_id=f"{kind}-{item}",
                type=str(rng.choice(["click", "like", "purchase"])),
                time_ms=begin_ms + number * HOUR_MS,
            )
        )
    return events


class Renewed(Online):
    """The services with a copy of trending that is of the moment, not of a second ago."""

    service: RankingService

    async def tell(self, events: Sequence[Event]) -> None:
        await super().tell(events)
        await self.service._trending.renew()


async def test_online_and_offline_give_the_same_figures(
    kafka: str, valkey: str, start_service: Callable[..., servers.Service]
) -> None:
    shop, events = Shop(each=EACH), simulated(240, seed=3)
    offline = Offline(shop.catalogue, RankingSettings(), now_ms)
    by_functions = await replay(events, len(shop.items), offline, every=2, seed=1)

    async with world(kafka, valkey, shop.items) as there:
        environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": valkey}
        await start_service("sessions", environ).ready()
        address = f"127.0.0.1:{there.service.grpc_port}"
        async with (
            Publisher(KafkaSettings(bootstrap_servers=kafka)) as publisher,
            Client(address) as client,
        ):
            online = Renewed(publisher, client, [DAY_ZERO, COVISITS])
            online.service = there.service
            by_services = await replay(events, len(shop.items), online, every=2, seed=1)

    assert by_services.asked == by_functions.asked, "the same lists, item by item"
    figures = by_services.result()
    assert set(figures) == {DAY_ZERO, COVISITS}
    assert figures[DAY_ZERO]["asked"] > 60
    assert figures[DAY_ZERO]["hr@10"] > 0.2
    assert figures[COVISITS]["hr@10"] > 0.1
