"""Build the app: its endpoints, its pages, and what stands before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freshet.client import Client
from freshet.publisher import Publisher
from services.gateway.access.callers import Callers
from services.gateway.access.origins import Origins
from services.gateway.api import asking, publishing
from services.gateway.api.asking import Asking
from services.gateway.api.endpoint import Endpoint, Limits, count, handler
from services.gateway.api.publishing import Publishing
from services.gateway.http.envelope import REQUEST_ID, Envelope
from services.gateway.http.problems import problem
from services.gateway.pages import pages

if TYPE_CHECKING:
    from services.gateway.api.endpoint import Handler


def endpoints(publisher: Publisher, client: Client, stream_bytes: int) -> tuple[Endpoint, ...]:
    """Return all of the API, which the routes and the API's page are made from."""
    return (
        *publishing.endpoints(Publishing(publisher, stream_bytes)),
        *asking.endpoints(Asking(client)),
    )


def build_app(
    api: tuple[Endpoint, ...], callers: Callers, limits: Limits, console: Sequence[Route] = ()
) -> Starlette:
    """Return the app that serves an API and its pages. console: the routes of that page."""
    by_path: dict[str, dict[str, Handler]] = {}
    for each in api:
        by_path.setdefault(each.path, {})[each.method] = handler(each, callers, limits)
    return Starlette(
        routes=[
            *(_route(path, methods) for path, methods in by_path.items()),
            *console,
            *pages.routes(api),
        ],
        middleware=[Middleware(Envelope), Middleware(Origins, allowed=callers.allows_page)],
        exception_handlers={HTTPException: _no_route},
    )


class IdConvertor(StringConvertor):
    """Takes the rest of a path as an id, slashes and all; the contract says what an id is."""

    regex = r"[\s\S]*"


register_url_convertor("id", IdConvertor())


def _route(path: str, methods: dict[str, Handler]) -> Route:
    async def answer(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, answer, methods=list(methods))


async def _no_route(request: Request, error: Exception) -> Response:
    """Answer what no route answers: an unknown path, another method."""
    assert isinstance(error, HTTPException)
    count("none", error.status_code, 0.0)
    detail = f"{request.method} {request.url.path[:128]} is none of the API's, see /docs"
    headers = dict(error.headers or {})
    return problem(error.status_code, detail, request.scope[REQUEST_ID], headers)
