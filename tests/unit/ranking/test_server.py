"""Every method with any request: answered, or refused in the words of the contract."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freshet.contract.users import User, user_of_message
from freshet.errors import Unavailable
from freshet.v1 import recommender_pb2 as pb
from services.ranking.live.impressions import Impressions
from services.ranking.server import Recommender
from shared.runtime.call_guard import STATUSES, Admission, CallGuard
from shared.runtime.deadline import Costs, Deadline
from shared.users.session_vectors import marked
from tests.unit.ranking.live.test_forget import MemoryClicks
from tests.unit.ranking.live.test_impressions import MemoryLog
from tests.unit.ranking.messages import any_message
from tests.unit.ranking.shop import Shop, item_vector, near
from tests.unit.ranking.test_similar_search import MemoryEmbedding
from tests.unit.shared.users.makers import state_of

HANDLERS = {
    pb.RecommendRequest: Recommender._recommend,
    pb.SimilarRequest: Recommender._similar,
    pb.SearchRequest: Recommender._search,
    pb.StateRequest: Recommender._state,
    pb.ExplainRequest: Recommender._explain,
    pb.ForgetRequest: Recommender._forget,
    pb.AppliedRequest: Recommender._applied,
}


def recommender(each: int = 8, guard: CallGuard | None = None) -> Recommender:
    shop = Shop(each)
    shop.user("ann", [("click", "lamp-3"), ("dislike", "rug-1")], hidden=("rug-1",))
    shop.user("bob", [("purchase", "vase-3")], purchased=("vase-3",))
    shop.user("dan", [("click", "lamp-3")])
    shop.reader.users["cid"] = state_of(disliked=tuple(range(1_000)), hidden=tuple(range(999)))
    shop.follows("lamp-3", {"rug-7": 3.0, "gone": 2.0})
    shop.trends("all", {"vase-1": 5.0, "gone": 9.0})
    embedding = MemoryEmbedding()
    embedding.vectors["lamp"] = near(0, 3)
    served = Recommender(
        guard or CallGuard(Admission(4)),
        Impressions(MemoryLog(), 1_000_000),
        embedding,
        MemoryClicks(),
        list_s=0.05,
        slow_s=2.0,
    )
    served.space = shop.space
    return served


RECOMMENDER, EMPTY = recommender(), recommender(each=0)


def answer(message: Message, whole_s: float = 5.0, served: Recommender = RECOMMENDER) -> Any:
    """Return a method's reply to a request; raises what becomes a status."""
    deadline = Deadline(time.monotonic() + whole_s, time.monotonic, Costs())
    return asyncio.run(HANDLERS[type(message)](served, message, deadline))  # type: ignore[operator]


def check(message: Message, served: Recommender = RECOMMENDER) -> None:
    """Fail unless a request is answered or refused in the contract's words."""
    try:
        reply = answer(message, served=served)
    except tuple(STATUSES):
        return
    assert reply.IsInitialized()
    if isinstance(message, pb.RecommendRequest):
        listed = [item.item_id for item in reply.items]
        assert len(listed) == len(set(listed)) <= (message.k or 10)
        assert "rug-1" not in listed or message.user_id != "ann"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(list(HANDLERS)).flatmap(any_message))
def test_any_message_is_answered_or_refused(message: Message) -> None:
    check(message)
    check(message, EMPTY)


def test_a_reply_names_the_callers_candidates_that_cannot_be_listed() -> None:
    reply = answer(pb.RecommendRequest(user_id="ann", candidates=["rug-2", "rug-1", "nothing"]))
    assert [item.item_id for item in reply.items] == ["rug-2"]
    assert [(each.item_id, each.fate.cause) for each in reply.missing] == [
        ("rug-1", "hidden"),
        ("nothing", "unknown"),
    ]


def test_a_state_is_shown_with_the_vectors_of_what_has_come_since() -> None:
    served, shop = recommender(), Shop(each=3)
    state = shop.user("ann", [("click", "lamp-1"), ("click", "late")])
    (history,) = marked([state.history_bytes], shop.catalogue)
    shop.reader.users["ann"] = msgspec.structs.replace(state, history_bytes=history)
    served.space = shop.space
    asked = pb.StateRequest(user_id="ann")
    assert len(answer(asked, served=served).state.interests) == 1
    shop.put([item_vector("late", near(2, 7))])
    assert len(answer(asked, served=served).state.interests) == 2


def test_a_state_shows_what_the_shop_says_also_of_who_has_done_nothing_yet() -> None:
    served, shop = recommender(), Shop(each=3)
    said = shop.reader.said["eve"] = User(user_id="eve", country="JP", attributes={"vip": True})
    served.space = shop.space
    reply = answer(pb.StateRequest(user_id="eve"), served=served)
    assert reply.known
    assert user_of_message(reply.state.user) == said
    nobody = answer(pb.StateRequest(user_id="nobody"), served=served)
    assert not nobody.known
    assert not nobody.state.HasField("user")


def test_an_event_has_taken_effect_once_its_partition_is_applied_that_far() -> None:
    served, shop = recommender(), Shop(each=3)
    shop.reader.applied[3] = 17
    served.space = shop.space

    def applied(position: str) -> bool:
        reply: pb.AppliedResponse = answer(
            pb.AppliedRequest(position=position), whole_s=0.2, served=served
        )
        return reply.applied

    assert applied("3:17")
    assert applied("3:16")
    assert not applied("3:18")
    assert not applied("4:0")
    shop.reader.gone = True
    with pytest.raises(Unavailable, match="cannot be read in time"):
        applied("3:17")


@pytest.mark.parametrize(
    "message",
    [
        pb.RecommendRequest(user_id="ann", request_id="mine-7"),
        pb.SimilarRequest(item_id="lamp-3", request_id="mine-7"),
        pb.SearchRequest(text="lamp", request_id="mine-7"),
    ],
)
def test_a_request_keeps_its_callers_id(message: Message) -> None:
    assert answer(message).request_id == "mine-7"
    message.ClearField("request_id")
    assert len({answer(message).request_id for _ in range(3)} - {""}) == 3


@pytest.mark.parametrize(
    "message",
    [
        pb.RecommendRequest(user_id="ann"),
        pb.RecommendRequest(user_id="ann", also_user_ids=["bob"], candidates=["lamp-3"]),
        pb.SimilarRequest(image=b"lamp"),
        pb.SearchRequest(text="lamp"),
        pb.StateRequest(user_id="ann"),
    ],
)
def test_before_the_first_item_every_list_is_empty_and_a_state_is_shown(message: Message) -> None:
    reply = answer(message, served=EMPTY)
    if isinstance(reply, pb.StateResponse):
        assert [entry.type for entry in reply.state.history] == ["click", "dislike"]
    else:
        assert list(reply.items) == []


def test_similar_says_why_the_picture_of_its_item_is_missing() -> None:
    shop, served = Shop(4), recommender(each=0)
    shop.put([item_vector("lamp-0", near(0, 0), picture_missing="bad-picture: cut off")])
    served.space = shop.space
    for item_id, reason in (("lamp-0", "bad-picture: cut off"), ("lamp-1", "")):
        reply = answer(pb.SimilarRequest(item_id=item_id), served=served)
        assert reply.items
        assert reply.picture_missing == reason


ITEMS = st.sampled_from(["lamp-1", "lamp-3", "rug-1", "vase-3", "chair-7", "gone", "é"])
USERS = st.sampled_from(["ann", "bob", "nobody"])
KINDS = st.lists(st.sampled_from(["lamp", "rug", "boat"]), max_size=2)
RANGES = st.builds(pb.Range, min=st.floats(0, 50), max=st.floats(50, 100))
FILTERS = st.builds(
    pb.Filters,
    categories_any=KINDS,
    categories_none=KINDS,
    price=st.one_of(st.none(), RANGES),
    include_out_of_stock=st.booleans(),
)
BOOSTS = st.builds(pb.BoostRule, match=FILTERS, factor=st.floats(0, 100, width=32))


def test_a_state_says_which_lists_are_full() -> None:
    assert list(answer(pb.StateRequest(user_id="cid")).state.full) == ["disliked"]


PINS = st.lists(
    st.tuples(ITEMS, st.integers(0, 4)), max_size=3, unique_by=(lambda p: p[0], lambda p: p[1])
)
CAPS = st.builds(
    pb.CategoryCap, category=st.sampled_from(["", "lamp", "rug"]), at_most=st.integers(1, 5)
)


@st.composite
def good_requests(draw: st.DrawFn) -> pb.RecommendRequest:
    """Return Recommend requests that are within all bounds."""
    pins = [pb.PinRule(item_id=item, position=position) for item, position in draw(PINS)]
    return pb.RecommendRequest(
        user_id=draw(USERS),
        also_user_ids=draw(st.lists(USERS, max_size=2)),
        k=draw(st.one_of(st.just(0), st.integers(5, 60))),
        candidates=draw(st.lists(ITEMS, max_size=4)),
        context=draw(st.sampled_from([{}, {"segment": "de"}])),
        filters=draw(FILTERS),
        exclude=draw(st.lists(ITEMS, max_size=3)),
        seen=draw(st.integers(0, 3)),  # type: ignore[arg-type]
        diversity=draw(st.floats(0, 1, width=32)),
        rules=pb.Rules(
            boosts=draw(st.lists(BOOSTS, max_size=3)), pins=pins, caps=draw(st.lists(CAPS))[:3]
        ),
        explain=draw(st.booleans()),
    )


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(good_requests())
def test_every_request_within_bounds_gets_its_list(message: pb.RecommendRequest) -> None:
    check(message)
    items = answer(message).items
    for item in items:
        if message.explain:
            assert sum(part.value for part in item.contributions) == item.score
    limits = {cap.category: cap.at_most for cap in message.rules.caps}
    pinned = {pin.item_id for pin in message.rules.pins}
    for kind in ("lamp", "rug"):
        listed = {item.item_id for item in items if item.item_id.startswith(kind)}
        assert len(listed - pinned) <= limits.get(kind, limits.get("", 500))


@pytest.mark.parametrize("whole_s", [0.0, 0.001, 0.005])
def test_however_little_time_there_is_a_list_comes(whole_s: float) -> None:
    reply = answer(pb.RecommendRequest(user_id="ann"), whole_s)
    assert len(reply.items) == 10
