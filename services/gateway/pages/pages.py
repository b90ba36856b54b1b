"""Serve what people and browsers read: the API's page and document, the tracking snippet."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.gateway.api.endpoint import Endpoint
from services.gateway.pages.openapi import document

OWN: Final = Path(__file__).resolve().parent / "static"
# Swagger UI sets styles of its elements and shows pictures that its style sheet holds; nothing
# comes from another host.
PAGE_MAY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
KEPT: Final = "public, max-age=3600"
SNIPPET: Final = "/freshet.js"


def routes(api: tuple[Endpoint, ...]) -> list[Route]:
    """Return the routes of all pages."""
    swagger = Path(str(files("swagger_ui"))) / "static"
    return [
        Route("/", RedirectResponse("/docs")),
        file_route("/docs", OWN / "docs.html", "text/html", {"content-security-policy": PAGE_MAY}),
        file_route("/docs/start.js", OWN / "start.js", "text/javascript"),
        file_route("/docs/swagger-ui.js", swagger / "swagger-ui-bundle.js", "text/javascript"),
        file_route("/docs/swagger-ui.css", swagger / "swagger-ui.css", "text/css"),
        _content("/openapi.json", msgspec.json.encode(document(api)), "application/json"),
        # Pages of other hosts load it.
        file_route(
            SNIPPET,
            OWN / "freshet.js",
            "text/javascript",
            {"cross-origin-resource-policy": "cross-origin"},
        ),
    ]


def file_route(
    path: str, file: Path, media_type: str, headers: dict[str, str] | None = None
) -> Route:
    """Return the route of a file, with headers of its own."""
    return _content(path, file.read_bytes(), media_type, headers)


def _content(
    path: str, content: bytes, media_type: str, headers: dict[str, str] | None = None
) -> Route:
    """Return the route of a page that stays as it is; browsers ask whether it did."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    sent = {"cache-control": KEPT, "etag": tag, **(headers or {})}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=sent)
        return Response(content, headers=sent, media_type=media_type)

    return Route(path, answer, methods=["GET"])
