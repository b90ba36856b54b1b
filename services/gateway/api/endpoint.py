"""Answer a call of the API: who may, within which bounds, and how it ends.

An endpoint is one value, from which the routes and the API's page are made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta
from starlette.responses import Response

from freshet.errors import Overloaded
from services.gateway.api import decoding
from services.gateway.http.envelope import REQUEST_ID
from services.gateway.http.problems import problem_of
from services.gateway.http.refusals import HttpRefusal
from shared.runtime import metrics
from shared.runtime.byte_limit import ByteLimit

if TYPE_CHECKING:
    from starlette.requests import Request

    from services.gateway.access.callers import Caller, Callers
    from shared.access.tokens import Scope

    Handler = Callable[[Request], Awaitable[Response]]

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
TEXT: Final = "text/plain"
PICTURE: Final = "image/*"
TIMEOUT: Final = "timeout_ms"
TIMEOUT_AT_MOST_MS: Final = 60_000.0
ARRIVAL_AT_MOST_S: Final = 10.0  # of a body, or the next part of a stream
AGAIN_IN_S: Final = 0.1


class Answer(NamedTuple):
    """What a call is answered with."""

    value: msgspec.Struct
    timings: Mapping[str, float] = {}  # ms by stage


Timeout = Annotated[float, Meta(extra_json_schema={"minimum": 1, "maximum": TIMEOUT_AT_MOST_MS})]


class Parameter(NamedTuple):
    """One of a path or a query, beside those that a question's fields are."""

    name: str
    where: str  # path or query
    kind: Any
    what: str
    example: str | int | float | bool | None = None


class ExampleCall(NamedTuple):
    """A call as it is made: what stands in its path and query, and its body."""

    values: Mapping[str, Any] = {}
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    answer: Callable[[Call], Awaitable[Answer]]
    scope: Scope
    summary: str
    reply: Any
    status: int = 200
    what: str = ""  # more than the summary
    parameters: tuple[Parameter, ...] = ()
    asked: type[msgspec.Struct] | None = None  # whose plain fields are the query's parameters
    bodies: Mapping[str, Any] = field(default_factory=dict)  # by media type
    browsers: bool = False  # a public key will do
    not_found: bool = False
    example: ExampleCall = ExampleCall()

    @property
    def called(self) -> str:
        """Return what refusals call it."""
        return f"{self.method} {self.path}"


class Limits:
    """Bounds what is under way: calls, and the bytes of their bodies."""

    def __init__(self, in_flight_at_most: int, bodies_bytes: int) -> None:
        self.in_flight = 0
        self.bodies = ByteLimit(bodies_bytes)
        self._at_most = in_flight_at_most

    def check(self) -> None:
        """Raise Overloaded where the call that is in flight by now is one too many."""
        if self.in_flight > self._at_most:
            raise Overloaded(
                f"{self.in_flight} calls in flight, at most {self._at_most} may be", AGAIN_IN_S
            )


class Call:
    """One call that was let in."""

    def __init__(self, request: Request, caller: Caller, limits: Limits) -> None:
        self.request = request
        self.caller = caller
        self.request_id: str = request.scope[REQUEST_ID]
        self._limits = limits
        self._held_bytes = 0

    @property
    def media_type(self) -> str:
        """Return what the body is said to be, without parameters; empty where nothing is said."""
        return self.request.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def timeout_s(self) -> float | None:
        """Return within which time the caller wants an answer. Raises InvalidRequest."""
        text = self.request.query_params.get(TIMEOUT)
        timeout_ms = decoding.read_number(TIMEOUT, text, 1, TIMEOUT_AT_MOST_MS)
        return None if timeout_ms is None else timeout_ms / 1000

    def check_media_type(self, bodies: Mapping[str, Any]) -> str:
        """Return the body's media type, as `bodies` calls it. Raises HttpRefusal."""
        given = self.media_type
        if given in bodies:
            return given
        if given.startswith("image/") and PICTURE in bodies:
            return PICTURE
        known = ", ".join(bodies)
        raise HttpRefusal(
            415, f"content-type must be one of {known}, was {given[:64] or 'absent'!r}"
        )

    async def body(self, at_most: int) -> bytes:
        """Return the whole body. Raises HttpRefusal where it is too large, or does not come."""
        stated = self.request.headers.get("content-length", "")
        expected = int(stated) if stated.isascii() and stated.isdigit() else at_most
        if expected > at_most:
            raise too_large(at_most)
        parts, size = [], 0
        async with _arriving():
            await self._limits.bodies.acquire(expected)
            self._held_bytes += expected
            async for part in self.request.stream():
                size += len(part)
                if size > at_most:
                    raise too_large(at_most)
                parts.append(part)
        return b"".join(parts)

    async def parts(self, at_most: int) -> AsyncIterator[bytes]:
        """Yield a stream's body as it comes. Raises HttpRefusal as `body` does."""
        parts, size = self.request.stream(), 0
        while True:
            async with _arriving():
                part = await anext(parts, None)
            if part is None:
                return
            size += len(part)
            if size > at_most:
                raise too_large(at_most)
            yield part

    def release(self) -> None:
        """Let others use the room that the body took."""
        self._limits.bodies.release(self._held_bytes)
        self._held_bytes = 0


@asynccontextmanager
async def _arriving() -> AsyncIterator[None]:
    """Wait for a body, or the next part of one, for so long. Raises HttpRefusal."""
    try:
        async with asyncio.timeout(ARRIVAL_AT_MOST_S):
            yield
    except TimeoutError:
        raise HttpRefusal(408, f"body must come within {ARRIVAL_AT_MOST_S:g} s, was late") from None


def too_large(at_most: int) -> HttpRefusal:
    """Return the refusal of a body beyond its bound."""
    return HttpRefusal(413, f"body must be at most {at_most} bytes, was more")


def handler(endpoint: Endpoint, callers: Callers, limits: Limits) -> Handler:
    """Return what answers an endpoint's calls."""

    in_query = {each.name for each in endpoint.parameters if each.where == "query"}

    async def handle(request: Request) -> Response:
        began_s = time.perf_counter()
        limits.in_flight += 1
        call = None
        try:
            limits.check()
            caller = callers.let_in(
                request, endpoint.called, endpoint.scope, browsers=endpoint.browsers
            )
            call = Call(request, caller, limits)
            if endpoint.asked is None:
                decoding.check_names(request.query_params, in_query)
            answer = await endpoint.answer(call)
            response = Response(msgspec.json.encode(answer.value), endpoint.status, media_type=JSON)
            timings = answer.timings
        except Exception as error:  # all that there are: problem_of logs what nobody foresaw
            response, timings = problem_of(error, request.scope[REQUEST_ID]), {}
        finally:
            limits.in_flight -= 1
            if call is not None:
                call.release()
        total_ms = (time.perf_counter() - began_s) * 1e3
        response.headers["server-timing"] = server_timing({**timings, "total": total_ms})
        count(endpoint.called, response.status_code, total_ms)
        return response

    return handle


def server_timing(timings: Mapping[str, float]) -> str:
    """Return the header that browsers show: `state;dur=0.41, total;dur=3.2`."""
    return ", ".join(f"{stage};dur={ms:.3g}" for stage, ms in timings.items())


def count(called: str, status: int, took_ms: float) -> None:
    """Let the metrics count a call that ended."""
    metrics.HTTP_REQUESTS.labels(called, str(status)).inc()
    metrics.HTTP_REQUEST_MS.labels(called).observe(took_ms)
