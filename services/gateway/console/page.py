"""Serve the page: its files, and what it asks for beside the API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from freshet.client import Client
from freshet.contract.bounds import Id
from freshet.errors import InvalidRequest, NotFound
from services.gateway.access.callers import Callers
from services.gateway.access.origins import READ_ONLY
from services.gateway.api import decoding
from services.gateway.api.endpoint import JSON, Answer, Call, Endpoint, Limits, Parameter, handler
from services.gateway.console.catalogue import MapPoint, ServedVectors, Taste, tastes
from services.gateway.console.letters import DeadLetterDesk, LettersAsked, ReplayAsked
from services.gateway.console.shown_items import ItemCard, ShownItems
from services.gateway.console.watch import FiguresWatch
from services.gateway.http.envelope import REQUEST_ID
from services.gateway.http.problems import problem_of
from services.gateway.http.refusals import HttpRefusal
from services.gateway.pages.pages import file_route
from shared.access.tokens import Scope
from shared.promises import PROMISES, Promise

OWN: Final = Path(__file__).resolve().parent / "static"
KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
REPLAY_BYTES: Final = 64 * 1024
CARDS_AT_MOST: Final = 600  # a list of 500, and a history's beginning
# Text becomes elements by text nodes alone; a picture that is dropped is shown from a blob.
PAGE_MAY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'"
)
ASKED_EACH_TIME: Final = {"cache-control": "no-cache"}
# The address names the bytes; who shows no key, or another, finds nothing that was kept for one.
KEPT: Final = {"cache-control": "private, max-age=86400, immutable", "vary": "authorization"}


class ConsoleAbout(msgspec.Struct, frozen=True):
    """What the page needs to know first."""

    writable: bool  # as the gateway was started; what a key may do its scopes say
    key: str  # its name; empty where none is asked for
    scopes: tuple[Scope, ...]  # that the key has; all where none is asked for
    items: int
    ranking: str  # its address, for who asks it from elsewhere
    promises: dict[str, Promise]  # by figure


class ItemCards(msgspec.Struct, frozen=True):
    """The cards asked for, in that order."""

    cards: tuple[ItemCard, ...]


class UserTastes(msgspec.Struct, frozen=True):
    """What lies near each of a user's vectors."""

    tastes: tuple[Taste, ...]


class CatalogueMap(msgspec.Struct, frozen=True):
    """Where all items lie; two directions of PCA."""

    points: tuple[MapPoint, ...]


class ConsolePage:
    """Answers what the page asks for beside the API."""

    def __init__(
        self,
        items: ShownItems,
        vectors: ServedVectors,
        watch: FiguresWatch,
        client: Client,
        desk: DeadLetterDesk,
        *,
        ranking: str,
        writable: bool,
    ) -> None:
        self._ranking = ranking
        self._watch = watch
        self._desk = desk
        self._items = items
        self._vectors = vectors
        self._client = client
        self._writable = writable

    async def about(self, call: Call) -> Answer:
        """Answer what the page may do, and how much there is to show."""
        token = call.caller.token
        return Answer(
            ConsoleAbout(
                writable=self._writable,
                key=token.name if token else "",
                scopes=tuple(scope for scope in Scope if token is None or scope in token.scopes),
                items=len(self._items),
                ranking=self._ranking,
                promises=PROMISES,
            )
        )

    async def cards(self, call: Call) -> Answer:
        """Answer what items look like."""
        item_ids = call.request.query_params.getlist("id")
        if len(item_ids) > CARDS_AT_MOST:
            raise InvalidRequest(f"id must stand at most {CARDS_AT_MOST} times")
        return Answer(ItemCards(tuple(map(self._items.card, item_ids))))

    async def tastes(self, call: Call) -> Answer:
        """Answer what lies near a user's vectors."""
        state = await self._client.state(call.request.query_params.get("user_id", ""))
        space_map = await self._vectors.map()
        named = [
            ("session", state.session_vector),
            *((f"interest:{n}", vector) for n, vector in enumerate(state.interests, start=1)),
            ("long_term", state.long_term_vector),
        ]
        if space_map is None:
            return Answer(UserTastes(()))
        labels = {item_id: self._items.card(item_id).categories for item_id in space_map.item_ids}
        return Answer(UserTastes(tastes(space_map, named, labels)))

    async def map(self, call: Call) -> Answer:
        """Answer where all items lie."""
        space_map = await self._vectors.map()
        return Answer(CatalogueMap(space_map.points if space_map else ()))

    async def letters(self, call: Call) -> Answer:
        """Answer which records could not be processed."""
        asked = decoding.read_query(LettersAsked, call.request.query_params)
        return Answer(await self._desk.look(asked))

    async def replay(self, call: Call) -> Answer:
        """Publish again what could not be processed."""
        if not self._writable:
            raise HttpRefusal(403, f"nothing is published again by this page: {READ_ONLY}")
        call.check_media_type({JSON: ReplayAsked})
        asked = decoding.read_json(ReplayAsked, await call.body(REPLAY_BYTES))
        return Answer(await self._desk.replay(asked))

    async def figures(self, request: Request) -> Response:
        """Answer the services' figures, for as long as the page hears them."""
        return StreamingResponse(self._watch.stream(), media_type="text/event-stream")

    async def picture(self, request: Request) -> Response:
        """Answer an item's picture. Raises NotFound."""
        item_id = request.path_params["item_id"]
        picture = self._items.picture(item_id)
        if picture is None:
            raise NotFound(f"no picture of item {item_id!r} is kept here")
        return Response(picture[0], headers=KEPT, media_type=picture[1])


def routes(page: ConsolePage, callers: Callers, limits: Limits) -> list[Route]:
    """Return the routes of the page, which come before those of other pages."""
    item_id = Parameter("id", "query", str, "Any number of times.")
    user_id = Parameter("user_id", "query", Id, "The user's id.")
    asked = [
        Endpoint(
            method="GET",
            path=f"/console/ask/{name}",
            answer=answer,
            scope=scope,
            summary="",
            parameters=parameters,
            reply=None,
        )
        for name, answer, scope, parameters in (
            ("about", page.about, Scope.READ, ()),
            ("cards", page.cards, Scope.READ, (item_id,)),
            ("tastes", page.tastes, Scope.PEOPLE, (user_id,)),
            ("map", page.map, Scope.READ, ()),
        )
    ]
    asked += [
        Endpoint(
            method="GET",
            path="/console/ask/letters",
            answer=page.letters,
            scope=Scope.OPERATE,  # their keys are users' ids, too
            summary="",
            asked=LettersAsked,
            reply=None,
        ),
        Endpoint(
            method="POST",
            path="/console/ask/replay",
            answer=page.replay,
            scope=Scope.OPERATE,
            summary="",
            reply=None,
        ),
    ]
    html = {"content-security-policy": PAGE_MAY, **ASKED_EACH_TIME}
    return [
        Route("/", RedirectResponse("/console")),
        file_route("/console", OWN / "index.html", "text/html", html),
        *(
            file_route(f"/console/{file.relative_to(OWN)}", file, kind, ASKED_EACH_TIME)
            for file in sorted(OWN.rglob("*"))
            if (kind := KINDS.get(file.suffix)) is not None
        ),
        *(
            Route(each.path, handler(each, callers, limits), methods=[each.method])
            for each in asked
        ),
        Route("/console/figures", let_in(page.figures, callers), methods=["GET"]),
        Route("/console/picture/{item_id:path}", let_in(page.picture, callers), methods=["GET"]),
    ]


def let_in(
    answer: Callable[[Request], Awaitable[Response]], callers: Callers
) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers whoever may read with something else than JSON."""

    async def handle(request: Request) -> Response:
        try:
            callers.let_in(request, f"GET {request.url.path[:128]}", Scope.READ, browsers=False)
            return await answer(request)
        except Exception as error:  # all that there are: problem_of logs what nobody foresaw
            return problem_of(error, request.scope[REQUEST_ID])

    return handle
