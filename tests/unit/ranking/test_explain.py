"""What a list's stages did is told as it was, and so is what became of one item."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from freshet.errors import NotFound, Unavailable
from freshet.v1 import recommender_pb2 as pb
from services.ranking import explain, requests
from services.ranking.models.onnx_ranker import OnnxRanker
from services.ranking.recommend import DIVERSITY, NEAREST, count_candidates, recommend
from services.ranking.stages.recommendation import Recommendation
from shared.bundles.ranker import RankerModel
from shared.runtime import metrics
from shared.runtime.deadline import COLD, Deadline
from tests.unit.ranking.live.offer_makers import offer
from tests.unit.ranking.shop import NOW_MS, Shop, item_vector, near
from tests.unit.ranking.test_recommend import a_deadline
from tests.unit.ranking.test_server import answer, good_requests
from tests.unit.shared.bundles.graphs import ranker_model


@pytest.fixture
def shop() -> Shop:
    shop = Shop()
    shop.user("ann", [("click", "lamp-3")], purchased=("vase-1",), hidden=("rug-1",))
    shop.follows("lamp-3", {"rug-7": 50.0, "chair-2": 9.0, "rug-1": 5.0})
    shop.trends("all", {"vase-1": 5.0, "vase-2": 4.0, "lamp-3": 3.0})
    return shop


async def made(
    shop: Shop, deadline: Deadline | None = None, **fields: Any
) -> tuple[Recommendation, dict[str, pb.StageTrace]]:
    """Make a list for ann and return it with its trace, by stage."""
    await shop.space.trending.renew()
    query = requests.recommend(pb.RecommendRequest(**{"user_id": "ann", **fields}))
    deadline = deadline or a_deadline()
    listed = await recommend(query, shop.space, deadline)
    stages = explain.trace(listed, shop.space, deadline)
    return listed, {stage.stage: stage for stage in stages}


def steps(stage: pb.StageTrace) -> dict[str, int]:
    return {step.name: step.added - step.removed for step in stage.steps}


async def fate(shop: Shop, item_id: str, **fields: Any) -> pb.ItemFate:
    """Explain an item to ann."""
    await shop.space.trending.renew()
    request = pb.ExplainRequest(**{"user_id": "ann", "item_id": item_id, **fields})
    reply = await explain.explain(requests.explain(request), shop.space, a_deadline())
    assert sum(part.value for part in reply.item.contributions) == reply.item.score
    assert reply.item.item_id == item_id
    return reply.fate


async def missing(shop: Shop, candidates: list[str], **fields: Any) -> dict[str, str]:
    """Return why candidates are not in ann's list, each with its stage and cause."""
    listed, _ = await made(shop, candidates=candidates, **fields)
    found = explain.missing(listed, shop.space)
    return {each.item_id: f"{each.fate.stage} {each.fate.cause}" for each in found}


async def test_of_the_callers_candidates_each_that_is_missing_says_why(shop: Shop) -> None:
    shop.offers.apply([offer("chair-4", 5, in_stock=False)])
    candidates = [f"chair-{n}" for n in range(10)]
    why = {
        "nothing": "candidates unknown",
        "lamp-3": "filter seen",
        "vase-1": "filter seen",
        "rug-1": "filter hidden",
        "chair-4": "filter in_stock",
        "rug-2": "filter exclude",
    }
    asked = ["nothing", *candidates, "lamp-3", "vase-1", "rug-1", "rug-2"]
    found = await missing(shop, asked, k=20, exclude=["rug-2"])
    assert found == why
    assert list(found) == [item_id for item_id in asked if item_id in why]


async def test_candidates_that_only_rank_lower_than_k_are_not_missing(shop: Shop) -> None:
    candidates = [f"chair-{n}" for n in range(10)]
    assert await missing(shop, candidates, k=3) == {}
    caps = pb.Rules(caps=[pb.CategoryCap(category="chair", at_most=8)])
    found = await missing(shop, candidates, k=10, rules=caps)
    assert list(found.values()) == ["arrange caps"] * 2


async def test_a_missing_candidate_has_the_words_of_explain(shop: Shop) -> None:
    filters = pb.Filters(price=pb.Range(max=50))
    asked = [f"{kind}-{n}" for kind in ("lamp", "vase", "rug") for n in range(8)]
    for item_id, why in (await missing(shop, asked, k=50, filters=filters)).items():
        explained = await fate(shop, item_id, k=50, filters=filters)
        assert why == f"{explained.stage} {explained.cause}"


async def test_an_item_in_another_currency_falls_at_the_currency(shop: Shop) -> None:
    shop.put([item_vector("lamp-usd", near(0, 5), price=20.0, currency="USD")])
    fell = await fate(shop, "lamp-usd", filters=pb.Filters(currency="eur"))
    assert (fell.stage, fell.cause) == ("filter", "currency")


async def test_before_the_first_item_every_candidate_is_unknown() -> None:
    assert await missing(Shop(each=0), ["lamp-1"]) == {"lamp-1": "candidates unknown"}


def check_sums(trace: list[pb.StageTrace], listed: int) -> None:
    """Fail unless what is left after each stage is what was there and what it did."""
    stages = {stage.stage: stage for stage in trace}
    proposed = [step.added for step in stages["candidates"].steps]
    left = stages["candidates"].candidates
    assert max(proposed, default=0) <= left <= sum(proposed)
    left += sum(step.added - step.removed for step in stages["filter"].steps)
    assert stages["filter"].candidates == stages["rank"].candidates == left
    left += sum(step.added for step in stages["arrange"].steps)
    assert stages["arrange"].candidates == listed <= left
    assert [stage.stage for stage in trace if not stage.HasField("candidates")] == [
        "admit",
        "state",
        "answer",
    ]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(good_requests())
def test_what_was_proposed_less_what_was_removed_is_what_is_ranked(
    message: pb.RecommendRequest,
) -> None:
    message.trace = True
    reply = answer(message)
    check_sums(list(reply.trace), len(reply.items))
    assert [stage.stage for stage in reply.trace] == [timing.stage for timing in reply.timings]
    assert [stage.ms for stage in reply.trace] == [timing.ms for timing in reply.timings]


def test_a_reply_carries_a_trace_only_where_it_is_asked_for() -> None:
    assert not answer(pb.RecommendRequest(user_id="ann")).trace
    assert answer(pb.RecommendRequest(user_id="ann", trace=True)).trace


async def test_each_source_and_each_filter_says_its_part(shop: Shop) -> None:
    shop.offers.apply([offer("chair-2", 5, in_stock=False)])
    shop.offers.apply([offer("vase-2", 5, available_until_ms=NOW_MS - 1)])
    listed, stages = await made(shop, exclude=["rug-7"], filters=pb.Filters(tags_any=[]))
    proposed = steps(stages["candidates"])
    assert proposed["covisits"] == 3
    assert proposed["trending"] == 3
    assert proposed["session"] == proposed["content"] == 60
    assert steps(stages["filter"]) == {
        "in_stock": -1,  # chair-2
        "window": -1,  # vase-2
        "seen": -2,  # lamp-3, vase-1
        "hidden": -1,  # rug-1
        "exclude": -1,  # rug-7
    }
    assert stages["arrange"].candidates == len(listed.listed.rows) == 10


async def test_a_filter_removes_by_its_name_and_where_little_is_left_more_is_added() -> None:
    shop = Shop(each=200)
    shop.trends("all", {"vase-150": 5.0, "lamp-3": 3.0})
    filters = pb.Filters(categories_any=["vase"], price=pb.Range(min=40, max=60))
    listed, stages = await made(shop, filters=filters)
    removed = steps(stages["filter"])
    assert removed["categories_any"] < removed["price"] < 0
    passed = stages["candidates"].candidates + sum(n for n in removed.values() if n < 0)
    assert passed + removed["filter"] == len(listed.ranked.rows) == 3


async def test_what_caps_leave_short_is_said_where_the_list_is_arranged(shop: Shop) -> None:
    caps = pb.Rules(caps=[pb.CategoryCap(category="lamp", at_most=2)])
    shop.user("ann", [("click", f"lamp-{n}") for n in range(5)])
    _, stages = await made(shop, k=60, rules=caps)
    assert stages["arrange"].candidates == 60
    assert stages["rank"].candidates == stages["filter"].candidates


async def test_a_stage_that_is_left_out_says_so_in_the_trace(shop: Shop) -> None:
    deadline = a_deadline()
    for cost in (shop.space.searcher.cost_of(NEAREST), deadline.costs.of(DIVERSITY)):
        for _ in range(COLD):
            cost.note(10.0)
    _, stages = await made(shop, deadline)
    assert list(stages["candidates"].degraded) == ["nearest_skipped"]
    assert list(stages["arrange"].degraded) == ["diversity_skipped"]
    assert not {"session", "interests", "long_term", "content"} & steps(stages["candidates"]).keys()
    shop.reader.gone = True
    _, stages = await made_without_renewal(shop)
    assert list(stages["state"].degraded) == ["state_unavailable"]


async def made_without_renewal(shop: Shop) -> tuple[Recommendation, dict[str, pb.StageTrace]]:
    query = requests.recommend(pb.RecommendRequest(user_id="ann"))
    deadline = a_deadline()
    listed = await recommend(query, shop.space, deadline)
    return listed, {s.stage: s for s in explain.trace(listed, shop.space, deadline)}


async def test_an_item_deleted_while_its_list_is_made_is_counted_all_the_same(shop: Shop) -> None:
    listed, _ = await made(shop)
    row = shop.catalogue.row("rug-7")
    passed = listed.passed.copy()
    passed[listed.gathered.rows == row] = False
    listed.passed = passed
    stages = explain.trace(listed, shop.space, deadline_of_all_stages())
    assert steps(next(s for s in stages if s.stage == "filter"))["deleted"] == -1


def deadline_of_all_stages() -> Deadline:
    deadline = a_deadline()
    for stage in ("state", "candidates", "filter", "rank", "arrange"):
        deadline.end(stage)
    return deadline


async def test_metrics_count_the_candidates_of_every_stage(shop: Shop) -> None:
    def value(stage: str, part: str) -> float:
        counted: float = metrics.CANDIDATES.labels(stage, part)._value.get()
        return counted

    parts = [("candidates", "covisits"), ("filter", "removed"), ("rank", "ranked")]
    before = [value(*part) for part in parts]
    listed, stages = await made(shop)
    count_candidates(listed)
    counted = [value(*part) - was for part, was in zip(parts, before, strict=True)]
    assert counted[0] == steps(stages["candidates"])["covisits"]
    assert counted[1] == -sum(n for n in steps(stages["filter"]).values() if n < 0)
    assert counted[2] == stages["rank"].candidates


async def test_a_listed_item_has_its_position_and_its_rank(shop: Shop) -> None:
    listed, stages = await made(shop, diversity=0)
    for position, row in enumerate(listed.listed.rows.tolist()):
        became = await fate(shop, shop.catalogue.ids[row], diversity=0)
        assert (became.stage, became.cause) == ("", "")
        assert (became.position, became.rank) == (position, position)
        assert became.ranked == stages["rank"].candidates
        assert became.lowest_listed_score == listed.listed.scores[-1]


@pytest.mark.parametrize(
    ("item_id", "fields", "cause"),
    [
        ("rug-1", {}, "hidden"),
        ("lamp-3", {}, "seen"),
        ("vase-1", {}, "seen"),
        ("rug-7", {"exclude": ["rug-7"]}, "exclude"),
        ("rug-7", {"filters": pb.Filters(categories_any=["lamp"])}, "categories_any"),
        ("rug-7", {"filters": pb.Filters(categories_none=["rug"])}, "categories_none"),
        ("rug-7", {"filters": pb.Filters(tags_any=["sale"])}, "tags_any"),
        ("rug-7", {"filters": pb.Filters(price=pb.Range(max=20))}, "price"),
        (
            "rug-7",
            {"filters": pb.Filters(attributes=[pb.AttributeFilter(name="size")])},
            "attributes",
        ),
    ],
)
async def test_an_item_that_a_filter_removes_falls_there_by_its_name(
    shop: Shop, item_id: str, fields: dict[str, Any], cause: str
) -> None:
    became = await fate(shop, item_id, **fields)
    assert (became.stage, became.cause) == ("filter", cause)
    assert not became.HasField("rank")
    assert not became.HasField("position")


async def test_an_item_out_of_stock_falls_at_the_filter_whoever_proposed_it(shop: Shop) -> None:
    shop.offers.apply([offer("vase-9", 5, in_stock=False)])
    became = await fate(shop, "vase-9")
    assert (became.stage, became.cause) == ("filter", "in_stock")


async def test_what_is_seen_comes_back_where_the_request_wants_it(shop: Shop) -> None:
    became = await fate(shop, "lamp-3", seen="SEEN_POLICY_INCLUDE", k=100)
    assert became.stage == ""


async def test_an_item_that_no_source_proposes_falls_before_the_filters() -> None:
    shop = Shop(each=400)
    shop.user("ann", [("click", "lamp-3")])
    became = await fate(shop, "vase-0")  # old, far away, and nobody went on to it
    assert (became.stage, became.cause) == ("candidates", "not_proposed")
    assert became.ranked > 0


async def test_an_item_that_all_others_outrank_falls_by_its_score(shop: Shop) -> None:
    listed, _ = await made(shop, diversity=0)
    became = await fate(shop, shop.catalogue.ids[listed.ranked.rows[40]], diversity=0)
    assert (became.stage, became.cause, became.rank) == ("rank", "score", 40)
    assert became.lowest_listed_score == listed.listed.scores[-1]


async def test_an_item_that_caps_hold_back_falls_where_the_list_is_arranged(shop: Shop) -> None:
    caps = pb.Rules(caps=[pb.CategoryCap(category="lamp", at_most=1)])
    shop.follows("lamp-3", {"lamp-5": 50.0, "lamp-6": 40.0})
    assert (await fate(shop, "lamp-5", rules=caps)).position == 0
    became = await fate(shop, "lamp-6", rules=caps)
    assert (became.stage, became.cause, became.rank) == ("arrange", "caps", 1)


async def test_caps_that_leave_a_list_short_are_the_cause_whatever_the_rank(shop: Shop) -> None:
    lamps: dict[str, Any] = {
        "filters": pb.Filters(categories_any=["lamp"]),
        "rules": pb.Rules(caps=[pb.CategoryCap(at_most=2)]),
    }
    listed, _ = await made(shop, **lamps)
    assert len(listed.listed.rows) == 2
    for rank in (2, 20):  # within the length that was asked for, and beyond it
        became = await fate(shop, shop.catalogue.ids[listed.ranked.rows[rank]], **lamps)
        assert (became.stage, became.cause, became.rank) == ("arrange", "caps", rank)


async def test_an_item_whose_place_a_new_one_took_falls_where_the_list_is_arranged() -> None:
    shop = Shop(each=0)
    shop.put(item_vector(f"lamp-{n}", near(0, n, 0.01), arrived_ms=0) for n in range(40))
    shop.user("ann", [("click", "lamp-39")])
    shop.follows("lamp-39", {f"lamp-{n}": 40.0 - n for n in range(20)})
    shop.put([item_vector("new", near(0, 39, 0.001), arrived_ms=NOW_MS)])
    found = await fate(shop, "lamp-9", diversity=0.0)
    assert (found.stage, found.cause, found.rank) == ("arrange", "new_places", 9)
    assert (await fate(shop, "lamp-10", diversity=0.0)).cause == "score"
    assert (await fate(shop, "new", diversity=0.0)).position >= 5


async def test_an_item_whose_position_a_pin_took_falls_where_the_list_is_arranged(
    shop: Shop,
) -> None:
    shop.follows("lamp-3", {"lamp-5": 50.0, "lamp-6": 40.0})
    pins = pb.Rules(pins=[pb.PinRule(item_id="vase-0", position=0)])
    became = await fate(shop, "lamp-6", k=2, diversity=0, rules=pins)
    assert (became.stage, became.cause, became.rank) == ("arrange", "pins", 1)
    assert (await fate(shop, "vase-0", k=2, diversity=0, rules=pins)).position == 0


async def test_an_item_too_like_what_is_listed_falls_for_diversity(shop: Shop) -> None:
    shop.follows("lamp-3", {f"lamp-{n}": 50.0 - n for n in range(5, 25)})
    ranks = {}
    for n in range(5, 15):
        became = await fate(shop, f"lamp-{n}", diversity=0.9)
        if became.cause == "diversity":
            ranks[n] = became.rank
    assert ranks
    assert all(rank < 30 for rank in ranks.values())


async def explained(shop: Shop, **fields: Any) -> pb.ExplainResponse:
    await shop.space.trending.renew()
    request = pb.ExplainRequest(**{"user_id": "ann", "item_id": "rug-7", **fields})
    return await explain.explain(requests.explain(request), shop.space, a_deadline())


async def test_features_times_their_weights_are_what_the_blend_adds(shop: Shop) -> None:
    reply = await explained(shop)
    parts = {part.name: part.value for part in reply.item.contributions}
    scale = {"dislike": 1 + sum(parts.values()) - parts.get("dislike", 0)}
    assert parts["dislike"] < 0
    for feature in reply.features:
        added = feature.value * feature.weight * scale.get(feature.name, 1)
        assert added == pytest.approx(parts.get(feature.name, 0), abs=1e-4)


async def test_other_candidates_come_with_their_features_from_the_best_to_the_last(
    shop: Shop,
) -> None:
    assert not (await explained(shop)).others
    listed, _ = await made(shop)
    reply = await explained(shop, others=500)
    expected = listed.ranked.features[listed.ranked.rows != shop.catalogue.row("rug-7")]
    assert np.array_equal([row.values for row in reply.others], expected)
    few = await explained(shop, others=3)
    assert np.array_equal([row.values for row in few.others][::2], expected[[0, -1]])


async def test_where_a_model_scores_features_have_no_weights(shop: Shop) -> None:
    scorer = OnnxRanker(RankerModel(ranker_model([1.0, 1.0], ["freshness", "session"])))
    shop.space = dataclasses.replace(shop.space, ranker=scorer)
    reply = await explained(shop)
    assert not any(feature.HasField("weight") for feature in reply.features)


async def test_an_unknown_item_is_not_found(shop: Shop) -> None:
    with pytest.raises(NotFound, match="item_id 'nothing' is unknown"):
        await fate(shop, "nothing")


def test_what_cannot_be_read_is_not_explained(shop: Shop) -> None:
    asyncio.run(shop.space.trending.renew())
    shop.reader.gone = True
    query = requests.explain(pb.ExplainRequest(user_id="ann", item_id="rug-7"))
    with pytest.raises(Unavailable, match="cannot be explained now: state_unavailable"):
        asyncio.run(explain.explain(query, shop.space, a_deadline()))
