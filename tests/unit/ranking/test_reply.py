from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.ranking import reply
from shared.users import event_types, keys, states
from tests.unit.ranking.shop import VECTORS, Shop
from tests.unit.ranking.test_recommend import make
from tests.unit.shared.users.makers import state_of


def test_a_state_is_shown_with_ids_types_and_times() -> None:
    shop = Shop(each=3)
    state = shop.user("ann", [("view", "lamp-1"), ("like", "gone")], hidden=("rug-1",), offset=9)
    unknown = f"key:{keys.item_key('gone'):016x}"
    shown = reply.state("ann", state, shop.catalogue, VECTORS.weights)
    assert [(entry.item_id, entry.type) for entry in shown.history] == [
        ("lamp-1", "view"),
        (unknown, "like"),
    ]
    assert shown.history[1].time_ms - shown.history[0].time_ms == 60_000
    assert shown.history[0].title == shop.catalogue.titles[shop.catalogue.row("lamp-1")] != ""
    assert shown.history[1].title == ""
    assert list(shown.excluded) == ["rug-1"]
    assert [(each.partition, each.offset) for each in shown.offsets] == [(0, 9)]
    assert len(shown.session_vector) == len(shown.long_term_vector) == 16
    assert len(shown.interests) == 1
    assert shown.space == "test"


def test_items_that_the_catalogue_lacks_are_shown_by_the_ids_that_were_sent() -> None:
    shop = Shop(each=3)
    state = shop.user("ann", [("view", "lamp-1"), ("like", "42.0")], hidden=("gone",))

    unknown = reply.unknown_items(state, shop.catalogue)
    assert unknown == [keys.item_key("42.0"), keys.item_key("gone")]

    sent = dict(zip(unknown, ("42.0", "gone"), strict=True))
    shown = reply.state("ann", state, shop.catalogue, VECTORS.weights, sent=sent)
    assert [entry.item_id for entry in shown.history] == ["lamp-1", "42.0"]
    assert list(shown.excluded) == ["gone"]


def test_values_and_session_starts_are_shown_where_they_are() -> None:
    shop = Shop(each=3)
    flags = states.HAS_VALUE | states.STARTS_SESSION
    history = [
        (keys.item_key("lamp-1"), 5, 0, 4.5, event_types.RATE, flags),
        (keys.item_key("lamp-1"), 6, 0, 0.0, event_types.OTHER, 0),
        (keys.item_key("lamp-1"), 7, 0, 0.0, event_types.UNKNOWN + 1, 0),
        (keys.item_key("lamp-1"), 8, 0, 0.0, event_types.HIDE + event_types.UNDONE, 0),
    ]
    state = state_of(
        history=history,
        hidden=(2, 3),
        disliked=(3,),
        purchased=(1,),
        forgotten_at_ms=3,
        type_names=("swipe", "wunschliste"),
    )
    shown = reply.state("ann", state, shop.catalogue, VECTORS.weights, full=["purchased"])
    assert [(e.type, e.value, e.starts_session) for e in shown.history] == [
        ("rate", 4.5, True),
        ("other", 0.0, False),
        ("wunschliste", 0.0, False),
        ("hide (undone)", 0.0, False),
    ]
    assert list(shown.excluded) == ["key:0000000000000002", "key:0000000000000003"]
    assert list(shown.disliked) == ["key:0000000000000003"]
    assert list(shown.full) == ["purchased"]
    assert list(shown.purchased) == ["key:0000000000000001"]
    assert shown.forgotten_at_ms == 3


async def test_each_item_names_what_speaks_for_it_and_what_is_popular_says_so() -> None:
    shop = Shop(each=10)
    shop.user("ann", [("click", "rug-1"), ("click", "lamp-1")])
    shop.follows("lamp-1", {"chair-1": 5, "chair-2": 5})
    shop.follows("rug-1", {"vase-1": 5, "vase-2": 4})
    shop.trends("all", {"chair-9": 9.0})
    made = await make(shop, "ann", k=40, diversity=0)
    listed = reply.items_of(made.listed, made, shop.space, explain=False)
    why = {item.item_id: item.reason for item in listed}
    assert why["chair-1"] == why["chair-2"] == "others went on to this from Lamp-1"
    assert why["vase-1"] == why["vase-2"] == "others went on to this from Rug-1"
    assert {why["chair-9"]} <= {"popular", "trending now"}
    assert {why[f"lamp-{n}"] for n in range(2, 10)} <= {
        "like Lamp-1",
        "because you clicked Lamp-1",
        "fits your taste: you clicked Lamp-1",
    }
    assert [item.rank for item in listed] == list(range(len(listed)))


async def test_before_the_first_event_an_unknown_user_is_told_what_is_true_of_any_item() -> None:
    shop = Shop(each=10)
    made = await make(shop, "nobody", k=20)
    listed = reply.items_of(made.listed, made, shop.space, explain=True)
    assert {item.reason for item in listed} == {"in the shop"}
    for item in listed:
        assert sum(part.value for part in item.contributions) == item.score


async def test_what_no_reason_of_a_list_speaks_of_is_not_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(each=30, towers=True)
    shop.user("ann", [("click", "rug-1"), ("click", "lamp-3")])
    shop.follows("lamp-3", {"rug-4": 5})
    made = await make(shop, "ann", k=10, diversity=0)
    looked_up: list[str] = []
    for name in ("_alike", "_followed", "_trending_in"):
        monkeypatch.setattr(reply, name, noting(looked_up, name, getattr(reply, name)))
    listed = reply.items_of(made.listed, made, shop.space, explain=False)
    assert {item.reason.split(":")[0] for item in listed} == {"because of what you watched last"}
    assert looked_up == ["_alike"], "of tower vectors"


def noting(names: list[str], name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return work that notes its name when it is done."""

    def noted(*given: Any) -> Any:
        names.append(name)
        return work(*given)

    return noted


async def test_an_items_rank_tells_its_place_by_score_wherever_it_stands() -> None:
    shop = Shop(each=10)
    shop.user("ann", [("click", "rug-1"), ("click", "lamp-1")])
    made = await make(shop, "ann", k=10, diversity=0.6)
    listed = reply.items_of(made.listed, made, shop.space, explain=False)
    assert [item.rank for item in listed] != list(range(10))
    by_rank = sorted(listed, key=lambda item: item.rank)
    assert [item.score for item in by_rank] == sorted((item.score for item in listed), reverse=True)


def test_an_unknown_users_state_is_empty() -> None:
    shown = reply.state("ann", states.empty(), Shop(each=1).catalogue, VECTORS.weights)
    assert shown.user_id == "ann"
    assert len(shown.history) == len(shown.session_vector) == 0
