"""A session tower proposes items, weighs them and is named; without one all is as it was."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

import numpy as np
import pytest

from freshet.v1 import recommender_pb2 as pb
from services.ranking import explain, reply, requests
from services.ranking.index.served import ON_LOOP_S
from services.ranking.models import tower_search
from services.ranking.models.tower_search import NEAREST_TOWER, TOWER, TowerSearch
from services.ranking.recommend import recommend
from services.ranking.settings import RankingSettings
from services.ranking.stages import degraded
from services.ranking.stages.blend import BlendSettings
from services.ranking.stages.recommendation import Recommendation
from services.ranking.stages.sources import BIT
from shared.bundles.candidates import NAMES, FeatureColumn
from shared.faults import SystemFault
from shared.runtime.deadline import COLD, Costs, Deadline
from tests.unit.ranking.shop import NOW_MS, TOWER_DIM, Shop, item_vector, near, towering
from tests.unit.ranking.test_recommend import a_deadline, ids, make
from tests.unit.shared.bundles.graphs import session_query


@pytest.fixture
def shop() -> Shop:
    shop = Shop(towers=True)
    shop.user("ann", [("click", "rug-1"), ("click", "lamp-3")])
    return shop


def feature(made: Recommendation, name: str) -> dict[int, float]:
    values = made.ranked.features[:, NAMES.index(name)].tolist()
    return dict(zip(made.ranked.rows.tolist(), values, strict=True))


def search(shop: Shop) -> TowerSearch:
    assert shop.space.tower is not None
    return shop.space.tower


async def test_what_the_tower_expects_is_proposed_whatever_kind_it_is(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tower_search, "TOWER_AT_MOST", 12)
    made = await make(shop, "ann", k=20)
    proposed = made.gathered.rows[made.gathered.proposed & BIT["tower"] != 0]
    named = {shop.catalogue.ids[row] for row in proposed.tolist()}
    assert {"vase-3", "vase-11", "chair-19"} <= named
    assert "vase-4" not in named, "its tower vector points another way"


@pytest.mark.parametrize("asked", [True, False])
async def test_single_tastes_and_items_are_searched_for_only_where_the_tower_was_not_asked(
    shop: Shop, asked: bool
) -> None:
    costs = Costs()
    for _ in range(COLD if not asked else 0):
        costs.of(TOWER).note(60.0)
    deadline = Deadline(time.monotonic() + 5.0, time.monotonic, costs)
    made = await make(shop, "ann", deadline)
    named = np.bitwise_or.reduce(made.gathered.proposed)
    assert bool(named & BIT["tower"]) == asked
    assert bool(named & (BIT["interests"] | BIT["content"])) != asked
    assert named & BIT["session"]


async def test_the_feature_is_the_cosine_to_the_query_of_the_history(shop: Shop) -> None:
    made = await make(shop, "ann")
    towers = shop.catalogue.tower_vectors
    assert towers is not None
    history = towers[[shop.catalogue.row("rug-1"), shop.catalogue.row("lamp-3")]]
    query = session_query(history.astype(np.float32), 10)
    for row, cosine in feature(made, "tower").items():
        assert cosine == pytest.approx(float(query @ towers[row].astype(np.float32)), abs=1e-3)


async def test_contributions_sum_to_the_score_and_the_weight_is_a_setting() -> None:
    shops = [
        Shop(towers=True, settings=RankingSettings(blend=BlendSettings(tower=weight)))
        for weight in (0.0, 8.0)
    ]
    firsts = []
    for shop in shops:
        shop.user("ann", [("click", "lamp-3")])
        made = await make(shop, "ann", k=12, diversity=0, explain=True)
        items = reply.items_of(made.listed, made, shop.space, explain=True)
        for item in items:
            assert sum(part.value for part in item.contributions) == item.score
        firsts.append(items[0])
    without, with_tower = firsts
    assert "tower" not in {part.name for part in without.contributions}
    assert "tower" in {part.name for part in with_tower.contributions}
    assert "tower" in with_tower.sources
    assert with_tower.item_id.endswith(("-3", "-11", "-19", "-27"))
    assert with_tower.reason == "because of what you watched last: Lamp-3"


async def test_by_default_the_tower_leads_and_co_visits_decide_among_what_it_expects_alike(
    shop: Shop,
) -> None:
    shop.user("ann", [("click", "lamp-3")])
    shop.follows("lamp-3", {"rug-4": 50.0, "vase-11": 50.0})
    listed = ids(shop, await make(shop, "ann", k=10, diversity=0))
    assert listed[0] == "vase-11", "both speak for it"
    assert "rug-4" not in listed, "co-visits alone do"
    assert {item_id.rpartition("-")[2] for item_id in listed} <= {"3", "11", "19", "27"}


async def test_an_item_is_found_by_the_tower_from_its_arrival_on(shop: Shop) -> None:
    new = item_vector("novel", near(9, 7), tower_vector=towering(3, 7), arrived_ms=NOW_MS)
    shop.put([new])
    made = await make(shop, "ann", k=50)
    row = shop.catalogue.row("novel")
    at = np.flatnonzero(made.gathered.rows == row)[0]
    assert made.gathered.proposed[at] & BIT["tower"]
    assert feature(made, "tower")[row] > 0.5
    assert "novel" in ids(shop, made)


async def test_an_item_without_a_tower_vector_is_listed_by_all_else(shop: Shop) -> None:
    shop.put([item_vector("plain", near(0, 7), arrived_ms=NOW_MS)])
    made = await make(shop, "ann", k=50)
    assert "plain" in ids(shop, made)
    assert feature(made, "tower")[shop.catalogue.row("plain")] == 0


async def test_only_what_speaks_for_its_item_is_history_and_repeats_in_a_row_count_once(
    shop: Shop,
) -> None:
    plain = [("click", "lamp-3"), ("click", "rug-1"), ("click", "lamp-5")]
    shop.user("once", plain)
    busy = [("view", "lamp-3"), ("click", "lamp-3"), ("hide", "vase-7"), *plain[1:]]
    shop.user("busy", [*busy, ("click", "lamp-5"), ("click", "unheard-of")])
    queries = [(await make(shop, user)).input.tower_query for user in ("once", "busy")]
    assert queries[0] is not None
    assert queries[1] is not None
    assert queries[0].tolist() == queries[1].tolist()


async def test_a_dislike_takes_a_share_of_what_is_like_it_although_the_tower_leads(
    shop: Shop,
) -> None:
    scores = []
    past = [("click", "rug-1"), ("click", "lamp-3")]
    for more, hidden in ([], ()), ([("dislike", "vase-11")], ("vase-11",)):
        shop.user("ann", [*past, *more], hidden=hidden)
        made = await make(shop, "ann", k=2, candidates=["vase-3", "chair-19"], diversity=0)
        scores.append(dict(zip(ids(shop, made), made.listed.scores.tolist(), strict=True)))
    before, after = scores
    assert before["vase-3"] > 50, "the tower leads"
    assert after["vase-3"] < before["vase-3"] * 2 / 3
    assert after["chair-19"] == before["chair-19"]


@pytest.mark.parametrize("user", ["nobody", "hater"])
async def test_without_a_history_there_is_no_query_and_nothing_is_degraded(
    shop: Shop, user: str
) -> None:
    shop.user("hater", [("dislike", "lamp-3")])
    deadline = a_deadline()
    made = await make(shop, user, deadline)
    assert made.input.tower_query is None
    assert not any(feature(made, "tower").values())
    assert deadline.degraded == []


async def test_content_features_and_sources_are_those_of_a_bundle_without_towers() -> None:
    tables = []
    for towers in (False, True):
        shop = Shop(towers=towers)
        state = shop.user("ann", [("click", "rug-1"), ("click", "lamp-3")])
        given = [f"rug-{n}" for n in range(20)]
        made = await make(shop, "ann", k=10, candidates=given)
        table = made.ranked.features[np.argsort(made.ranked.rows)]
        tables.append((state.vectors, np.delete(table, FeatureColumn.TOWER, axis=1).tolist()))
    assert tables[0] == tables[1]


@pytest.mark.parametrize("work", [TOWER, NEAREST_TOWER])
async def test_what_there_is_no_time_for_is_left_out_and_named(shop: Shop, work: str) -> None:
    costs = Costs()
    cost = costs.of(work) if work == TOWER else search(shop)._searcher.cost_of(work)
    for _ in range(COLD):
        cost.note(60.0)
    deadline = Deadline(time.monotonic() + 5.0, time.monotonic, costs)
    made = await make(shop, "ann", deadline, k=5)
    assert deadline.degraded == [degraded.TOWER_SKIPPED]
    assert len(ids(shop, made)) == 5
    assert not (made.gathered.proposed & BIT["tower"]).any()
    assert (made.input.tower_query is None) == (work == TOWER)
    stages = {stage.stage: stage for stage in explain.trace(made, shop.space, deadline)}
    assert list(stages["candidates"].degraded) == [degraded.TOWER_SKIPPED]


async def test_a_tower_that_fails_is_left_out_and_named(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> Any:
        raise SystemFault("the model of query fails")

    monkeypatch.setattr(search(shop)._tower, "query", fail)
    deadline = a_deadline()
    made = await make(shop, "ann", deadline, k=5)
    assert deadline.degraded == [degraded.TOWER_FAILED]
    assert len(ids(shop, made)) == 5


async def test_the_tower_works_while_redis_looks_for_what_others_did(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, expected = asyncio.Event(), asyncio.Event()
    sets, query = shop.reader.sets, search(shop)._tower.query

    async def slow(items: Any, scopes: Any, timeout_s: float) -> Any:
        asked.set()
        await asyncio.wait_for(expected.wait(), 60)
        return await sets(items, scopes, timeout_s)

    def noted(history: Any) -> Any:
        assert asked.is_set(), "Redis is asked first"
        expected.set()
        return query(history)

    await shop.space.trending.renew()
    shop.follows("lamp-3", {"rug-4": 50.0})
    monkeypatch.setattr(shop.reader, "sets", slow)
    monkeypatch.setattr(search(shop)._tower, "query", noted)
    asking = requests.recommend(pb.RecommendRequest(user_id="ann"))
    made = await recommend(asking, shop.space, a_deadline())
    assert made.input.tower_query is not None
    assert shop.catalogue.row("rug-4") in made.input.covisits.rows


async def test_a_tower_that_takes_long_leaves_the_event_loop_to_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    async def noted(work: Any) -> Any:
        threads.append(work)
        return work()

    monkeypatch.setattr(asyncio, "to_thread", noted)
    costs = Costs()
    for _ in range(COLD):
        costs.of(TOWER).note(2 * ON_LOOP_S)
    deadline = Deadline(time.monotonic() + 5.0, time.monotonic, costs)
    made = await make(shop, "ann", deadline, k=5)
    assert made.input.tower_query is not None
    assert len(threads) >= 1


async def test_an_explained_item_that_nobody_proposed_has_the_towers_part_too(shop: Shop) -> None:
    shop.put([item_vector("far", near(9, 8), tower_vector=towering(4, 8))])
    await shop.space.trending.renew()
    query = requests.explain(pb.ExplainRequest(user_id="ann", item_id="far"))
    explained = await explain.explain(query, shop.space, a_deadline())
    values = {each.name: each.value for each in explained.features}
    assert abs(values["tower"]) < 0.3
    assert sum(part.value for part in explained.item.contributions) == explained.item.score
    assert "tower" in {part.name for part in explained.item.contributions}


def test_the_tower_says_who_it_is(shop: Shop) -> None:
    assert search(shop).name == "mean"
    assert search(shop).index.indexed.dim == TOWER_DIM


async def test_without_a_tower_no_time_goes_into_one() -> None:
    shop = Shop()
    shop.user("ann", [("click", "lamp-3")])
    deadline = a_deadline()
    query = requests.recommend(pb.RecommendRequest(user_id="ann"))
    made = await recommend(query, dataclasses.replace(shop.space, tower=None), deadline)
    assert made.input.tower_query is None
    assert not deadline.costs.of(TOWER).known
