"""Ask ranking: for lists, for what is known of a user, whether an event has taken effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
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
TIME: Final = Parameter(TIMEOUT, "query", Timeout, "Within how many ms an answer is wanted.", 200)


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
    user_id = Parameter("user_id", "path", Id, "The user's id.", "ada")
    after = Parameter("after", "query", Token, "A position token whose effect it shall hold.")
    position = Parameter("position", "path", Token, "A position token.", "3:17")
    return (
        *_both(
            "recommendations",
            asking.recommend,
            RecommendBody,
            summary="List items for a user; an unknown one gets trending and new items.",
            query={"user_id": "ada", "k": 3},
        ),
        *_both(
            "similar",
            asking.similar,
            SimilarBody,
            not_found=True,
            summary="List what is like an item or a picture.",
            query={"item_id": "mug-1"},
            body={"item_id": "mug-1", "by": "visual"},
        ),
        *_both(
            "search",
            asking.search,
            SearchBody,
            summary="List what fits a text or a picture.",
            query={"text": "a warm rug"},
            body={"text": "a warm rug", "filters": {"price": {"max": 90}}},
        ),
        *_both(
            "explain",
            asking.explain,
            ExplainBody,
            scope=Scope.PEOPLE,
            reply=Explanation,
            not_found=True,
            summary="Split an item's score for a user, and say what became of it on the way to the"
            " list.",
            query={"user_id": "ada", "item_id": "mug-1"},
        ),
        Endpoint(
            method="GET",
            path="/v1/users/{user_id:id}",
            answer=asking.state,
            scope=Scope.PEOPLE,
            summary="Show all that is kept of a user.",
            parameters=(user_id, after, TIME),
            reply=State,
            example=ExampleCall({"user_id": "ada"}),
        ),
        Endpoint(
            method="DELETE",
            path="/v1/users/{user_id:id}",
            answer=asking.forget,
            scope=Scope.PEOPLE,
            summary="Forget a user, for good.",
            parameters=(user_id, TIME),
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
            parameters=(position, TIME),
            reply=EventEffect,
            example=ExampleCall({"position": "3:17"}),
        ),
    )


def _both(
    name: str,
    answer: Callable[[Call], Awaitable[Answer]],
    asked: type[AnyQuestion],
    *,
    summary: str,
    query: Mapping[str, Any],
    body: Mapping[str, Any] | None = None,
    scope: Scope = Scope.READ,
    reply: type = RankedList,
    not_found: bool = False,
) -> Iterator[Endpoint]:
    """Yield the two ways of asking: by a query, by a body. query, body: examples."""
    common: dict[str, Any] = {
        "path": f"/v1/{name}",
        "answer": answer,
        "scope": scope,
        "summary": summary,
        "parameters": (TIME,),
        "reply": reply,
        "not_found": not_found,
    }
    yield Endpoint(method="GET", asked=asked, example=ExampleCall(query), **common)
    yield Endpoint(
        method="POST",
        asked=asked if _takes_picture(asked) else None,  # beside a picture there is a query
        bodies=_bodies(asked),
        example=ExampleCall(body=body or query),
        **common,
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
    if call.request.method != "POST":
        return decoding.read_query(asked, query).arguments()
    if call.check_media_type(_bodies(asked)) == PICTURE:
        picture = await call.body(IMAGE_BYTES)
        return decoding.read_query(asked, query, **{PICTURE_FIELD: picture}).arguments()
    decoding.check_names(query, ())  # all stands in the body
    return decoding.read_json(asked, await call.body(BODY_BYTES)).arguments()


def _listed(reply: RankedList) -> Answer:
    return Answer(reply, reply.timings)
