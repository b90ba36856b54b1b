"""Guard a gRPC call from its arrival to its status: admission, deadline, errors, measurements."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import grpc

from freshet.contract.records import BadRecord
from freshet.errors import PUSH_BACK_METADATA, NotFound, Overloaded, Unavailable
from shared.runtime import metrics
from shared.runtime.deadline import RESERVE_S, Costs, Deadline

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
DEADLINE_AT_MOST_S: Final = 5.0
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
        outside_at_most: int = 0,
        unit: str = "calls",
        first_guess_s: float = 0.002,
        retry_after_s: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """outside_at_most: calls that wait without a place among those at work.

        first_guess_s: of the work on a unit. retry_after_s: when a refused client may ask again.
        clock: seconds, steady.
        """
        self.in_flight = 0
        self.outside = 0
        self._at_most = at_most
        self._outside_at_most = outside_at_most
        self._unit = unit
        self._unit_s = first_guess_s
        self._retry_after_s = retry_after_s
        self._clock = clock
        self._working = 0  # calls in flight that do not wait for others
        self._work_s = 0.0  # in which there were any, until the last change
        self._changed_s = clock()
        self._done_s = 0.0  # the work when the last call was done

    def entered(self, left_s: float, deadline: Deadline, units: int = 1) -> AdmittedPlace:
        """Return a call's place, to be held while it is answered; left_s: until its deadline.

        Entering it raises Overloaded. One call alone is always let in.
        """
        deadline.place = place = AdmittedPlace(self, units, left_s)
        return place

    def check(self, units: int, left_s: float) -> None:
        """Refuse what is too much. Raises Overloaded."""
        in_front = self.in_flight
        if in_front and in_front + units > self._at_most:
            raise self._refusal(f", at most {self._at_most} may be")
        if in_front and in_front * self._unit_s > left_s:
            raise self._refusal(
                f": about {in_front * self._unit_s * 1e3:.0f} ms of work,"
                f" with {left_s * 1e3:.0f} ms left"
            )

    def check_outside(self) -> None:
        """Refuse one more that waits outside. Raises Overloaded."""
        if self.outside >= self._outside_at_most:
            raise Overloaded(
                f"{self.outside} calls wait already, at most {self._outside_at_most} may",
                self._retry_after_s,
            )

    def count_working(self, change: int) -> float:
        """Count calls that work. Returns the work until now, in seconds in which any did."""
        now_s = self._clock()
        if self._working:
            self._work_s += now_s - self._changed_s
        self._changed_s = now_s
        self._working += change
        return self._work_s

    def learn(self, place: AdmittedPlace, done: bool) -> None:
        """Take into account what a call's units took, or that they are not done yet.

        Calls are worked through one after another, so one took the work since the one before it.
        One that is not done takes more than that: so an overload, in which all wait in vain,
        teaches that they were too many.
        """
        unit_s = (self._work_s - max(place.came_s, self._done_s)) / place.units
        if done:
            self._done_s = self._work_s
        if done or unit_s > self._unit_s:
            self._unit_s += _SMOOTHING * (unit_s - self._unit_s)

    def _refusal(self, why: str) -> Overloaded:
        return Overloaded(f"{self.in_flight} {self._unit} in flight{why}", self._retry_after_s)


class AdmittedPlace:
    """See Place: the one of a call that is let in, for as long as a `with` lasts."""

    __slots__ = ("_admission", "_left_s", "came_s", "held", "units")

    def __init__(self, admission: Admission, units: int, left_s: float) -> None:
        """left_s: until the deadline, when the call comes."""
        self.units = units
        self.held = False
        self.came_s = 0.0  # the admission's work when the call came in
        self._admission = admission
        self._left_s = left_s

    def __enter__(self) -> None:
        self.enter(self._left_s)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self.held:
            self.leave()
            self._admission.learn(self, done=error is None)

    def enter(self, left_s: float) -> None:
        """Take the place. Raises Overloaded."""
        self._admission.check(self.units, left_s)
        self._admission.in_flight += self.units
        self.came_s = self._admission.count_working(+1)
        self.held = True

    def leave(self) -> None:
        """Give the place back."""
        self._admission.in_flight -= self.units
        self._admission.count_working(-1)
        self.held = False

    def rest(self) -> None:
        """See Place.rest."""
        if self.held:
            self._admission.count_working(-1)

    def go_on(self) -> None:
        """See Place.go_on."""
        if self.held:
            self._admission.count_working(+1)

    @contextmanager
    def outside(self, left_s: Callable[[], float]) -> Iterator[None]:
        """See Place.outside."""
        self._admission.check_outside()
        self.leave()
        self._admission.outside += 1
        try:
            yield
        finally:
            self._admission.outside -= 1
        self.enter(left_s())


class CallGuard:
    """Lets calls in, and ends each with a reply or a status."""

    def __init__(self, admission: Admission, at_most_s: float = DEADLINE_AT_MOST_S) -> None:
        """at_most_s: that a call may take, whatever deadline its client sets."""
        self.admission = admission
        self._at_most_s = at_most_s
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
        """Let a call in and answer it, or end it with a status.

        deadline_s: what it is given where it sets no deadline; then a reply that took longer is
        sent all the same.
        """
        began_s = time.monotonic()
        clients_s = context.time_remaining()
        left_s = min(deadline_s if clients_s is None else clients_s, self._at_most_s)
        # A shorter deadline of the client is gRPC's to keep.
        cut = clients_s is None or clients_s > self._at_most_s
        deadline = Deadline(began_s + left_s, time.monotonic, self._costs)
        code = grpc.StatusCode.OK
        try:
            async with asyncio.timeout(self._at_most_s) if cut else nullcontext():
                with self.admission.entered(left_s, deadline, units):
                    return await handle(request, deadline)
        except tuple(STATUSES) as error:
            code = _status_of(error)
            if isinstance(error, Overloaded):
                push_back_ms = round(error.retry_after * 1000)
                context.set_trailing_metadata(((PUSH_BACK_METADATA, str(push_back_ms)),))
            await _abort(context, code, str(error) or "no answer within the deadline")
        except asyncio.CancelledError:  # by gRPC: nobody waits for the answer any more
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("%s failed", method)
            await _abort(context, code, "a fault of the service; its log says more")
        finally:
            took_s = time.monotonic() - began_s
            _measure(method, seen(code, took_s, clients_s), took_s, deadline)


def _status_of(error: Exception) -> grpc.StatusCode:
    return next(code for kind, code in STATUSES.items() if isinstance(error, kind))


def seen(code: grpc.StatusCode, took_s: float, clients_s: float | None) -> grpc.StatusCode:
    """Return how a call ended for its client, to whom nothing comes after its deadline."""
    if clients_s is None or took_s < clients_s - RESERVE_S:
        return code
    answered_late = code is grpc.StatusCode.OK and took_s >= clients_s
    if answered_late or code is grpc.StatusCode.CANCELLED:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return code


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError("abort raises")


# Looking a metric up by its labels costs more than counting; the labels are few.
_requests = cache(metrics.REQUESTS.labels)
_request_ms = cache(metrics.REQUEST_MS.labels)
_stage_ms = cache(metrics.STAGE_MS.labels)


def count_call(method: str, code: grpc.StatusCode, took_s: float) -> None:
    """Let the metrics count a call that ended."""
    _requests(method, code.name).inc()
    _request_ms(method).observe(took_s * 1e3)


def _measure(method: str, code: grpc.StatusCode, took_s: float, deadline: Deadline) -> None:
    count_call(method, code, took_s)
    for stage, stage_s in deadline.timings:
        _stage_ms(stage).observe(stage_s * 1e3)
    for reason in deadline.degraded:
        metrics.DEGRADED.labels(reason).inc()
