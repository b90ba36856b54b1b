from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from freshet.contract.records import BadRecord
from freshet.contract.users import User
from freshet.errors import Unavailable
from freshet.v1 import item_pb2
from freshet.v1 import recommender_pb2 as pb
from services.ranking import reply, requests
from services.ranking.index.served import IndexSearcher
from services.ranking.live.filters import ItemFilter
from services.ranking.live.state_reader import UserStates
from services.ranking.recommend import DIVERSITY, NEAREST, recommend
from services.ranking.stages import degraded
from services.ranking.stages.recommendation import Recommendation
from services.ranking.stages.sources import BIT
from shared.catalogue import labels
from shared.catalogue.labels import AttributeEntries, Attributes, LabelSets
from shared.runtime.deadline import COLD, Costs, Deadline
from tests.unit.ranking.shop import NOW_MS, Shop, item_vector, near


@pytest.fixture
def shop() -> Shop:
    return Shop()


def a_deadline(deadline_s: float = 5.0) -> Deadline:
    return Deadline(time.monotonic() + deadline_s, time.monotonic, Costs())


async def make(
    shop: Shop, user_id: str, deadline: Deadline | None = None, **fields: Any
) -> Recommendation:
    query = requests.recommend(pb.RecommendRequest(user_id=user_id, **fields))
    await shop.space.trending.renew()
    return await recommend(query, shop.space, deadline or a_deadline())


def ids(shop: Shop, made: Recommendation) -> list[str]:
    return [shop.catalogue.ids[row] for row in made.listed.rows]


def kinds(listed: list[str]) -> list[str]:
    return [item_id.split("-")[0] for item_id in listed]


async def test_an_unknown_user_of_an_empty_system_gets_the_newest_of_all_kinds(shop: Shop) -> None:
    listed = ids(shop, await make(shop, "nobody", k=8))
    assert set(kinds(listed[:4])) == {"lamp", "chair", "rug", "vase"}
    assert listed[0] == "vase-29"


async def test_an_unknown_user_gets_what_trends(shop: Shop) -> None:
    shop.trends("all", {"rug-3": 8.0, "lamp-5": 4.0})
    assert ids(shop, await make(shop, "nobody", k=3))[:2] == ["rug-3", "lamp-5"]


async def test_a_click_changes_the_list_towards_its_kind(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    listed = ids(shop, await make(shop, "ann", k=5, diversity=0))
    assert kinds(listed) == ["lamp"] * 5
    assert "lamp-3" not in listed


async def test_weights_and_ages_are_as_of_the_time_that_a_replay_names(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    shop.follows("lamp-3", {"rug-7": 50.0})
    now, long_ago = [
        await make(shop, "ann", at_ms=NOW_MS - years * 365 * 86_400_000) for years in (0, 2)
    ]
    later = await make(shop, "ann", at_ms=NOW_MS + 10 * 365 * 86_400_000)
    strengths = [made.input.covisits.strength[0] for made in (long_ago, now, later)]
    assert strengths == sorted(strengths, reverse=True), "a weight that was given then counts more"
    assert strengths[2] < strengths[1] / 2
    assert [made.input.now_ms for made in (now, later)] == [NOW_MS, NOW_MS]


async def test_a_time_that_is_no_milliseconds_is_refused(shop: Shop) -> None:
    with pytest.raises(BadRecord, match="at_ms"):
        await make(shop, "ann", at_ms=NOW_MS // 1000)


async def test_what_followed_the_click_comes_first(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    shop.follows("lamp-3", {"rug-7": 50.0})
    assert ids(shop, await make(shop, "ann"))[0] == "rug-7"


async def test_a_dislike_moves_its_kind_down(shop: Shop) -> None:
    everything = [f"{kind}-{n}" for kind in ("lamp", "chair") for n in range(30)]
    before = ids(shop, await make(shop, "ann", k=60, candidates=everything, diversity=0))
    shop.user("ann", [("dislike", "chair-9")], hidden=("chair-9",))
    after = ids(shop, await make(shop, "ann", k=60, candidates=everything, diversity=0))
    assert kinds(before[:10]).count("chair") >= 4
    assert kinds(after[:20]) == ["lamp"] * 20
    assert "chair-9" not in after


@pytest.mark.parametrize("past", [[], [("view", "film-9")]])
async def test_one_dislike_does_not_speak_against_its_whole_category(
    past: list[tuple[str, str]],
) -> None:
    shop = Shop(each=0)
    for n in range(20):  # films are like films by a cosine of about .4, as texts of one kind are
        films_and_chairs = (
            (kind, near(kind_n, 100 * kind_n + n, spread=0.3))
            for kind_n, kind in enumerate(("film", "chair"))
        )
        shop.put(item_vector(f"{kind}-{n}", vector) for kind, vector in films_and_chairs)
    shop.user("ann", [*past, ("dislike", "film-3")], hidden=("film-3",))
    listed = ids(shop, await make(shop, "ann", k=20, diversity=0))
    assert kinds(listed).count("film") >= 5
    assert "film-3" not in listed


async def test_a_new_item_comes_to_those_who_like_its_kind(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3"), ("click", "lamp-4")])
    shop.user("bob", [("click", "rug-3"), ("click", "rug-4")])
    shop.put([item_vector("lamp-new", near(0, 77), categories=("lamp",), arrived_ms=NOW_MS)])
    assert "lamp-new" in ids(shop, await make(shop, "ann"))
    assert "lamp-new" not in ids(shop, await make(shop, "bob", k=5))


async def test_new_items_take_a_bounded_share_of_places_and_none_of_evidences() -> None:
    shop = Shop(each=0)
    shop.put(
        item_vector(f"lamp-{n}", near(0, n, 0.01), arrived_ms=0) for n in range(40)
    )  # an import
    shop.user("ann", [("click", "lamp-39")])
    shop.follows("lamp-39", {f"lamp-{n}": 40.0 - n for n in range(20)})
    before = ids(shop, await make(shop, "ann", diversity=0.0))
    assert before == [f"lamp-{n}" for n in range(10)]
    shop.put(item_vector(f"new-{n}", near(0, 39, 0.001 * n), arrived_ms=NOW_MS) for n in range(9))
    made = await make(shop, "ann", diversity=0.0)
    after = ids(shop, made)
    (new,) = [item_id for item_id in after if item_id.startswith("new")]
    assert [item_id for item_id in after if item_id != new] == before[:9]
    assert after.index(new) >= 5
    assert made.propensities[:5] == [1.0] * 5
    assert made.propensities[after.index(new)] == pytest.approx(1 / 5)
    (item,) = [item for item in reply.items_of(made.listed, made, shop.space, explain=True)
               if item.item_id == new]  # fmt: skip
    assert sum(part.value for part in item.contributions) == item.score
    assert (item.reason, "new_place" in item.sources) == ("new here and like Lamp-39", True)


async def test_a_deleted_item_is_gone_from_the_next_list(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    first = ids(shop, await make(shop, "ann"))[0]
    shop.delete(first)
    assert first not in ids(shop, await make(shop, "ann", k=500))


@pytest.mark.parametrize(
    ("seen", "left_out"),
    [
        ("UNSPECIFIED", {"lamp-1", "lamp-2", "lamp-3"}),
        ("EXCLUDE_HISTORY_AND_PURCHASES", {"lamp-1", "lamp-2", "lamp-3"}),
        ("EXCLUDE_PURCHASES", {"lamp-2", "lamp-3"}),
        ("INCLUDE", {"lamp-3"}),
    ],
)
async def test_the_seen_policy_decides_but_hidden_items_stay_away(
    shop: Shop, seen: str, left_out: set[str]
) -> None:
    shop.user("ann", [("click", "lamp-1")], purchased=("lamp-2",), hidden=("lamp-3",))
    listed = ids(shop, await make(shop, "ann", k=500, seen=f"SEEN_POLICY_{seen}"))
    assert {f"lamp-{n}" for n in range(1, 4)} - set(listed) == left_out


async def test_a_narrow_filter_still_returns_all_that_it_allows(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    filters = pb.Filters(categories_any=["vase"], price=pb.Range(min=40, max=60))
    listed = ids(shop, await make(shop, "ann", k=10, filters=filters))
    assert sorted(listed) == ["vase-3", "vase-4", "vase-5"]


async def test_filters_that_allow_nothing_give_an_empty_list(shop: Shop) -> None:
    listed = await make(shop, "ann", filters=pb.Filters(categories_any=["boat"]))
    assert ids(shop, listed) == []


async def test_k_beyond_the_catalogue_gives_all_of_it(shop: Shop) -> None:
    assert len(ids(shop, await make(shop, "nobody", k=500))) == 120


async def test_an_empty_catalogue_gives_an_empty_list() -> None:
    shop = Shop(each=0)
    assert ids(shop, await make(shop, "nobody")) == []


async def test_caps_bring_nothing_beside_the_callers_candidates(shop: Shop) -> None:
    caps = pb.Rules(caps=[pb.CategoryCap(category="lamp", at_most=2)])
    candidates = ["lamp-1", "lamp-2", "lamp-3", "rug-1"]
    listed = ids(shop, await make(shop, "ann", k=10, candidates=candidates, rules=caps))
    assert len(listed) == 3
    assert set(listed) < set(candidates)


async def test_a_list_is_full_although_caps_leave_few_candidates(shop: Shop) -> None:
    shop.user("ann", [("click", f"lamp-{n}") for n in range(5)])
    caps = pb.Rules(caps=[pb.CategoryCap(category=" lamp", at_most=2)])
    listed = ids(shop, await make(shop, "ann", k=50, rules=caps))
    assert len(listed) == 50
    assert kinds(listed).count("lamp") == 2


async def test_pins_stand_where_they_are_put_unless_hidden(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")], hidden=("rug-2",))
    pins = [pb.PinRule(item_id="lamp-3", position=2), pb.PinRule(item_id="rug-2", position=0)]
    listed = ids(shop, await make(shop, "ann", k=5, rules=pb.Rules(pins=pins)))
    assert listed[2] == "lamp-3"
    assert "rug-2" not in listed


async def test_a_boost_lifts_what_matches_and_stands_among_the_contributions(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    match = pb.Filters(categories_any=["rug"])
    rules = pb.Rules(boosts=[pb.BoostRule(match=match, factor=50, name="rugs")])
    made = await make(shop, "ann", k=5, rules=rules, diversity=0)
    listed = made.listed
    assert "rug" in kinds(ids(shop, made))
    ((name, added),) = listed.rules
    assert name == "rugs"
    assert (listed.parts.sum(axis=1) + added == listed.scores).all()


async def test_histories_of_also_users_are_merged_for_this_list(shop: Shop) -> None:
    shop.user("visitor", [("click", "rug-1"), ("click", "rug-2")])
    listed = ids(shop, await make(shop, "login", also_user_ids=["visitor"], k=5, diversity=0))
    assert kinds(listed) == ["rug"] * 5
    assert not {"rug-1", "rug-2"} & set(listed)


async def test_candidates_of_the_caller_are_ranked_and_no_others(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    made = await make(shop, "ann", candidates=["rug-1", "lamp-9", "unknown", "lamp-3"])
    assert ids(shop, made) == ["lamp-9", "rug-1"]


async def test_without_redis_the_list_is_made_of_trending_and_new_and_says_so(shop: Shop) -> None:
    shop.trends("all", {"rug-3": 8.0})
    shop.user("ann", [("click", "lamp-3")])
    await shop.space.trending.renew()
    shop.reader.gone = True
    deadline = a_deadline()
    query = requests.recommend(pb.RecommendRequest(user_id="ann"))
    made = await recommend(query, shop.space, deadline)
    assert ids(shop, made)[0] == "rug-3"
    assert len(ids(shop, made)) == 10
    assert deadline.degraded == [degraded.STATE_UNAVAILABLE]


async def test_a_position_is_waited_for_until_the_guard_reaches_it(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")], offset=6)
    deadline = a_deadline()
    made = await make(shop, "ann", deadline, after="0:6")
    assert deadline.degraded == []
    assert [str(position) for position in made.input.positions] == ["0:6"]


async def test_a_position_that_does_not_come_costs_half_the_deadline_and_is_named(
    shop: Shop,
) -> None:
    deadline = a_deadline(0.1)
    began = time.monotonic()
    made = await make(shop, "ann", deadline, after="0:6")
    assert deadline.degraded == [degraded.AFTER_TIMEOUT]
    assert time.monotonic() - began < 0.095
    assert len(made.listed.rows) == 10


async def test_one_read_that_fails_does_not_end_the_wait_for_a_position(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.user("ann", [("click", "lamp-3")], offset=6)
    read, failures = shop.reader.states, [Unavailable("late"), Unavailable("late")]

    async def states(*arguments: Any) -> UserStates:
        if failures:
            raise failures.pop()
        return await read(*arguments)

    monkeypatch.setattr(shop.reader, "states", states)
    deadline = a_deadline()
    await make(shop, "ann", deadline, after="0:6")
    assert deadline.degraded == []


async def test_a_position_whose_event_changed_nothing_is_reached_by_its_partition(
    shop: Shop,
) -> None:
    shop.reader.applied[3] = 20
    deadline = a_deadline()
    await make(shop, "nobody", deadline, after="3:20")
    assert deadline.degraded == []


async def test_a_segment_opens_its_trending(shop: Shop) -> None:
    shop.trends("all", {"lamp-1": 5.0})
    shop.trends("s:de", {"vase-1": 5.0})
    made = await make(shop, "nobody", context={"segment": "de"}, k=2)
    assert set(ids(shop, made)) == {"lamp-1", "vase-1"}


@pytest.mark.parametrize(
    ("said", "context", "best"),
    [
        ({"country": "DE"}, {}, "vase-1"),
        ({"country": "DE", "segments": ("vip", "new")}, {}, "rug-1"),
        ({"country": "DE", "segments": ("vip",)}, {"segment": "DE"}, "vase-1"),
        ({"attributes": {"country": "DE"}}, {}, "lamp-1"),
    ],
)
async def test_without_a_segment_the_users_first_or_else_the_country_opens_its_trending(
    shop: Shop, said: dict[str, Any], context: dict[str, str], best: str
) -> None:
    shop.trends("all", {"lamp-1": 5.0})
    shop.trends("s:DE", {"vase-1": 5.0})
    shop.trends("s:vip", {"rug-1": 5.0})
    shop.reader.said["nobody"] = User(user_id="nobody", **said)
    made = await make(shop, "nobody", context=context, k=2)
    assert best in ids(shop, made)


@pytest.mark.parametrize(
    ("said", "context", "boosted"),
    [
        ({"segments": ("new", "vip")}, {}, True),
        ({"country": "vip"}, {}, True),
        ({}, {"segment": "vip"}, True),
        ({"segments": ("new",), "attributes": {"vip": True}}, {"segment": "new"}, False),
    ],
)
async def test_a_boost_of_segments_is_for_their_users_alone(
    shop: Shop, said: dict[str, Any], context: dict[str, str], boosted: bool
) -> None:
    shop.user("ann", [("click", "lamp-3")])
    shop.reader.said["ann"] = User(user_id="ann", **said)
    match = pb.Filters(categories_any=["rug"])
    rules = pb.Rules(
        boosts=[pb.BoostRule(match=match, factor=50, name="rugs", segments_any=["vip", "x"])]
    )
    made = await make(shop, "ann", context=context, rules=rules)
    assert [name for name, _ in made.listed.rules] == (["rugs"] if boosted else [])


async def test_models_see_what_the_shop_says_of_the_one_who_asks(shop: Shop) -> None:
    shop.reader.said["ann"] = User(user_id="ann", country="JP", attributes={"age": "25-34"})
    shop.reader.said["bob"] = User(user_id="bob", attributes={"age": "56+", "vip": True})
    made = await make(shop, "ann", also_user_ids=["bob"])
    assert made.input.attributes == {"age": "25-34", "country": "JP"}
    assert (await make(shop, "nobody")).input.attributes == {}


@pytest.mark.parametrize("boost", [0.0, 1.0, 30.0])
async def test_contributions_sum_to_the_score_whatever_the_rules(shop: Shop, boost: float) -> None:
    shop.user("ann", [("click", "lamp-3"), ("dislike", "rug-4")], hidden=("rug-4",))
    shop.follows("lamp-3", {"rug-7": 3.0})
    shop.trends("all", {"rug-3": 8.0})
    match = pb.Filters(categories_any=["rug", "lamp"])
    rules = pb.Rules(boosts=[pb.BoostRule(match=match, factor=boost)])
    listed = (await make(shop, "ann", k=100, rules=rules)).listed
    total = listed.parts.sum(axis=1)
    for _, added in listed.rules:
        total = total + added
    assert (total == listed.scores).all()


async def test_work_that_no_longer_fits_is_left_out_and_named(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    deadline = a_deadline()
    for cost in (shop.space.searcher.cost_of(NEAREST), deadline.costs.of(DIVERSITY)):
        for _ in range(COLD):
            cost.note(10.0)
    made = await make(shop, "ann", deadline)
    assert deadline.degraded == [degraded.NEAREST_SKIPPED, degraded.DIVERSITY_SKIPPED]
    assert len(made.listed.rows) == 10


class Searched(IndexSearcher):
    """Searches that take what a test says on the test's clock, not on this machine's."""

    def __init__(self, shop: Shop, each_s: float) -> None:
        self.each_s, self.now_s, self._all_s = each_s, 0.0, 0.0
        super().__init__(
            shop.space.index, costs=Costs(lambda: self.now_s), worked_s=self._searches_s
        )

    def _searches_s(self) -> float:
        self._all_s += self.each_s  # each search asks before and after
        return self._all_s


async def test_lists_have_the_nearest_again_once_a_search_became_short(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    searcher = Searched(shop, each_s=34.0)
    shop.space = dataclasses.replace(shop.space, searcher=searcher)

    async def skipped(lists: int) -> int:
        count = 0
        for _ in range(lists):
            searcher.now_s += 0.1
            deadline = a_deadline(50.0)
            await make(shop, "ann", deadline)
            count += degraded.NEAREST_SKIPPED in deadline.degraded
        return count

    assert await skipped(COLD) == 0
    assert 150 < await skipped(300) < 300  # trials go on
    searcher.each_s = 1.0
    await skipped(100)
    assert await skipped(300) == 0


async def test_a_new_snapshot_is_searched_at_once(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    searcher = Searched(shop, each_s=34.0)
    shop.space = dataclasses.replace(shop.space, searcher=searcher)
    for _ in range(COLD + 1):
        deadline = a_deadline(50.0)
        await make(shop, "ann", deadline)
    assert deadline.degraded == [degraded.NEAREST_SKIPPED]
    shop.space.index.name = "snapshot"
    made = await make(shop, "ann")
    assert (made.gathered.proposed & BIT["content"]).any()


async def test_a_search_that_takes_longer_than_expected_is_left_out_in_time(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    go_on = threading.Event()

    def slow() -> float:
        go_on.wait(10)
        return 0.0

    searcher = IndexSearcher(shop.space.index, worked_s=slow)
    shop.space = dataclasses.replace(shop.space, searcher=searcher)
    await shop.space.trending.renew()
    deadline = a_deadline(0.5)
    made = await make(shop, "ann", deadline)
    go_on.set()
    assert deadline.degraded[0] == degraded.NEAREST_SKIPPED
    assert len(made.listed.rows) == 10


async def test_work_that_is_left_out_is_not_measured(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    deadline = a_deadline()
    cost = deadline.costs.of(DIVERSITY)
    for _ in range(COLD):
        cost.note(10.0)
    await make(shop, "ann", deadline)
    assert cost.recent_s == 10.0


async def test_every_stage_is_timed(shop: Shop) -> None:
    deadline = a_deadline()
    await make(shop, "nobody", deadline)
    stages = [stage for stage, _ in deadline.timings]
    assert stages == ["state", "candidates", "filter", "rank", "arrange"]


async def test_items_may_come_and_go_while_a_search_is_waited_for(shop: Shop) -> None:
    shop.user("ann", [("click", "lamp-3")])
    in_threads = dataclasses.replace(
        shop.space, searcher=IndexSearcher(shop.space.index, on_loop_s=-1)
    )
    await shop.space.trending.renew()
    fields: list[dict[str, Any]] = [
        {"k": 500},
        {"filters": pb.Filters(categories_any=["rug"])},
        {"rules": pb.Rules(caps=[pb.CategoryCap(at_most=2)]), "k": 50},
    ]

    async def ask(n: int) -> None:
        query = requests.recommend(pb.RecommendRequest(user_id="ann", **fields[n % len(fields)]))
        made = await recommend(query, in_threads, a_deadline())
        assert len(made.listed.rows) > 0

    async def change(n: int) -> None:
        for step in range(60):
            shop.put([item_vector(f"more-{n}-{step}", near(n % 4, step), categories=("rug",))])
            if step % 3 == 0:
                shop.delete(f"more-{n}-{step}")
            await asyncio.sleep(0)

    await asyncio.gather(*(ask(n) for n in range(60)), *(change(n) for n in range(20)))


def by_size(*sizes: float) -> pb.Filters:
    wanted = [item_pb2.Attribute(number=size) for size in sizes]
    return pb.Filters(attributes=[pb.AttributeFilter(name="size", any_of=wanted)])


def sized(shop: Shop) -> list[str]:
    """Give every item a size and a tag of its own beside the common one; return the items."""
    shop.put(
        msgspec.structs.replace(
            each,
            item=msgspec.structs.replace(
                each.item, attributes={"size": float(n)}, tags=("all", f"tag-{n}")
            ),
        )
        for n, each in enumerate(shop.items)
    )
    return [each.item_id for each in shop.items]


async def test_filters_and_boosts_look_at_candidates_and_not_at_the_catalogue(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = sized(shop)[:4]
    looked_at: list[int] = []
    entries, any_of = Attributes.entries, LabelSets.any_of

    def count_entries(self: Attributes, rows: NDArray[np.int64] | None = None) -> AttributeEntries:
        found = entries(self, rows)
        looked_at.append(len(found.coded))
        return found

    def count_labels(self: LabelSets, labels: Iterable[str]) -> NDArray[np.bool_]:
        looked_at.append(sum(len(self._postings[label]) for label in labels))
        return any_of(self, labels)

    monkeypatch.setattr(Attributes, "entries", count_entries)
    monkeypatch.setattr(LabelSets, "any_of", count_labels)
    monkeypatch.setattr(labels, "ENTRIES_A_ROW", 1)
    filters = by_size(*range(60))
    filters.tags_any.append("all")
    rules = pb.Rules(
        boosts=[pb.BoostRule(match=by_size(2.0), factor=3.0)]
        + [pb.BoostRule(match=pb.Filters(tags_any=["all"]), factor=1.1)] * 31
    )
    made = await make(shop, "ann", candidates=asked, filters=filters, rules=rules)
    assert sorted(ids(shop, made)) == sorted(asked)
    assert max(looked_at) <= 4
    (raised,) = np.flatnonzero(made.ranked.rules[0][1]).tolist()
    assert shop.catalogue.ids[made.ranked.rows[raised]] == "lamp-2"


async def test_boosts_that_take_longer_than_the_deadline_end_with_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sized(shop)
    now_s, looked = 0.0, 0
    matches = ItemFilter.matches

    def slow(self: ItemFilter, *given: Any) -> NDArray[np.bool_]:
        nonlocal now_s, looked
        now_s, looked = now_s + 0.01, looked + 1
        return matches(self, *given)

    monkeypatch.setattr(ItemFilter, "matches", slow)
    rules = pb.Rules(boosts=[pb.BoostRule(match=by_size(1.0), factor=2.0)] * 32)
    with pytest.raises(TimeoutError):
        await make(shop, "ann", Deadline(0.1, lambda: now_s, Costs()), rules=rules)
    assert looked == 11
