"""The features that ranking serves are those of an offline replay of the same log."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer

from freshet import kafka_clients as kafka_edge
from freshet.contract import topics
from freshet.contract.events import Event, decode_event
from freshet.contract.records import content_type
from freshet.kafka_clients import KafkaSettings
from freshet.publisher import Publisher
from freshet.v1 import recommender_pb2 as pb
from services.ranking.live.trending import TrendRows
from services.ranking.stages.features import FeatureSettings, covisited, features, trends_for
from services.ranking.stages.signals import COVISITS_READ, Signals, Weighted
from services.ranking.stages.user_profile import profile_of
from services.sessions.fold.event_columns import FoldEvent
from services.sessions.fold.settings import FoldSettings
from shared.bundles.candidates import NAMES
from shared.catalogue.catalogue import Catalogue
from shared.clock import now_ms
from shared.users import keys, states
from tests import servers
from tests.integration.ranking.world import World, world
from tests.unit.ranking.shop import KINDS, VECTORS, Shop
from tests.unit.sessions.fold.replay import Replayed, replay

pytestmark = pytest.mark.integration

EACH = 12
USERS = 6
TYPES = ("view", "click", "like", "cart", "purchase", "dislike", "rate")


def simulated(seed: int) -> list[Event]:
    """Return events of shoppers with tastes, over two weeks until now."""
    rng = np.random.default_rng(seed)
    end_ms = now_ms()
    events = []
    for n in range(240):
        user = int(rng.integers(USERS))
        kind = KINDS[(user + int(rng.random() < 0.2)) % len(KINDS)]
        events.append(
            Event(
                user_id=f"user-{user}",
                item_id=f"{kind}-{rng.integers(EACH)}",
                type=str(rng.choice(TYPES)),
                time_ms=end_ms - 5_000_000 * (240 - n),
                value=float(rng.integers(1, 6)),
                context={"segment": "de"} if user % 2 else {},
            )
        )
    return events


async def test_the_features_online_are_those_of_an_offline_replay(
    kafka: str, valkey: str, start_service: Callable[..., servers.Service]
) -> None:
    shop = Shop(each=EACH)
    at_ms = now_ms()
    async with world(kafka, valkey, shop.items, clock_ms=lambda: at_ms) as there:
        environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "REDIS_URL": valkey}
        await start_service("sessions", environ).ready()
        last: dict[str, str] = {}
        async with Publisher(KafkaSettings(bootstrap_servers=kafka)) as publisher:
            for event in simulated(seed=5):
                last[event.user_id] = await publisher.event(event)
        whole = replay(await log_of(there), shop.catalogue, FoldSettings())
        for user_id, token in last.items():
            request = pb.StateRequest(user_id=user_id, after=token)
            shown = (await there.stub.State(request, timeout=30)).state
            assert [entry.item_id for entry in shown.history] == [
                known(shop.catalogue, key) for key in whole.states[user_id].history["item"]
            ]
        await there.service._trending.renew()  # else up to a second behind
        for user_id in last:
            await compare(there, shop, whole, user_id, at_ms)


def known(catalogue: Catalogue, key: int) -> str:
    """Return the id of an item key."""
    return catalogue.ids[int(catalogue.rows(np.array([key], np.uint64))[0])]


async def log_of(there: World) -> list[FoldEvent]:
    """Read all of `clicks`, with the times that the log gave."""
    consumer: AIOKafkaConsumer = kafka_edge.consumer(there.kafka, topics.CLICKS.name)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(list(consumer.assignment()))
        found: list[FoldEvent] = []
        while len(found) < sum(ends.values()):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                found += [
                    FoldEvent(
                        decode_event(record.value, content_type(record.headers)),
                        record.partition,
                        record.offset,
                        record.timestamp,
                    )
                    for record in records
                ]
        return found
    finally:
        await consumer.stop()


async def compare(there: World, shop: Shop, whole: Replayed, user_id: str, at_ms: int) -> None:
    """Compare the features of some items for a user, through the server and offline."""
    segment = "de"
    state = whole.states[user_id]
    assert len(state.history) > 20
    profile = profile_of(state, shop.catalogue, shop.offers.terms.price, VECTORS)
    signals = signals_of(whole, state)
    settings = FeatureSettings()
    found = covisited(profile, signals, shop.catalogue, at_ms, settings)
    trends = trends_for(profile, segment, TrendRows(shop.catalogue).of(signals.trending))
    assert len(found.rows) > 5
    assert len(trends.all.rows) > 20
    assert len(trends.segment.rows) > 5
    for item_id in ("lamp-3", "chair-5", "rug-7", "vase-1"):
        request = pb.ExplainRequest(user_id=user_id, item_id=item_id, context={"segment": segment})
        online = (await there.stub.Explain(request, timeout=30)).features
        offline = features(
            profile,
            found,
            trends,
            shop.catalogue,
            shop.offers.terms.price,
            np.array([shop.catalogue.row(item_id)]),
            at_ms,
            settings,
        )[0]
        assert [feature.name for feature in online] == list(NAMES)
        # Co-visits and trending are summed in another order than Redis does: equal within rounding.
        for feature, value in zip(online, offline.tolist(), strict=True):
            assert feature.value == pytest.approx(value, abs=2e-6), (user_id, item_id, feature.name)


def signals_of(whole: Replayed, state: states.UserState) -> Signals:
    """Return what Redis would hold of a replayed log."""
    liked = {int(key) for key in state.history["item"]}
    covisits: dict[int, dict[int, float]] = {key: {} for key in liked}
    for (start, to), score in whole.covisits.items():
        if start in liked:
            covisits[start][to] = score
    trends: dict[str, dict[int, float]] = {}
    for (scope, key), score in whole.trends.items():
        trends.setdefault(scope, {})[key] = score
    assert keys.ALL_SCOPE in trends
    return Signals(
        {start: heaviest(found, COVISITS_READ) for start, found in covisits.items()},
        {scope: heaviest(found, 1000) for scope, found in trends.items()},
    )


def heaviest(scores: dict[int, float], count: int) -> Weighted:
    """Return the items with the highest scores, the heaviest first."""
    ordered = sorted(scores.items(), key=lambda entry: -entry[1])[:count]
    return Weighted(
        np.array([key for key, _ in ordered], np.uint64), np.array([s for _, s in ordered])
    )
