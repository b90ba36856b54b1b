"""Answer what went wrong as problem+json (RFC 9457), which names field and bound."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.responses import Response

from freshet.contract.records import BadRecord
from freshet.errors import (
    DeadlineExceeded,
    FreshetError,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
)
from services.gateway.http.refusals import HttpRefusal
from shared.access.tokens import NotLetIn

PROBLEM: Final = "application/problem+json"
STATUSES: Final[dict[type[Exception], int]] = {
    InvalidRequest: 400,
    BadRecord: 400,
    NotFound: 404,
    Overloaded: 429,
    Unavailable: 503,
    DeadlineExceeded: 504,
    FreshetError: 502,  # ranking or Kafka refuse the gateway itself, or fail
}
AGAIN_IN_S: Final = 1.0  # for what is away and does not say for how long

log = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, in words; where a field is to blame, which one and what it must be."""

    title: str
    status: int
    detail: str
    request_id: str
    field: str = ""  # such as `k`, or `filters.price.min`
    bound: str = ""  # such as `between 1 and 500`
    retry_after_ms: int | None = None  # when to ask again; the header has it in whole seconds


def problem_of(error: Exception, request_id: str) -> Response:
    """Return the answer to a call that failed."""
    headers = {}
    field = bound = ""
    again_in_s = None
    status = _status_of(error)
    detail = str(error)
    if isinstance(error, BadRecord):
        error = InvalidRequest(detail)
    if isinstance(error, InvalidRequest):
        field, bound = error.field, error.bound
    elif isinstance(error, Overloaded):
        again_in_s = error.retry_after
    elif isinstance(error, Unavailable):
        again_in_s = AGAIN_IN_S
    elif isinstance(error, NotLetIn) and not error.known:
        headers["www-authenticate"] = "Bearer"
    elif status == 500:
        log.error("a call failed: %s", request_id, exc_info=error)
        detail = "a fault of the gateway; its log says more"
    if again_in_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(again_in_s)))
    return problem(
        status,
        detail,
        request_id,
        headers,
        field=field,
        bound=bound,
        retry_after_ms=None if again_in_s is None else round(again_in_s * 1000),
    )


def problem(
    status: int, detail: str, request_id: str, headers: dict[str, str], **more: str | int | None
) -> Response:
    """Return an answer of a status; more: further members of it."""
    title = HTTPStatus(status).phrase
    made = Problem(title, status, detail, request_id, **more)  # type: ignore[arg-type]
    return Response(msgspec.json.encode(made), status, headers, PROBLEM)


def _status_of(error: Exception) -> int:
    if isinstance(error, HttpRefusal):
        return error.status
    if isinstance(error, NotLetIn):
        return 403 if error.known else 401
    return next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 500)
