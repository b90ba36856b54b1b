"""Guard a gRPC call from its arrival to its status: admission, deadline, errors, measurements."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import grpc

from freshet.contract.records import BadRecord
from freshet.errors import PUSH_BACK_METADATA, NotFound, Overloaded, Unavailable
from shared.runtime import metrics
from shared.runtime.deadline import Costs, Deadline

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Handler = Callable[[Request, Deadline], Awaitable[Reply]]

log = logging.getLogger(__name__)

STATUSES: Final[dict[type[Exception], grpc.StatusCode]] = {
    BadRecord: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_SMOOTHING: Final = 0.05  # weight of the newest measurement


class Admission:
    """Refuses at once what is beyond the limit, or could not be done before its deadline.

    One event loop, or one queue, works through all that is in flight, so a new call waits for
    about all of it. Counted are units: calls, or the items in them.
    """

    def __init__(
        self,
        at_most: int,
        *,
        unit: str = "calls",
        first_guess_s: float = 0.002,
        retry_after_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """first_guess_s: of the work on a unit. retry_after_s: when a refused client may ask again.

        clock: seconds, steady.
        """
        self.in_flight = 0
        self._at_most = at_most
        self._unit = unit
        self._unit_s = first_guess_s
        self._retry_after_s = retry_after_s
        self._clock = clock

    @contextmanager
    def entered(self, left_s: float, deadline: Deadline, units: int = 1) -> Iterator[None]:
        """Count a call while it is answered; left_s: until its deadline. Raises Overloaded.

        One call alone is always let in. A call that fails says nothing of how long a unit takes.
        """
        in_front = self.in_flight
        if in_front and in_front + units > self._at_most:
            raise self._refusal(f", at most {self._at_most} may be")
        if in_front and in_front * self._unit_s > left_s:
            raise self._refusal(
                f": about {in_front * self._unit_s * 1e3:.0f} ms of work,"
                f" with {left_s * 1e3:.0f} ms left"
            )
        self.in_flight += units
        began_s = self._clock()
        try:
            yield
        finally:
            self.in_flight -= units
        worked_s = self._clock() - began_s - deadline.waited_s
        # Of what is at work at once each counts the others' work too: a share is its own.
        unit_s = worked_s / (max(in_front, self.in_flight) + units)
        self._unit_s += _SMOOTHING * (unit_s - self._unit_s)

    def _refusal(self, why: str) -> Overloaded:
        return Overloaded(f"{self.in_flight} {self._unit} in flight{why}", self._retry_after_s)


class CallGuard:
    """Lets calls in, and ends each with a reply or a status."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self._costs = Costs()

    async def answer(
        self,
        method: str,
        request: Request,
        context: Context,
        handle: Handler[Request, Reply],
        deadline_s: float,
        units: int = 1,
    ) -> Reply:
        """Let a call in and answer it, or end it with a status; deadline_s: where it sets none."""
        began_s = time.monotonic()
        left_s = context.time_remaining()
        left_s = deadline_s if left_s is None else max(left_s, 0.0)
        deadline = Deadline(began_s + left_s, time.monotonic, self._costs)
        code = grpc.StatusCode.OK
        try:
            with self.admission.entered(left_s, deadline, units):
                return await handle(request, deadline)
        except tuple(STATUSES) as error:
            code = _status_of(error)
            if isinstance(error, Overloaded):
                push_back_ms = round(error.retry_after * 1000)
                context.set_trailing_metadata(((PUSH_BACK_METADATA, str(push_back_ms)),))
            await _abort(context, code, str(error) or "no answer within the deadline")
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("%s failed", method)
            await _abort(context, code, "a fault of the service; its log says more")
        finally:
            _measure(method, code, time.monotonic() - began_s, deadline)


def _status_of(error: Exception) -> grpc.StatusCode:
    return next(code for kind, code in STATUSES.items() if isinstance(error, kind))


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError("abort raises")


# Looking a metric up by its labels costs more than counting; the labels are few.
_requests = cache(metrics.REQUESTS.labels)
_request_ms = cache(metrics.REQUEST_MS.labels)
_stage_ms = cache(metrics.STAGE_MS.labels)


def _measure(method: str, code: grpc.StatusCode, took_s: float, deadline: Deadline) -> None:
    _requests(method, code.name).inc()
    _request_ms(method).observe(took_s * 1e3)
    for stage, stage_s in deadline.timings:
        _stage_ms(stage).observe(stage_s * 1e3)
    for reason in deadline.degraded:
        metrics.DEGRADED.labels(reason).inc()
