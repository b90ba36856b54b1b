from __future__ import annotations

import pytest

from protos import recommender_pb2 as pb
from tests.integration.ranking.world import world
from tests.unit.ranking.shop import Shop

pytestmark = pytest.mark.integration


async def test_an_unknown_and_a_known_user_are_answered_from_real_servers(
    kafka: str, valkey: str
) -> None:
    shop = Shop()
    async with world(kafka, valkey, shop.items) as there:
        unknown = await there.stub.Recommend(pb.RecommendRequest(user_id="nobody"))
        assert len(unknown.items) == 10
        assert list(unknown.degraded) == []
        await there.user("ann", shop.user("ann", [("click", "lamp-3")]))
        known = await there.stub.Recommend(pb.RecommendRequest(user_id="ann", k=5, diversity=0))
        assert [item.item_id.split("-")[0] for item in known.items] == ["lamp"] * 5
        assert known.items[0].reason == "because you clicked Lamp-3"
        assert known.versions.space == "test"
        assert known.versions.ranker == "blend"
        assert [(p.partition, p.offset) for p in known.state_position] == [(0, 1)]
