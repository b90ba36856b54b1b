"""What is asked over HTTP is what ranking is asked, and its answers and refusals come through."""

from __future__ import annotations

import base64
from typing import Any

import grpc
import pytest

from freshet.contract.requests import By, Seen
from freshet.v1 import recommender_pb2 as pb
from tests.unit.freshet.kafka_double import KafkaDouble
from tests.unit.freshet.ranking_double import Failure, RankingDouble
from tests.unit.gateway.kit import GatewayKit

SEEN = "one of exclude_history_and_purchases, exclude_purchases, include"


async def test_a_list_is_asked_for_with_every_field_of_the_contract(
    gateway: GatewayKit, ranking: RankingDouble
) -> None:
    body = {
        "user_id": 42,
        "k": 3,
        "also_user_ids": ["visitor-7"],
        "candidates": ["mug", 8],
        "context": {"segment": "vip", "page": 2},
        "filters": {
            "categories_any": ["kitchen"],
            "price": {"max": 20},
            "attributes": [{"name": "metal", "any_of": ["brass", 2.5, True]}],
            "include_out_of_stock": True,
        },
        "exclude": ["cup"],
        "seen": "include",
        "diversity": 0,
        "rules": {
            "boosts": [{"match": {"tags_any": ["new"]}, "factor": 2, "name": "fresh"}],
            "pins": [{"item_id": "mug", "position": 0}],
            "caps": [{"at_most": 2}],
        },
        "after": "3:17",
        "explain": True,
        "surface": "home",
        "trace": True,
        "at_ms": 1_700_000_000_000,
    }

    got = await gateway(
        "POST", "/v1/recommendations", json=body, headers={"X-Request-Id": "mine-7"}
    )

    assert got.status == 200
    request: pb.RecommendRequest = ranking.request
    assert (request.user_id, request.k, request.request_id) == ("42", 3, "mine-7")
    assert list(request.also_user_ids) == ["visitor-7"]
    assert list(request.candidates) == ["mug", "8"]
    assert dict(request.context) == {"segment": "vip", "page": "2"}
    assert request.filters.price.max == 20
    assert [value.WhichOneof("value") for value in request.filters.attributes[0].any_of] == [
        "text",
        "number",
        "flag",
    ]
    assert int(request.seen) == Seen.INCLUDE
    assert request.HasField("diversity")
    assert request.rules.boosts[0].name == "fresh"
    assert request.rules.caps[0].at_most == 2
    assert (request.after, request.surface, request.at_ms) == ("3:17", "home", 1_700_000_000_000)
    assert request.explain
    assert request.trace


async def test_a_list_is_answered_as_the_client_has_it(
    gateway: GatewayKit, ranking: RankingDouble
) -> None:
    got = await gateway("GET", "/v1/recommendations?user_id=ada&k=2&exclude=a&exclude=b")

    assert list(ranking.request.exclude) == ["a", "b"]
    assert [item["item_id"] for item in got.body["items"]] == ["mug", "cup"]
    assert got.body["degraded"] == ["covisits"]
    assert got.body["state_positions"] == ["3:1024"]
    assert got.body["versions"] == {"space": "s", "snapshot": "n", "ranker": "blend"}
    assert got.headers["server-timing"].startswith("state;dur=0.5, total;dur=")


async def test_a_calls_own_id_is_in_the_answer_and_in_what_ranking_is_told(
    gateway: GatewayKit, ranking: RankingDouble
) -> None:
    got = await gateway("GET", "/v1/recommendations?user_id=ada")

    assert got.headers["x-request-id"] == got.body["request_id"] == ranking.request.request_id


@pytest.mark.parametrize("stated", ["", "x" * 129, "a\tb"])
async def test_what_is_no_id_is_replaced_by_one(gateway: GatewayKit, stated: str) -> None:
    got = await gateway("GET", "/docs", headers={"X-Request-Id": stated})

    assert len(got.headers["x-request-id"]) == 32


async def test_only_the_headers_of_a_list_may_be_asked_for(gateway: GatewayKit) -> None:
    got = await gateway("HEAD", "/v1/recommendations?user_id=ada")

    assert (got.status, got.headers["content-type"]) == (200, "application/json")


async def test_a_query_has_what_is_neither_object_nor_bytes(
    gateway: GatewayKit, ranking: RankingDouble
) -> None:
    got = await gateway("GET", "/v1/recommendations?user_id=7&explain=true&diversity=0.5&k=1")
    nested = await gateway("GET", "/v1/recommendations?user_id=7&filters=x")

    assert (got.status, ranking.request.user_id, ranking.request.explain) == (200, "7", True)
    assert (nested.status, nested.body["field"]) == (400, "filters")
    assert nested.body["bound"] == "in the body of a POST"


@pytest.mark.parametrize(
    ("more", "field", "bound"),
    [
        ({"user_id": ""}, "user_id", "1-128 bytes of UTF-8 without control characters"),
        ({"user_id": None}, "user_id", "of type int | str"),
        ({"k": 501}, "k", "between 1 and 500"),
        ({"k": 10**30}, "k", "between 1 and 500"),
        ({"k": "3"}, "k", "of type int"),
        ({"ks": 3}, "ks", "a field that there is (did you mean k?)"),
        ({"user_id": True}, "user_id", "of type int | str"),
        ({"seen": "all"}, "seen", SEEN),
        ({"candidates": []}, "candidates", "1-1000 ids"),
        ({"filters": {"prise": 1}}, "filters.prise", "a field that there is"),
        ({"filters": {"price": {"min": "1"}}}, "filters.price.min", "of type float"),
        ({"rules": {"pins": [{"item_id": "m"}]}}, "rules.pins[0].position", "given"),
        (
            {"rules": {"pins": [{"item_id": "m", "position": 10**12}]}},
            "rules.pins[0].position",
            "between 0 and 499",
        ),
        ({"rules": {"caps": [{"at_most": 10**12}]}}, "rules.caps[0].at_most", "between 1 and 500"),
        ({"at_ms": 10**30}, "at_ms", "milliseconds since 1970, of 2000 to 2100"),
        ({"after": "x"}, "after", "a position token, partition:offset"),
        ([], "body", "of type object"),
    ],
)
async def test_what_is_out_of_bounds_is_named_with_its_bound(
    gateway: GatewayKit, ranking: RankingDouble, more: Any, field: str, bound: str
) -> None:
    body = {"user_id": "ada", **more} if isinstance(more, dict) else more
    got = await gateway("POST", "/v1/recommendations", json=body)

    assert got.status == 400
    assert (got.body["field"], got.body["bound"]) == (field, bound)
    assert got.body["detail"].startswith(f"{field} must be {bound}, was ")
    assert ranking.calls == []


async def test_a_picture_is_searched_for_as_a_body_or_in_one(
    gateway: GatewayKit, ranking: RankingDouble
) -> None:
    picture = b"\xff\xd8\xff" + bytes(50)
    jpeg = {"content-type": "image/jpeg"}

    calls = [
        await gateway("POST", "/v1/search?k=5", data=picture, headers=jpeg),
        await gateway("POST", "/v1/search", json={"image": base64.b64encode(picture).decode()}),
        await gateway("POST", "/v1/similar?by=visual", data=picture, headers=jpeg),
        await gateway("POST", "/v1/search", data=b"", headers=jpeg),
        await gateway("POST", "/v1/recommendations", data=picture, headers=jpeg),
    ]

    assert [got.status for got in calls] == [200, 200, 200, 400, 415]
    search, also, similar = (call.request for call in ranking.calls)
    assert (search.image, search.k, also.image, similar.image) == (picture, 5, picture, picture)
    assert similar.by == By.VISUAL


async def test_what_a_query_says_in_vain_is_refused(
    gateway: GatewayKit, ranking: RankingDouble, kafka: KafkaDouble
) -> None:
    beside = await gateway("POST", "/v1/search?k=5", json={"text": "a"})
    misspelt = await gateway("PUT", "/v1/items/a?backfil=true", json={})

    assert (beside.status, beside.body["field"]) == (400, "k")
    assert (misspelt.status, misspelt.body["field"]) == (400, "backfil")
    assert misspelt.body["bound"] == "a field that there is (did you mean backfill?)"
    assert (ranking.calls, kafka.sent) == ([], [])


async def test_words_are_searched_for_and_items_compared(
    gateway: GatewayKit, ranking: RankingDouble
) -> None:
    await gateway("GET", "/v1/search?text=a+warm+rug")
    await gateway("GET", "/v1/similar?item_id=mug&by=behaviour")

    search, similar = (call.request for call in ranking.calls)
    assert search.text == "a warm rug"
    assert (similar.item_id, similar.by) == ("mug", By.BEHAVIOUR)


async def test_a_user_is_shown_explained_and_forgotten(
    gateway: GatewayKit, ranking: RankingDouble
) -> None:
    state = await gateway("GET", "/v1/users/a%2Fda?after=3:17")
    explained = await gateway("GET", "/v1/explain?user_id=ada&item_id=mug")
    forgotten = await gateway("DELETE", "/v1/users/ada")

    assert (state.body["user_id"], state.body["history"][0]["item_id"]) == ("a/da", "mug")
    assert state.body["user"] == {"user_id": "a/da", "country": "JP", "segments": ["vip"]}
    assert explained.body["fate"]["cause"] == "seen"
    assert (forgotten.status, forgotten.body) == (202, {"position": "3:1025"})
    assert ranking.calls[0].request.after == "3:17"


async def test_whether_an_event_has_taken_effect_is_asked_by_its_position(
    gateway: GatewayKit,
) -> None:
    done = await gateway("GET", "/v1/events/3:1024")
    not_yet = await gateway("GET", "/v1/events/3:1025")
    no_token = await gateway("GET", "/v1/events/soon")

    assert done.body == {"position": "3:1024", "applied": True}
    assert not_yet.body == {"position": "3:1025", "applied": False}
    assert (no_token.status, no_token.body["field"]) == (400, "position")


@pytest.mark.parametrize(
    ("failure", "status", "retry_after"),
    [
        (Failure(grpc.StatusCode.INVALID_ARGUMENT, "k must be 1, was 2"), 400, None),
        (Failure(grpc.StatusCode.NOT_FOUND), 404, None),
        (Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, push_back_ms=2_400), 429, "3"),
        (Failure(grpc.StatusCode.UNAVAILABLE), 503, "1"),
        (Failure(grpc.StatusCode.DEADLINE_EXCEEDED), 504, None),
        (Failure(grpc.StatusCode.UNAUTHENTICATED), 502, None),
        (Failure(grpc.StatusCode.INTERNAL), 502, None),
    ],
)
async def test_how_ranking_fails_comes_through(
    gateway: GatewayKit,
    ranking: RankingDouble,
    failure: Failure,
    status: int,
    retry_after: str | None,
) -> None:
    ranking.failures.extend([failure] * 4)

    got = await gateway("GET", "/v1/recommendations?user_id=ada&timeout_ms=500")

    assert got.status == status
    assert got.headers.get("retry-after") == retry_after
    assert got.headers["content-type"] == "application/problem+json"
    assert failure.text in got.body["detail"]
    assert got.body["request_id"] == got.headers["x-request-id"]
    if status == 429:
        assert got.body["retry_after_ms"] == 2_400


async def test_a_callers_deadline_is_rankings(gateway: GatewayKit, ranking: RankingDouble) -> None:
    ranking.silent = True

    late = await gateway("GET", "/v1/recommendations?user_id=ada&timeout_ms=50")

    assert late.status == 504
    assert ranking.calls[0].left_s < 1


@pytest.mark.parametrize("text", ["0", "60001", "-1", "nan", "soon", ""])
async def test_a_deadline_has_its_bounds(gateway: GatewayKit, text: str) -> None:
    got = await gateway("GET", f"/v1/recommendations?user_id=ada&timeout_ms={text}")

    assert (got.status, got.body["field"]) == (400, "timeout_ms")
    assert got.body["bound"] == "a number between 1 and 60000"
