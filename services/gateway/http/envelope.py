"""Give each answer the headers that all have: the call's id, and what browsers must not do."""

from __future__ import annotations

import uuid
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freshet.contract.bounds import plain

REQUEST_ID: Final = "x-request-id"
NOTHING: Final = "default-src 'none'; frame-ancestors 'none'"
HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": NOTHING,
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
SECURE: Final = ("strict-transport-security", "max-age=31536000")


class Envelope:
    """Wraps the app; what an answer says itself stands."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope[REQUEST_ID] = _stated(Headers(scope=scope)) or uuid.uuid4().hex

        async def send_wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault(*SECURE)
            await send(message)

        await self._app(scope, receive, send_wrapped)


def _stated(headers: Headers) -> str:
    """Return the id that the caller gave the call; empty for none that is an id."""
    stated = headers.get(REQUEST_ID, "")
    return stated if plain(stated) else ""
