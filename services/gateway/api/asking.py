"""Ask ranking: for lists, for what is known of a user, whether an event has taken effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.datastructures import QueryParams

from freshet.client import Client
from freshet.contract.bounds import IMAGE_BYTES, Id
from freshet.replies import Explanation, RankedList, State
from services.gateway.api import decoding
from services.gateway.api.endpoint import (
    JSON,
    PICTURE,
    TIMEOUT,
    Answer,
    Call,
    Endpoint,
    ExampleCall,
    Parameter,
    Timeout,
)
from services.gateway.api.requests import (
    PICTURE_FIELD,
    AnyQuestion,
    ExplainBody,
    RecommendBody,
    SearchBody,
    SimilarBody,
    Token,
)
from shared.access.tokens import Scope

# A picture of 4 MiB in base64, and a request's other fields.
BODY_BYTES: Final = 6 * 1024 * 1024


class UserForgotten(msgspec.Struct, frozen=True):
    """A user who is forgotten once this position has taken effect."""

    position: str


class EventEffect(msgspec.Struct, frozen=True):
    """Whether an event's effect is in what lists are made from."""

    position: str
    applied: bool


class Asking:
    """Answers the calls that ask."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def recommend(self, call: Call) -> Answer:
        """Answer a user's list."""
        arguments = await _arguments(call, RecommendBody)
        if "also_user_ids" in arguments:
            call.caller.check("a list with also_user_ids", Scope.PEOPLE)
        return _listed(
            await self._client.recommend(
                **arguments, request_id=call.request_id, timeout=call.timeout_s
            )
        )

    async def similar(self, call: Call) -> Answer:
        """Answer what is like an item or a picture."""
        arguments = await _arguments(call, SimilarBody)
        return _listed(
            await self._client.similar(
                **arguments, request_id=call.request_id, timeout=call.timeout_s
            )
        )

    async def search(self, call: Call) -> Answer:
        """Answer what fits a text or a picture."""
        arguments = await _arguments(call, SearchBody)
        return _listed(
            await self._client.search(
                **arguments, request_id=call.request_id, timeout=call.timeout_s
            )
        )

    async def explain(self, call: Call) -> Answer:
        """Answer why an item is in a list, or is not."""
        arguments = await _arguments(call, ExplainBody)
        return Answer(await self._client.explain(**arguments, timeout=call.timeout_s))

    async def state(self, call: Call) -> Answer:
        """Answer all that is kept of a user."""
        after = call.request.query_params.get("after", "")
        user_id = call.request.path_params["user_id"]
        return Answer(await self._client.state(user_id, after=after, timeout=call.timeout_s))

    async def forget(self, call: Call) -> Answer:
        """Forget a user."""
        user_id = call.request.path_params["user_id"]
        return Answer(UserForgotten(await self._client.forget(user_id, timeout=call.timeout_s)))

    async def effect(self, call: Call) -> Answer:
        """Answer whether an event has taken effect."""
        position = call.request.path_params["position"]
        applied = await self._client.applied(position, timeout=call.timeout_s)
        return Answer(EventEffect(position, applied))


def endpoints(asking: Asking) -> tuple[Endpoint, ...]:
    """Return what asks."""
    questions: tuple[
        tuple[str, Any, type[AnyQuestion], Scope, type, bool, str, ExampleCall], ...
    ] = (
        (
            "recommendations",
            asking.recommend,
            RecommendBody,
            Scope.READ,
            RankedList,
            False,
            "List items for a user; an unknown one gets trending and new items.",
            ExampleCall({"user_id": "ada", "k": 3}, {"user_id": "ada", "k": 3}),
        ),
        (
            "similar",
            asking.similar,
            SimilarBody,
            Scope.READ,
            RankedList,
            True,
            "List what is like an item or a picture.",
            ExampleCall({"item_id": "mug-1"}, {"item_id": "mug-1", "by": "visual"}),
        ),
        (
            "search",
            asking.search,
            SearchBody,
            Scope.READ,
            RankedList,
            False,
            "List what fits a text or a picture.",
            ExampleCall(
                {"text": "a warm rug"}, {"text": "a warm rug", "filters": {"price": {"max": 90}}}
            ),
        ),
        (
            "explain",
            asking.explain,
            ExplainBody,
            Scope.PEOPLE,
            Explanation,
            True,
            "Split an item's score for a user, and say what became of it on the way to the list.",
            ExampleCall(
                {"user_id": "ada", "item_id": "mug-1"}, {"user_id": "ada", "item_id": "mug-1"}
            ),
        ),
    )
    timeout = Parameter(TIMEOUT, "query", Timeout, "Within how many ms an answer is wanted.", 200)
    made = [
        Endpoint(
            method=method,
            path=f"/v1/{name}",
            answer=answer,
            scope=scope,
            summary=summary,
            asked=asked if method == "GET" or _takes_picture(asked) else None,
            parameters=(timeout,),
            bodies={} if method == "GET" else _bodies(asked),
            reply=reply,
            not_found=not_found,
            example=ExampleCall(example.values)
            if method == "GET"
            else ExampleCall(body=example.body),
        )
        for name, answer, asked, scope, reply, not_found, summary, example in questions
        for method in ("GET", "POST")
    ]
    user_id = Parameter("user_id", "path", Id, "The user's id.", "ada")
    after = Parameter("after", "query", Token, "A position token whose effect it shall hold.")
    position = Parameter("position", "path", Token, "A position token.", "3:17")
    return (
        *made,
        Endpoint(
            method="GET",
            path="/v1/users/{user_id:id}",
            answer=asking.state,
            scope=Scope.PEOPLE,
            summary="Show all that is kept of a user.",
            parameters=(user_id, after, timeout),
            reply=State,
            example=ExampleCall({"user_id": "ada"}),
        ),
        Endpoint(
            method="DELETE",
            path="/v1/users/{user_id:id}",
            answer=asking.forget,
            scope=Scope.PEOPLE,
            summary="Forget a user, for good.",
            parameters=(user_id, timeout),
            reply=UserForgotten,
            status=202,
            example=ExampleCall({"user_id": "ada"}),
        ),
        Endpoint(
            method="GET",
            path="/v1/events/{position}",
            answer=asking.effect,
            scope=Scope.READ,
            summary="Say whether an event has taken effect.",
            what="Waits for it, within the time that is given.",
            parameters=(position, timeout),
            reply=EventEffect,
            example=ExampleCall({"position": "3:17"}),
        ),
    )


def _takes_picture(asked: type[AnyQuestion]) -> bool:
    return PICTURE_FIELD in asked.__struct_fields__


def _bodies(asked: type[AnyQuestion]) -> Mapping[str, Any]:
    return {JSON: asked} | ({PICTURE: bytes} if _takes_picture(asked) else {})


async def _arguments(call: Call, asked: type[AnyQuestion]) -> dict[str, Any]:
    """Return what is asked: by the query, by a JSON body, or by a picture with a query.

    Raises InvalidRequest.
    """
    query = QueryParams(
        [pair for pair in call.request.query_params.multi_items() if pair[0] != TIMEOUT]
    )
    if call.request.method == "GET":
        return decoding.read_query(asked, query).arguments()
    if call.check_media_type(_bodies(asked)) == PICTURE:
        picture = await call.body(IMAGE_BYTES)
        return decoding.read_query(asked, query, **{PICTURE_FIELD: picture}).arguments()
    decoding.check_names(query, ())  # all stands in the body
    return decoding.read_json(asked, await call.body(BODY_BYTES)).arguments()


def _listed(reply: RankedList) -> Answer:
    return Answer(reply, reply.timings)
