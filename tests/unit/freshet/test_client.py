"""What a client sends, what it refuses to send, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from freshet import (
    AttributeFilter,
    Boost,
    By,
    Cap,
    Client,
    Contribution,
    Filters,
    HistoryEntry,
    InvalidRequest,
    ItemFate,
    Pin,
    Range,
    RankedList,
    Rules,
    Seen,
    StageStep,
    StageTrace,
    State,
    Versions,
)
from freshet.contract.users import User
from freshet.v1 import item_pb2
from freshet.v1 import recommender_pb2 as pb
from tests.unit.freshet.ranking_double import RankingDouble

Ask = Callable[[Client], Coroutine[Any, Any, object]]

FILTERS = Filters(
    categories_any=("mugs",),
    categories_none=("cups",),
    tags_any=("blue", "green"),
    price=Range(max=20),
    currency="EUR",
    attributes=(
        AttributeFilter("material", any_of=("clay", 2.5, True)),
        AttributeFilter("volume_ml", range=Range(200, 400)),
    ),
    include_unavailable=True,
)
FILTERS_MESSAGE = pb.Filters(
    categories_any=["mugs"],
    categories_none=["cups"],
    tags_any=["blue", "green"],
    price=pb.Range(max=20),
    currency="EUR",
    attributes=[
        pb.AttributeFilter(
            name="material",
            any_of=[
                item_pb2.Attribute(text="clay"),
                item_pb2.Attribute(number=2.5),
                item_pb2.Attribute(flag=True),
            ],
        ),
        pb.AttributeFilter(name="volume_ml", range=pb.Range(min=200, max=400)),
    ],
    include_unavailable=True,
)
RULES = Rules(
    boosts=(Boost(FILTERS, 1.5, name="season", segments_any=("vip",)),),
    pins=(Pin("mug", 0),),
    caps=(Cap(3, category="mugs"), Cap(5)),
)
RULES_MESSAGE = pb.Rules(
    boosts=[pb.BoostRule(match=FILTERS_MESSAGE, factor=1.5, name="season", segments_any=["vip"])],
    pins=[pb.PinRule(item_id="mug", position=0)],
    caps=[pb.CategoryCap(category="mugs", at_most=3), pb.CategoryCap(at_most=5)],
)


async def test_a_list_is_a_sequence_of_items_that_knows_how_it_was_made(client: Client) -> None:
    listed = await client.recommend("ada", k=5)

    assert isinstance(listed, Sequence)
    assert [(item.item_id, item.score, item.title) for item in listed] == [
        ("mug", 1.5, "Mug"),
        ("cup", 1.25, "Cup"),
    ]
    assert (len(listed), listed[0], listed[1:]) == (2, listed.items[0], listed.items[1:])
    assert listed[0] in listed
    assert list(reversed(listed)) == [listed[1], listed[0]]
    assert listed[0].reason == "because"
    assert listed[0].contributions == (Contribution("trending", 1.5),)
    assert listed.request_id == "r1"
    assert listed.degraded == ("covisits",)
    assert listed.versions == Versions(space="s", snapshot="n", ranker="blend")
    assert listed.state_positions == ("3:1024",)
    assert listed.timings == {"state": 0.5}


async def test_ids_and_contexts_are_read_as_in_records(
    client: Client, ranking: RankingDouble
) -> None:
    await client.recommend(42, exclude=[7], context={"page": 2})  # type: ignore[arg-type, dict-item, list-item]

    assert isinstance(ranking.request, pb.RecommendRequest)
    assert (ranking.request.user_id, list(ranking.request.exclude)) == ("42", ["7"])
    assert ranking.request.context == {"page": "2"}


async def test_a_list_cannot_be_changed_and_shows_itself_in_a_line(client: Client) -> None:
    listed = await client.recommend("ada")

    with pytest.raises(AttributeError):
        listed.items = ()  # type: ignore[misc]
    assert repr(listed) == "<RankedList of 2: mug 1.500, cup 1.250, degraded: covisits>"
    assert not RankedList(items=())


async def test_a_request_for_a_list_carries_all_that_is_asked(
    client: Client, ranking: RankingDouble
) -> None:
    await client.recommend(
        "ada",
        k=5,
        also_user_ids=["cookie-1"],
        candidates=iter(["mug", "cup"]),
        context={"segment": "de"},
        filters=FILTERS,
        exclude=("jug",),
        seen=Seen.INCLUDE,
        diversity=0,
        rules=RULES,
        after="3:1024",
        explain=True,
        trace=True,
        surface="home",
    )

    assert ranking.request == pb.RecommendRequest(
        user_id="ada",
        k=5,
        also_user_ids=["cookie-1"],
        candidates=["mug", "cup"],
        context={"segment": "de"},
        filters=FILTERS_MESSAGE,
        exclude=["jug"],
        seen=pb.SEEN_POLICY_INCLUDE,
        diversity=0,
        rules=RULES_MESSAGE,
        after="3:1024",
        explain=True,
        trace=True,
        surface="home",
    )


async def test_what_is_not_asked_for_is_left_to_the_service(
    client: Client, ranking: RankingDouble
) -> None:
    await client.recommend("ada")

    seen = pb.SEEN_POLICY_EXCLUDE_HISTORY_AND_PURCHASES
    assert ranking.request == pb.RecommendRequest(user_id="ada", k=10, seen=seen)


SENT: list[tuple[Ask, object]] = [
    (
        lambda client: client.similar("mug", by=By.VISUAL, k=3, filters=FILTERS, exclude=["cup"]),
        pb.SimilarRequest(
            item_id="mug",
            by=pb.SIMILAR_BY_VISUAL,
            k=3,
            filters=FILTERS_MESSAGE,
            exclude=["cup"],
        ),
    ),
    (
        lambda client: client.similar(image=b"jpeg"),
        pb.SimilarRequest(image=b"jpeg", by=pb.SIMILAR_BY_BLEND, k=10),
    ),
    (
        lambda client: client.search("blue mug", k=3, filters=FILTERS, exclude=["cup"]),
        pb.SearchRequest(text="blue mug", k=3, filters=FILTERS_MESSAGE, exclude=["cup"]),
    ),
    (lambda client: client.search(image=b"jpeg"), pb.SearchRequest(image=b"jpeg", k=10)),
    (
        lambda client: client.state("ada", after="3:7"),
        pb.StateRequest(user_id="ada", after="3:7"),
    ),
    (
        lambda client: client.explain(
            "ada",
            "mug",
            k=5,
            context={"segment": "de"},
            filters=FILTERS,
            exclude=["cup"],
            seen=Seen.INCLUDE,
            diversity=0.5,
            rules=RULES,
        ),
        pb.ExplainRequest(
            user_id="ada",
            item_id="mug",
            k=5,
            context={"segment": "de"},
            filters=FILTERS_MESSAGE,
            exclude=["cup"],
            seen=pb.SEEN_POLICY_INCLUDE,
            diversity=0.5,
            rules=RULES_MESSAGE,
        ),
    ),
    (lambda client: client.forget("ada"), pb.ForgetRequest(user_id="ada")),
]


@pytest.mark.parametrize(("ask", "message"), SENT)
async def test_the_other_requests_carry_all_that_is_asked(
    client: Client, ranking: RankingDouble, ask: Ask, message: object
) -> None:
    await ask(client)

    assert ranking.request == message


async def test_similar_and_search_give_lists_too(client: Client) -> None:
    similar, found = await client.similar("mug"), await client.search("mug")

    assert [item.item_id for item in similar] == [item.item_id for item in found] == ["mug", "cup"]
    assert (similar.request_id, found.request_id) == ("r2", "r3")
    assert similar.state_positions == ()


async def test_a_state_is_a_plain_value(client: Client) -> None:
    assert await client.state("ada") == State(
        user_id="ada",
        known=True,
        history=(HistoryEntry("mug", "click", 1000, 2.0, title="Mug"),),
        space="s",
        session_vector=(0.5, 0.25),
        interests=((1.0, 0.0),),
        excluded=("cup",),
        disliked=("cup",),
        positions=("3:1024",),
        full=("purchased",),
        user=User(user_id="ada", country="JP", segments=("vip",)),
    )


async def test_a_lists_way_is_told_where_it_is_asked_for(client: Client) -> None:
    assert (await client.recommend("ada", trace=True)).trace == (
        StageTrace("state", 0.5, degraded=("covisits",)),
        StageTrace("filter", 0.25, candidates=2, steps=(StageStep("seen", removed=3),)),
    )
    assert (await client.recommend("ada")).trace == ()


async def test_a_list_of_the_callers_candidates_says_which_are_missing_and_why(
    client: Client,
) -> None:
    (missing,) = (await client.recommend("ada", candidates=["mug", "cup", "pot"])).missing
    assert (missing.item_id, missing.fate.stage, missing.fate.cause) == ("pot", "filter", "seen")
    assert (await client.recommend("ada")).missing == ()


async def test_an_explanation_has_the_item_the_rankers_inputs_and_its_fate(client: Client) -> None:
    explained = await client.explain("ada", "mug")

    assert explained.item.item_id == "mug"
    assert explained.features == {"covisits": 0.5}
    assert explained.fate == ItemFate(
        stage="filter",
        cause="seen",
        position=None,
        rank=None,
        ranked=400,
        lowest_listed_score=0.5,
    )


async def test_forgetting_returns_the_position_to_wait_for(client: Client) -> None:
    assert await client.forget("ada") == "3:1025"


REFUSED: list[tuple[Ask, str, str]] = [
    (lambda client: client.recommend("ada", k=10_000), "k", "between 1 and 500"),
    (lambda client: client.recommend("ada", k=0), "k", "between 1 and 500"),
    (lambda client: client.recommend("ada", k=2**70), "k", "between 1 and 500"),
    (
        lambda client: client.recommend(""),
        "user_id",
        "1-128 bytes of UTF-8 without control characters",
    ),
    (lambda client: client.recommend("ada", candidates=[]), "candidates", "1-1000 ids"),
    (lambda client: client.recommend("ada", exclude="mug"), "exclude", "several ids"),
    (lambda client: client.recommend("ada", diversity=2), "diversity", "between 0 and 1"),
    (
        lambda client: client.recommend("ada", after="soon"),
        "after",
        "a position token, partition:offset",
    ),
    (
        lambda client: client.recommend("ada", filters=Filters(price=Range(9, 5))),
        "filters.price.min",
        "at most filters.price.max (5)",
    ),
    (
        lambda client: client.recommend("ada", rules=Rules(pins=(Pin("mug", 10),))),
        "rules.pins[0].position",
        "between 0 and k - 1 (9)",
    ),
    (lambda client: client.recommend(1.5), "user_id", "a text"),  # type: ignore[arg-type]
    (lambda client: client.recommend("ada", k="5"), "k", "of type int"),  # type: ignore[arg-type]
    (lambda client: client.similar("mug", k="5"), "k", "of type int"),  # type: ignore[arg-type]
    (lambda client: client.search("mug", k="5"), "k", "of type int"),  # type: ignore[arg-type]
    (
        lambda client: client.recommend("ada", exclude=[b"mug"]),  # type: ignore[list-item]
        "an entry of exclude",
        "a text",
    ),
    (
        lambda client: client.recommend("ada", filters={}),  # type: ignore[arg-type]
        "filters",
        "of type Filters",
    ),
    (
        lambda client: client.recommend(
            "ada",
            filters=Filters(categories_any="mugs"),  # type: ignore[arg-type]
        ),
        "categories_any",
        "of type array",
    ),
    (
        lambda client: client.recommend("ada", seen=9),  # type: ignore[arg-type]
        "seen",
        "one of EXCLUDE_HISTORY_AND_PURCHASES (1), EXCLUDE_PURCHASES (2), INCLUDE (3)",
    ),
    (
        lambda client: client.explain("ada", "mug", seen="include"),  # type: ignore[arg-type]
        "seen",
        "one of EXCLUDE_HISTORY_AND_PURCHASES (1), EXCLUDE_PURCHASES (2), INCLUDE (3)",
    ),
    (
        lambda client: client.similar("mug", by="visual"),  # type: ignore[arg-type]
        "by",
        "one of VISUAL (1), TEXT (2), BEHAVIOUR (3), BLEND (4)",
    ),
    (
        lambda client: client.recommend("ada", timeout=-1),
        "timeout",
        "seconds above 0, at most 86400",
    ),
    (
        lambda client: client.recommend("ada", timeout=float("inf")),
        "timeout",
        "seconds above 0, at most 86400",
    ),
    (lambda client: client.similar(), "query", "item_id or image"),
    (lambda client: client.similar("mug", image=b"jpeg"), "query", "item_id or image"),
    (
        lambda client: client.similar(image=b"jpeg", by=By.TEXT),
        "by",
        "visual or blend where the query is an image",
    ),
    (lambda client: client.search(" "), "text", "1-1024 bytes, not only spaces"),
    (lambda client: client.search(image=b""), "image", "1-4194304 bytes"),
    (
        lambda client: client.explain("ada", ""),
        "item_id",
        "1-128 bytes of UTF-8 without control characters",
    ),
]


@pytest.mark.parametrize(("ask", "field", "bound"), REFUSED)
async def test_what_is_out_of_bounds_is_refused_before_it_is_sent(
    client: Client, ranking: RankingDouble, ask: Ask, field: str, bound: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await ask(client)

    assert (refused.value.field, refused.value.bound) == (field, bound)
    assert str(refused.value).startswith(f"{field} must be {bound}, was ")
    assert ranking.calls == []


async def test_what_no_message_can_hold_is_refused_too(client: Client) -> None:
    with pytest.raises(InvalidRequest):
        await client.recommend("ada", rules=Rules(caps=(Cap(2**40),)))
    with pytest.raises(InvalidRequest):
        await client.recommend("\ud800")


@pytest.mark.parametrize(
    "address", ["", "ranking", "127.0.0.1:99999", ":50051", "127.0.0.1:0", "http://x:80", 5]
)
def test_an_address_without_host_or_port_is_refused(address: Any) -> None:
    with pytest.raises(ValueError, match=r"address must be host:port, such as 127\.0\.0\.1:50051"):
        Client(address)


@pytest.mark.parametrize(
    "address", ["ranking:50051", "dns:///ranking.shop:50051", "[::1]:50051", "unix:/run/ranking"]
)
def test_addresses_that_grpc_knows_are_taken(address: str) -> None:
    Client(address)


@pytest.mark.parametrize("token", ["", "secret\n", " secret", "sécret"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="token must be printable ASCII") as refused:
        Client(token=token)
    assert "secret" not in str(refused.value)


def test_a_state_shows_itself_in_a_line() -> None:
    state = State("ada", True, session_vector=(0.5,) * 96, positions=("3:7",))

    assert repr(state) == "<State of 'ada': 0 events, 0 interests, at 3:7>"
