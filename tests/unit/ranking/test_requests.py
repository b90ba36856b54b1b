from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freshet.contract.position_tokens import PositionToken
from freshet.contract.records import BadRecord
from freshet.contract.requests import Seen
from freshet.v1 import item_pb2
from freshet.v1 import recommender_pb2 as pb
from services.ranking import requests
from tests.unit.ranking.messages import any_message


def recommend(**fields: Any) -> requests.RecommendQuery:
    return requests.recommend(pb.RecommendRequest(**{"user_id": "ann", **fields}))


def boost(**fields: Any) -> pb.Rules:
    return pb.Rules(boosts=[pb.BoostRule(**{"factor": 1.0, **fields})])


def pins(*entries: tuple[str, int]) -> pb.Rules:
    return pb.Rules(
        pins=[pb.PinRule(item_id=item, position=position) for item, position in entries]
    )


def having(**fields: Any) -> pb.Filters:
    return pb.Filters(attributes=[pb.AttributeFilter(**{"name": "size", **fields})])


def costing(boosts: int, attributes: int, values: int) -> pb.Rules:
    """Return boosts by so many attributes each, of so many values each."""
    wanted = [item_pb2.Attribute(number=n) for n in range(values)]
    match = pb.Filters(attributes=[pb.AttributeFilter(name="size", any_of=wanted)] * attributes)
    return pb.Rules(boosts=[pb.BoostRule(match=match, factor=1.0)] * boosts)


NAN, INFINITE = float("nan"), float("inf")
LONG = "x" * 129
TOO_MANY_TEXTS = ["x"] * 65
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"user_id": ""}, "user_id must be 1-128 bytes of UTF-8 without control characters, was ''"),
    ({"user_id": "a\nb"}, "user_id must be 1-128 bytes of UTF-8 without control characters"),
    ({"user_id": LONG}, "user_id must be 1-128 bytes"),
    ({"also_user_ids": ["a", "b", "c", "d"]}, "also_user_ids must be at most 3, was 4"),
    ({"also_user_ids": [""]}, "an entry of also_user_ids must be 1-128 bytes"),
    ({"k": 10_000}, "k must be between 1 and 500, was 10000"),
    ({"k": -1}, "k must be between 1 and 500, was -1"),
    ({"candidates": ["x"] * 1001}, "candidates must be at most 1000, was 1001"),
    ({"exclude": ["x"] * 1001}, "exclude must be at most 1000, was 1001"),
    ({"exclude": [LONG]}, "an entry of exclude must be 1-128 bytes"),
    ({"context": {str(n): "" for n in range(33)}}, "context must be at most 32 entries, was 33"),
    ({"context": {"segment": "x" * 257}}, "context.segment must be at most 256 bytes, was 257"),
    ({"context": {"x" * 257: ""}}, "a name in context must be at most 256 bytes, was 257"),
    ({"seen": 7}, "seen must be one of EXCLUDE_HISTORY_AND_PURCHASES (1), "),
    (
        {"rules": costing(32, 16, 64)},
        "the cost of filters and boosts must be at most 4096 (10 a condition, 1 a value), "
        "was 37888",
    ),
    (
        {"rules": costing(30, 9, 5), "filters": pb.Filters(tags_any=["x"] * 37)},
        "the cost of filters and boosts must be at most 4096",
    ),
    ({"diversity": 1.5}, "diversity must be between 0 and 1, was 1.5"),
    ({"diversity": NAN}, "diversity must be between 0 and 1, was nan"),
    ({"after": "7"}, "after must be a position token, partition:offset, was '7'"),
    ({"after": "-1:3"}, "after must be a position token"),
    ({"after": "9999999999:3"}, "after must be a position token"),
    ({"after": "1:٣"}, "after must be a position token"),
    ({"surface": "x" * 65}, "surface must be at most 64 bytes, was 65"),
    ({"filters": pb.Filters(categories_any=TOO_MANY_TEXTS)}, "filters.categories_any must be at"),
    ({"filters": pb.Filters(categories_none=TOO_MANY_TEXTS)}, "filters.categories_none must be at"),
    (
        {"filters": pb.Filters(tags_any=["x"] * 5000)},
        "filters.tags_any must be at most 64, was 5000",
    ),
    ({"filters": pb.Filters(tags_any=[LONG])}, "an entry of filters.tags_any must be at most 128"),
    ({"filters": pb.Filters(price=pb.Range(min=NAN))}, "filters.price.min must be a finite number"),
    ({"filters": pb.Filters(price=pb.Range(max=INFINITE))}, "filters.price.max must be a finite"),
    (
        {"filters": pb.Filters(price=pb.Range(min=5, max=4))},
        "filters.price.min must be at most filters.price.max (4), was 5",
    ),
    (
        {"filters": pb.Filters(currency="EURO")},
        "filters.currency must be three letters (ISO 4217), was 'EURO'",
    ),
    (
        {"filters": pb.Filters(currency="E1R")},
        "filters.currency must be three letters (ISO 4217), was 'E1R'",
    ),
    (
        {"filters": pb.Filters(currency="  ")},
        "filters.currency must be three letters (ISO 4217), was '  '",
    ),
    (
        {"filters": pb.Filters(attributes=[pb.AttributeFilter(name="a")] * 17)},
        "filters.attributes must be at most 16, was 17",
    ),
    ({"filters": having(name="")}, "filters.attributes[0].name must be 1-128 bytes"),
    (
        {"filters": having(any_of=[item_pb2.Attribute(flag=True)] * 65)},
        "filters.attributes[0].any_of must be at most 64, was 65",
    ),
    (
        {"filters": having(any_of=[item_pb2.Attribute(text="x" * 1025)])},
        "an entry of filters.attributes[0].any_of must be at most 1024 bytes, was 1025",
    ),
    (
        {"filters": having(any_of=[item_pb2.Attribute(number=NAN)])},
        "an entry of filters.attributes[0].any_of must be a finite number, was nan",
    ),
    (
        {"filters": having(range=pb.Range(min=NAN))},
        "filters.attributes[0].range.min must be a finite number, was nan",
    ),
    ({"rules": boost(factor=101)}, "rules.boosts[0].factor must be between 0 and 100, was 101"),
    ({"rules": boost(factor=-0.5)}, "rules.boosts[0].factor must be between 0 and 100, was -0.5"),
    ({"rules": boost(factor=NAN)}, "rules.boosts[0].factor must be between 0 and 100, was nan"),
    (
        {"rules": boost(segments_any=["s"] * 65)},
        "rules.boosts[0].segments_any must be at most 64, was 65",
    ),
    ({"rules": boost(name="x" * 65)}, "rules.boosts[0].name must be at most 64 bytes, was 65"),
    (
        {"rules": boost(match=pb.Filters(currency="EURO"))},
        "rules.boosts[0].match.currency must be three letters",
    ),
    ({"rules": pb.Rules(boosts=[pb.BoostRule()] * 33)}, "rules.boosts must be at most 32, was 33"),
    ({"rules": pins(*[("x", 0)] * 33)}, "rules.pins must be at most 32, was 33"),
    ({"rules": pins(("", 0))}, "rules.pins[0].item_id must be 1-128 bytes"),
    ({"rules": pins(("x", 10))}, "rules.pins[0].position must be between 0 and k - 1 (9), was 10"),
    (
        {"rules": pins(("x", 1), ("y", 1))},
        "rules.pins[1].position must be other than rules.pins[0]'s, was the same",
    ),
    (
        {"rules": pins(("x", 1), ("x", 2))},
        "rules.pins[1].item_id must be other than rules.pins[0]'s, was the same",
    ),
    ({"rules": pb.Rules(caps=[pb.CategoryCap()] * 33)}, "rules.caps must be at most 32, was 33"),
    (
        {"rules": pb.Rules(caps=[pb.CategoryCap(at_most=501)])},
        "rules.caps[0].at_most must be between 1 and 500, was 501",
    ),
    (
        {"rules": pb.Rules(caps=[pb.CategoryCap(category=LONG, at_most=1)])},
        "rules.caps[0].category must be at most 128 bytes",
    ),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED, ids=[words[:60] for _, words in REFUSED])
def test_a_field_out_of_bounds_is_named_with_its_bound(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRecord) as refused:
        recommend(**fields)
    assert str(refused.value).startswith(words)


def test_the_largest_filter_alone_is_within_the_cost_of_a_list() -> None:
    names = ["x"] * 64
    wanted = [item_pb2.Attribute(number=n) for n in range(64)]
    filters = pb.Filters(
        categories_any=names,
        categories_none=names,
        tags_any=names,
        price=pb.Range(min=1),
        currency="EUR",
        attributes=[pb.AttributeFilter(name="size", any_of=wanted)] * 16,
    )
    assert recommend(filters=filters).filters == filters


OTHERS: list[tuple[Callable[[Any], object], Message, str]] = [
    (requests.similar, pb.SimilarRequest(), "query must be item_id or image, was absent"),
    (requests.similar, pb.SimilarRequest(item_id=""), "item_id must be 1-128 bytes"),
    (requests.similar, pb.SimilarRequest(image=b""), "image must be 1-4194304 bytes, was 0 bytes"),
    (requests.similar, pb.SimilarRequest(item_id="x", by=9), "by must be one of VISUAL (1), "),  # type: ignore[arg-type]
    (
        requests.similar,
        pb.SimilarRequest(image=b"x", by=pb.SIMILAR_BY_BEHAVIOUR),
        "by must be visual or blend where the query is an image, was behaviour",
    ),
    (requests.similar, pb.SimilarRequest(item_id="x", k=501), "k must be between 1 and 500"),
    (requests.search, pb.SearchRequest(), "query must be text or image, was absent"),
    (requests.search, pb.SearchRequest(text=" "), "text must be 1-1024 bytes, not only spaces"),
    (requests.search, pb.SearchRequest(text="é" * 513), "text must be 1-1024 bytes"),
    (requests.search, pb.SearchRequest(image=b"x" * (4 * 1024 * 1024 + 1)), "image must be 1-"),
    (requests.state, pb.StateRequest(), "user_id must be 1-128 bytes"),
    (requests.state, pb.StateRequest(user_id="a", after="x"), "after must be a position token"),
    (requests.explain, pb.ExplainRequest(user_id="a"), "item_id must be 1-128 bytes"),
    (requests.forget, pb.ForgetRequest(), "user_id must be 1-128 bytes"),
]


@pytest.mark.parametrize(("check", "message", "words"), OTHERS, ids=[w[:50] for *_, w in OTHERS])
def test_the_other_methods_refuse_by_name_and_bound(
    check: Callable[[Any], object], message: Message, words: str
) -> None:
    with pytest.raises(BadRecord) as refused:
        check(message)
    assert str(refused.value).startswith(words)


def test_defaults_are_those_of_the_contract() -> None:
    query = recommend()
    assert query.k == 10
    assert query.seen is Seen.EXCLUDE_HISTORY_AND_PURCHASES
    assert query.diversity == 0.2
    assert query.candidates is None
    assert query.after is None


def test_a_diversity_of_zero_is_not_the_default() -> None:
    assert recommend(diversity=0).diversity == 0


def test_a_position_token_is_read_and_written() -> None:
    position = recommend(after="3:1234").after
    assert position == PositionToken(3, 1234)
    assert str(position) == "3:1234"


def test_a_boost_matches_items_out_of_stock_and_leaves_the_request_as_it_was() -> None:
    rules = boost(match=pb.Filters(tags_any=["x"]))
    (rule,) = recommend(rules=rules).rules.boosts
    assert rule.match.include_out_of_stock
    assert rule.name == "boost-0"
    assert not rules.boosts[0].match.include_out_of_stock


def test_the_same_user_twice_is_one() -> None:
    assert recommend(also_user_ids=["ann", "bob"]).users == ("ann", "bob")


METHODS = {
    pb.RecommendRequest: requests.recommend,
    pb.SimilarRequest: requests.similar,
    pb.SearchRequest: requests.search,
    pb.StateRequest: requests.state,
    pb.ExplainRequest: requests.explain,
    pb.ForgetRequest: requests.forget,
}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(list(METHODS)).flatmap(any_message))
def test_any_message_is_either_checked_or_refused(message: Message) -> None:
    refused = ""
    try:
        METHODS[type(message)](message)  # type: ignore[operator]
    except BadRecord as error:
        refused = str(error)
    assert not refused or " must be " in refused
