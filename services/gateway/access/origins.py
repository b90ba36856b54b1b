"""Say from which web pages a browser may call: the gateway's own, and those of an allow-list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from freshet.addresses import is_local
from services.gateway.http.refusals import HttpRefusal

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
SENT: Final = ("Authorization", "Content-Type", "X-Request-Id")
SHOWN: Final = ("Retry-After", "Server-Timing", "X-Request-Id")
PREFLIGHT_KEPT_S: Final = 600
READ_ONLY: Final = "it was started to read only (FRESHET_CONSOLE)"


class Origins(CORSMiddleware):
    """Tells browsers which pages may read what comes back; `allowed` is asked each time."""

    def __init__(self, app: ASGIApp, allowed: Callable[[str], bool]) -> None:
        super().__init__(
            app,
            allow_methods=METHODS,
            allow_headers=SENT,
            expose_headers=SHOWN,
            max_age=PREFLIGHT_KEPT_S,
        )
        self._allowed = allowed

    def is_allowed_origin(self, origin: str) -> bool:
        """See CORSMiddleware."""
        return self._allowed(origin)

    @staticmethod
    def allow_explicit_origin(headers: MutableHeaders, origin: str) -> None:
        """See CORSMiddleware: called for pages that are let in, which beacons' answers reach, too.

        Browsers send beacons without CORS, and would write an error into the page's console.
        """
        CORSMiddleware.allow_explicit_origin(headers, origin)
        headers["cross-origin-resource-policy"] = "cross-origin"


def check_page(headers: Headers, allowed: Callable[[str], bool]) -> None:
    """Refuse what a page sends that is neither the gateway's own nor allowed.

    Browsers keep such a page from reading the answer, not from sending. Raises HttpRefusal.
    """
    origin = headers.get("origin")
    if origin is None or allowed(origin) or _is_own(origin, headers):
        return
    raise HttpRefusal(
        403, f"origin must be that of a page that is let in (FRESHET_CORS_ORIGINS), was {origin!r}"
    )


def check_no_own_page(headers: Headers, what: str) -> None:
    """Refuse what a page of the gateway's own sends; browsers say so of all that is no GET.

    what: is asked for. Raises HttpRefusal.
    """
    if _is_own(headers.get("origin", ""), headers):
        raise HttpRefusal(403, f"{what} is not for this page: {READ_ONLY}")


def _is_own(origin: str, headers: Headers) -> bool:
    return bool(origin) and urlsplit(origin).netloc == headers.get("host")


def check_host(headers: Headers) -> None:
    """Refuse what is not addressed to this machine by a name that nobody else can give it.

    Where everybody on the loopback is let in, a page of a host whose name was made to lead here
    would be taken for the gateway's own. Raises HttpRefusal.
    """
    host = headers.get("host", "")
    if not is_local(host):
        raise HttpRefusal(403, f"host must be localhost or 127.0.0.1, was {host[:64]!r}")
