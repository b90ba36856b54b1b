"""A replay gives the same figures by the running services and by the functions they are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from freshet import Client, Publisher, kafka_clients
from freshet.contract import topics
from freshet.contract.events import Event
from freshet.kafka_clients import KafkaSettings
from services.cli.replay.online import Online
from services.cli.replay.replay import COVISITS, DAY_ZERO, replay
from services.ranking.models.serving_models import ServingModels
from services.ranking.service import RankingService
from services.ranking.settings import RankingSettings
from shared.bundles.bundle import Bundle
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.item_vectors import ItemVector
from shared.clock import now_ms
from tests import servers
from tests.bench.offline import Offline
from tests.bundles import DAY_ZERO as DAY_ZERO_BUNDLE
from tests.integration.ranking.world import World, world
from tests.unit.ranking.shop import DIM, KINDS, TOWER_DIM, Shop
from tests.unit.shared.bundles.graphs import trained_bundle

pytestmark = pytest.mark.integration

TRAINED = "trained-1"
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


@asynccontextmanager
async def online(
    kafka: str,
    valkey: str,
    start_service: Callable[..., servers.Service],
    items: Sequence[ItemVector],
    bundle: Path = DAY_ZERO_BUNDLE,
) -> AsyncIterator[tuple[World, Renewed]]:
    """Run the services over these items; bundle: what serves once its space does."""
    async with world(kafka, valkey, items, FRESHET_BUNDLE=str(bundle)) as there:
        both = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": valkey}
        await start_service("sessions", both).ready()
        address = f"127.0.0.1:{there.service.grpc_port}"
        async with (
            Publisher(KafkaSettings(bootstrap_servers=kafka)) as publisher,
            Client(address) as client,
        ):
            system = Renewed(publisher, client, [DAY_ZERO, COVISITS])
            system.service = there.service
            yield there, system


async def test_online_and_offline_give_the_same_figures(
    kafka: str, valkey: str, start_service: Callable[..., servers.Service]
) -> None:
    shop, events = Shop(each=EACH), simulated(240, seed=3)
    offline = Offline(shop.catalogue, RankingSettings(), now_ms)
    by_functions = await replay(events, len(shop.items), offline, every=2, seed=1)

    async with online(kafka, valkey, start_service, shop.items) as (_, system):
        by_services = await replay(events, len(shop.items), system, every=2, seed=1)

    assert by_services.asked == by_functions.asked, "the same lists, item by item"
    figures = by_services.result()
    assert set(figures) == {DAY_ZERO, COVISITS}
    assert figures[DAY_ZERO]["asked"] > 60
    assert figures[DAY_ZERO]["hr@10"] > 0.2
    assert figures[COVISITS]["hr@10"] > 0.1


async def test_a_bundle_that_answers_from_half_time_on_gives_the_same_figures_too(
    kafka: str, valkey: str, start_service: Callable[..., servers.Service], tmp_path: Path
) -> None:
    shop, events = Shop(each=EACH), simulated(160, seed=4)
    # Of a bundle, ranking reads what serves lists: this one's session tower.
    bundle = tmp_path / "trained"
    trained_bundle(bundle, Bundle.load(DAY_ZERO_BUNDLE), space=TRAINED, t=TOWER_DIM)
    towered = [
        msgspec.structs.replace(item, space=TRAINED) for item in Shop(each=EACH, towers=True).items
    ]
    offline = Offline(shop.catalogue, RankingSettings(), now_ms)

    async def serve_trained() -> None:
        catalogue = Catalogue(TRAINED, DIM)
        catalogue.apply([Change(item.item_id, 1, item) for item in towered])
        offline.serve(catalogue, ServingModels.load(bundle))
        offline.served_as = TRAINED

    by_functions = await replay(events, len(shop.items), offline, every=2, at_half=serve_trained)

    async with online(kafka, valkey, start_service, shop.items, bundle) as (there, system):

        async def go_over() -> None:
            topic = topics.item_vectors(TRAINED)
            await kafka_clients.ensure_topics(there.kafka, [topic])
            await there.put(towered, topic=topic.name)
            await there.activate(TRAINED)

            async def over() -> bool:
                return await system.space() == TRAINED

            await servers.eventually(over, within_s=60, what="the trained space")
            system.served_as = TRAINED

        by_services = await replay(events, len(shop.items), system, every=2, at_half=go_over)

    assert by_services.asked == by_functions.asked, "the same lists, item by item"
    figures = by_services.result()
    assert set(figures) == {DAY_ZERO, COVISITS, TRAINED}
    assert figures[DAY_ZERO]["second_half"] == {}
    assert figures[TRAINED]["second_half"]["asked"] == figures[TRAINED]["asked"] > 10
    untowered = await replay(
        events, len(shop.items), Offline(shop.catalogue, RankingSettings(), now_ms), every=2
    )
    late = [one for one in untowered.asked[DAY_ZERO] if one.at >= len(events) // 2]
    assert late != by_services.asked[TRAINED], "the tower has its say"
