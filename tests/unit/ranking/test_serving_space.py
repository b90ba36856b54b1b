"""A space that was replaced goes, with all that it holds."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import pytest

from freshet.kafka_clients import KafkaSettings
from freshet.producer import RenewedProducer
from freshet.v1 import recommender_pb2 as pb
from services.ranking import requests
from services.ranking.live.offers_feed import OffersFeed
from services.ranking.live.space_feed import SpaceFeed
from services.ranking.live.state_reader import MemoryReader
from services.ranking.recommend import recommend
from services.ranking.serving_space import ServingSpace
from services.ranking.settings import NAME, RankingSettings
from shared.catalogue.active_bundle import ActiveBundle
from shared.catalogue.catalogue import Catalogue, Change
from shared.catalogue.snapshots import Snapshot
from shared.runtime.dead_letters import DeadLetterWriter
from shared.runtime.deadline import Costs, Deadline
from shared.runtime.service import tune_collector
from tests.unit.ranking.shop import DIM, NOW_MS, SPACE, item_vector, near

pytestmark = pytest.mark.usefixtures("collector")


def build(catalogue: Catalogue, snapshot: Snapshot | None) -> ServingSpace:
    return ServingSpace.build(catalogue, MemoryReader(), RankingSettings(), now_ms=lambda: NOW_MS)


async def served(items: int) -> SpaceFeed:
    """Return a space with items, read and listed from, as it is when it is begun to be served."""
    producer = RenewedProducer(lambda: pytest.fail("nothing is published"))
    feed = SpaceFeed(RankingSettings(), ActiveBundle(SPACE, DIM), producer, build)
    catalogue = feed._catalogue.catalogue
    feed.space = space = build(catalogue, None)
    feed._offers = OffersFeed(
        KafkaSettings(), space.offers, producer, DeadLetterWriter(producer, NAME)
    )
    for n in range(items):
        item = item_vector(f"item-{n}", near(n % 4, n), tags=(f"tag-{n}",), attributes={"n": n})
        catalogue.apply([Change(item.item_id, 1, item)], now_ms=NOW_MS)
    query = requests.recommend(pb.RecommendRequest(user_id="u", filters=pb.Filters(tags_any=["x"])))
    await recommend(query, space, Deadline(2.0, lambda: 1.0, Costs()))
    tune_collector()
    return feed


async def test_a_replaced_space_goes_with_its_last_reader_and_needs_no_collector() -> None:
    feed = await served(8)
    gc.disable()
    reading, held = feed.space, weakref.ref(feed.space.catalogue)
    await feed.stop()
    del feed
    assert reading.catalogue.living == 8, "a call that still reads it can"
    del reading
    assert held() is None


async def test_two_switches_later_memory_is_that_of_one_space() -> None:
    await served(1)  # what is made once
    tracemalloc.start()
    feed = await served(500)
    of_one = tracemalloc.get_traced_memory()[0]
    for _ in range(2):
        replaced, feed = feed, await served(500)
        await replaced.stop()
        del replaced
    of_three = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert of_three < 1.2 * of_one
    assert feed.space.catalogue.living == 500
