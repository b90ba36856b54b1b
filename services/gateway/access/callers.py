"""Tell who calls, and let in whoever may: by a key of the shop's, or by one of a web page."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from freshet.contract.events import FORGET, Event
from freshet.errors import Overloaded
from services.gateway.access.origins import check_host, check_no_own_page, check_page
from services.gateway.http.refusals import HttpRefusal
from shared.access.door import Door
from shared.access.public_keys import PublicKey, PublicKeys
from shared.access.quotas import Quotas
from shared.access.tokens import NotLetIn, Scope, Token
from shared.runtime import metrics

if TYPE_CHECKING:
    from starlette.requests import Request

KEY, SIGNATURE = "key", "signature"  # of a query: sendBeacon carries no headers of one's own


class Caller(NamedTuple):
    """One that is let in: with a key of the shop's, a public one, or none where none is asked."""

    token: Token | None = None
    public: PublicKey | None = None
    signature: str = ""

    def check(self, what: str, scope: Scope) -> None:
        """Raise NotLetIn unless the key is for a scope; what: is asked for."""
        if self.token is not None:
            self.token.check(what, scope)

    def check_event(self, event: Event) -> None:
        """Refuse an event that is not this caller's to publish. Raises NotLetIn, HttpRefusal."""
        if self.public is None:
            if event.type == FORGET:
                self.check(f"an event of type {FORGET}", Scope.PEOPLE)
            return
        if event.type == FORGET:
            raise HttpRefusal(403, f"type must be another of a public key, was {FORGET}")
        if not self.public.signed(event.user_id, self.signature):
            raise HttpRefusal(
                403,
                f"{SIGNATURE} must be the HMAC-SHA256 of user_id by {self.public.name}'s secret,"
                " was another",
            )


def writes(method: str, scope: Scope) -> bool:
    """Say whether a call changes what is kept; a question may be a POST, too."""
    return scope is Scope.PUBLISH or method == "DELETE"


class Callers:
    """Knows who may call, how often, and from which pages."""

    def __init__(
        self,
        door: Door,
        public_keys: PublicKeys | None,
        public_calls_per_s: float,
        origins: tuple[str, ...],
        *,
        own_pages_write: bool = True,
    ) -> None:
        """public_calls_per_s: of one address with one public key. origins: of further pages.

        own_pages_write: whether what the gateway's own pages send may publish.
        """
        self._door = door
        self._public_keys = public_keys
        self._public_quotas = Quotas(public_calls_per_s)
        self._origins = frozenset(origins)
        self._own_pages_write = own_pages_write
        # Whoever reaches a loopback is let in without a key, but for other people's pages.
        self._open = door.tokens is None and door.settings.loopback

    def allows_page(self, origin: str) -> bool:
        """Say whether pages of an origin may call."""
        public = self._public_keys
        return origin in self._origins or (public is not None and origin in public.origins)

    def let_in(self, request: Request, what: str, scope: Scope, *, browsers: bool) -> Caller:
        """Return who calls.

        what: is asked for, and takes which scope. browsers: a public key will do.
        Raises NotLetIn, HttpRefusal, and Overloaded for who calls too often.
        """
        if self._open:
            check_host(request.headers)
        if browsers and KEY in request.query_params:
            return self._page(request)
        check_page(request.headers, self.allows_page)
        if not self._own_pages_write and writes(request.method, scope):
            check_no_own_page(request.headers, what)
        address = request.client.host if request.client else ""
        if self._door.tokens is None:
            self._count(self._door.quotas, address, "an address")
            return Caller()
        try:
            token = self._door.tokens.holder(request.headers.get("authorization"), what, scope)
        except NotLetIn as refusal:
            if not refusal.known:  # nobody guesses faster than that
                self._count(self._door.quotas, address, "an address")
            raise
        self._count(self._door.quotas, token.name, token.name)
        return Caller(token)

    def _page(self, request: Request) -> Caller:
        shown = request.query_params[KEY]
        known = self._public_keys.find(shown) if self._public_keys is not None else None
        address = request.client.host if request.client else ""
        if known is None:
            self._count(self._door.quotas, address, "an address")
            raise HttpRefusal(401, f"{KEY} must be a public key that is known, was another")
        origin = request.headers.get("origin")
        if origin != known.origin:
            raise HttpRefusal(
                403, f"origin must be {known.origin} for {known.name}'s key, was {origin!r}"
            )
        self._count(self._public_quotas, f"{known.name} {address}", known.name)
        self._count(self._door.quotas, known.name, known.name)
        return Caller(None, known, request.query_params.get(SIGNATURE, ""))

    def _count(self, quotas: Quotas | None, caller: str, name: str) -> None:
        """Count a call, where calls are counted. Raises Overloaded."""
        if quotas is None:
            return
        try:
            quotas.take(caller)
        except Overloaded:
            metrics.OVER_QUOTA.labels(name).inc()
            raise
