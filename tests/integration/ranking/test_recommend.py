from __future__ import annotations

import time

import pytest
from aiokafka import AIOKafkaConsumer

from freshet import kafka_clients as kafka_edge
from freshet.contract.offers import Offer
from freshet.v1 import impression_pb2
from freshet.v1 import recommender_pb2 as pb
from shared.clock import now_ms
from tests.integration.ranking.world import world
from tests.servers import eventually
from tests.unit.ranking.shop import NOW_MS, Shop, item_vector, near

pytestmark = pytest.mark.integration


async def test_an_unknown_and_a_known_user_are_answered_from_real_servers(
    kafka: str, valkey: str
) -> None:
    shop = Shop()
    async with world(kafka, valkey, shop.items, clock_ms=lambda: NOW_MS) as there:
        unknown = await there.recommend("nobody")
        assert len(unknown.items) == 10
        assert list(unknown.degraded) == []
        await there.user("ann", shop.user("ann", [("click", "lamp-3")]))
        known = await there.recommend("ann", k=5, diversity=0, explain=True)
        assert [item.item_id.split("-")[0] for item in known.items] == ["lamp"] * 5
        assert known.items[0].reason == "because you clicked Lamp-3"
        assert known.items[0].title == known.items[0].item_id.title()
        assert known.versions.space == "test"
        assert known.versions.ranker == "blend"
        assert [(p.partition, p.offset) for p in known.state_position] == [(0, 1)]
        stages = ["admit", "state", "candidates", "filter", "rank", "arrange", "answer"]
        assert [timing.stage for timing in known.timings] == stages
        for item in known.items:
            assert sum(part.value for part in item.contributions) == item.score


async def test_covisits_and_trending_are_read_from_redis(kafka: str, valkey: str) -> None:
    shop = Shop()
    shop.user("ann", [("click", "lamp-3")])
    shop.follows("lamp-3", {"rug-7": 50.0})
    shop.trends("all", {"vase-2": 9.0})
    shop.trends("s:de", {"chair-5": 9.0})
    async with world(kafka, valkey, shop.items, clock_ms=lambda: NOW_MS) as there:
        await there.copy(shop.reader)
        listed = await there.recommend("ann")
        assert listed.items[0].item_id == "rug-7"
        assert listed.items[0].reason == "others went on to this from Lamp-3"
        assert "covisits" in listed.items[0].sources
        german = await there.recommend("nobody", context={"segment": "de"})
        assert german.items[0].item_id == "chair-5"
        assert german.items[0].reason == "trending in de"

        async def trends() -> bool:
            listed = await there.recommend("nobody", k=1)
            return (listed.items[0].item_id, listed.items[0].reason) == ("vase-2", "trending now")

        await eventually(trends, within_s=5, what="trending in the local copy")


async def test_an_arrival_a_delete_and_an_offer_show_in_the_next_lists(
    kafka: str, valkey: str
) -> None:
    shop = Shop()
    async with world(kafka, valkey, shop.items) as there:
        await there.user("ann", shop.user("ann", [("click", "lamp-3")]))

        async def takes(wanted: bool, item_id: str) -> float:
            began = time.monotonic()

            async def shown() -> bool:
                return (item_id in await there.ids("ann", k=100)) is wanted

            await eventually(shown, within_s=5, what=f"{item_id} listed: {wanted}")
            return time.monotonic() - began

        await there.put([item_vector("lamp-new", near(0, 9), arrived_ms=now_ms())])
        await takes(True, "lamp-new")
        await there.offer(Offer(item_id="lamp-new", in_stock=False))
        await takes(False, "lamp-new")
        await there.offer(Offer(item_id="lamp-new", in_stock=True))
        await takes(True, "lamp-new")
        await there.delete("lamp-new")
        assert await takes(False, "lamp-new") < 1


async def test_what_was_shown_is_written_to_impressions(kafka: str, valkey: str) -> None:
    shop = Shop(each=3)
    async with world(kafka, valkey, shop.items) as there:
        listed = await there.recommend("ann", k=3, surface="home", request_id="mine-7")
        consumer: AIOKafkaConsumer = kafka_edge.consumer(there.kafka, "impressions")
        await consumer.start()
        try:
            record = await consumer.getone()
        finally:
            await consumer.stop()
        assert record.key == b"ann"
        shown = impression_pb2.Impression.FromString(record.value)
        assert shown.request_id == listed.request_id == "mine-7"
        assert [item.item_id for item in shown.items] == [item.item_id for item in listed.items]
        assert shown.surface == "home"


async def test_a_position_is_waited_for_through_redis(kafka: str, valkey: str) -> None:
    shop = Shop(each=3)
    async with world(kafka, valkey, shop.items) as there:
        await there.user("ann", shop.user("ann", [("click", "lamp-1")], offset=4))
        assert list((await there.recommend("ann", after="0:4")).degraded) == []
        late = await there.stub.Recommend(
            pb.RecommendRequest(user_id="ann", after="0:5"), timeout=1.5
        )
        assert list(late.degraded) == ["after_timeout"]
        assert len(late.items) == 10
