"""One gRPC call from its arrival to its status: admission, deadline, errors, measurements."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

import grpc

from freshet.contract.records import BadRecord
from services.ranking.admission import PUSH_BACK_MS, Admission, Overloaded
from services.ranking.budget import Budget, Costs
from services.ranking.engine import Engine
from services.ranking.errors import NotFound, Unanswerable
from shared.runtime import metrics

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Handler = Callable[[Request, Engine, Budget], Awaitable[Reply]]

log = logging.getLogger(__name__)

STATUSES: Final[dict[type[Exception], grpc.StatusCode]] = {
    BadRecord: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Unanswerable: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Calls:
    """Answers calls; `engine` is None until there is something to answer from."""

    def __init__(self, admission: Admission) -> None:
        self.engine: Engine | None = None
        self._admission = admission
        self._costs = Costs()

    async def answer(
        self,
        method: str,
        request: Request,
        context: Context,
        handle: Handler[Request, Reply],
        deadline_s: float,
    ) -> Reply:
        """Let a call in and answer it, or end it with a status; deadline_s: where it sets none."""
        began_s = time.monotonic()
        left_s = context.time_remaining()
        left_s = deadline_s if left_s is None else left_s
        spent = Budget(began_s + left_s, time.monotonic, self._costs)
        code = grpc.StatusCode.OK
        try:
            with self._admission.entered(left_s, spent):
                if self.engine is None:
                    raise Unanswerable("not ready: the catalogue is still being read")
                return await handle(request, self.engine, spent)
        except tuple(STATUSES) as error:
            code = STATUSES[type(error)]
            if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", str(PUSH_BACK_MS)),))
            await _abort(context, code, str(error))
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("%s failed", method)
            await _abort(context, code, "a fault of the service; its log says more")
        finally:
            _measure(method, code, time.monotonic() - began_s, spent)


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError("abort raises")


# Looking a metric up by its labels costs more than counting; the labels are few.
_requests = cache(metrics.REQUESTS.labels)
_request_ms = cache(metrics.REQUEST_MS.labels)
_stage_ms = cache(metrics.STAGE_MS.labels)


def _measure(method: str, code: grpc.StatusCode, took_s: float, spent: Budget) -> None:
    _requests(method, code.name).inc()
    _request_ms(method).observe(took_s * 1e3)
    for stage, stage_s in spent.timings:
        _stage_ms(stage).observe(stage_s * 1e3)
    for reason in spent.degraded:
        metrics.DEGRADED.labels(reason).inc()
