"""The gRPC door: requests in, replies and statuses out. What a list is made of stands elsewhere."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar

import grpc

from protos import recommender_pb2 as pb
from protos import recommender_pb2_grpc, state_pb2
from services.ranking import answer, requests, state_view
from services.ranking.admission import PUSH_BACK_MS, Admission, Overloaded
from services.ranking.budget import Budget, Costs
from services.ranking.errors import NotFound, Unanswerable
from services.ranking.impressions import Shown
from shared import metrics
from shared.records import BadRecord

if TYPE_CHECKING:
    from services.ranking.engine import Engine

SERVICE: Final = "freshet.v1.Recommender"

Reply = TypeVar("Reply")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

log = logging.getLogger(__name__)


class Recommender(recommender_pb2_grpc.RecommenderServicer):
    """Answers all methods; `engine` is None until there is something to answer from."""

    def __init__(self, deadline_s: float, admission: Admission) -> None:
        """deadline_s: of calls that set none."""
        self.engine: Engine | None = None
        self._deadline_s = deadline_s
        self._admission = admission
        self._costs = Costs()

    async def Recommend(
        self, request: pb.RecommendRequest, context: Context
    ) -> pb.RecommendResponse:
        """See protos/recommender.proto."""
        return await self._call("Recommend", request, context, self._recommend)

    async def State(self, request: pb.StateRequest, context: Context) -> pb.StateResponse:
        """See protos/recommender.proto."""
        return await self._call("State", request, context, self._state)

    async def _recommend(
        self, request: pb.RecommendRequest, engine: Engine, spent: Budget
    ) -> pb.RecommendResponse:
        query = requests.recommend(request)
        serving = engine.serving
        spent.end("admit")
        made = await engine.pipeline.recommend(query, serving, spent)
        items = answer.items_of(
            made.listed,
            made.wish,
            made.signals,
            serving,
            engine.blend_weights,
            explain=query.explain,
        )
        request_id = uuid.uuid4().hex
        versions = engine.versions()
        engine.impressions.add(
            Shown(
                request_id,
                query.users[0],
                items,
                made.wish.now_ms,
                versions,
                spent.degraded,
                query.surface,
            )
        )
        spent.end("answer")
        return pb.RecommendResponse(
            items=items,
            request_id=request_id,
            degraded=spent.degraded,
            versions=versions,
            state_position=[
                state_pb2.PartitionOffset(partition=p, offset=o) for p, o in made.positions
            ],
            timings=_timings(spent),
        )

    async def _state(
        self, request: pb.StateRequest, engine: Engine, spent: Budget
    ) -> pb.StateResponse:
        user_id, after = requests.state(request)
        found = await engine.pipeline.states([user_id], after, spent)
        if spent.degraded:
            raise Unanswerable(f"the state cannot be read in time: {', '.join(spent.degraded)}")
        catalogue, settings = engine.serving.catalogue, engine.vectors.weights
        return pb.StateResponse(
            state=state_view.message(user_id, found.states[0], catalogue, settings),
            known=found.known[0],
        )

    async def _call(
        self,
        method: str,
        request: Any,
        context: Context,
        handle: Callable[[Any, Engine, Budget], Awaitable[Reply]],
    ) -> Reply:
        """Let a call in, answer it within its deadline, and turn what goes wrong into a status."""
        began_s = time.monotonic()
        left_s = context.time_remaining()
        if left_s is None:
            left_s = self._deadline_s
        spent = Budget(began_s + left_s, time.monotonic, self._costs)
        code = grpc.StatusCode.OK
        entered = False
        try:
            if self.engine is None:
                raise Unanswerable("not ready: the catalogue is still being read")
            self._admission.enter(left_s)
            entered = True
            return await handle(request, self.engine, spent)
        except BadRecord as error:
            code = grpc.StatusCode.INVALID_ARGUMENT
            await _abort(context, code, str(error))
        except NotFound as error:
            code = grpc.StatusCode.NOT_FOUND
            await _abort(context, code, str(error))
        except Unanswerable as error:
            code = grpc.StatusCode.UNAVAILABLE
            await _abort(context, code, str(error))
        except Overloaded as error:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            context.set_trailing_metadata((("grpc-retry-pushback-ms", str(PUSH_BACK_MS)),))
            await _abort(context, code, str(error))
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("%s failed", method)
            await _abort(context, code, "a fault of the service; its log says more")
        finally:
            took_s = time.monotonic() - began_s
            if entered:
                self._admission.leave(took_s - spent.waited_s)
            _measure(method, code, took_s, spent)


async def _abort(context: Context, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError("abort raises")


def _timings(spent: Budget) -> list[pb.StageTiming]:
    return [pb.StageTiming(stage=stage, ms=took_s * 1e3) for stage, took_s in spent.timings]


def _measure(method: str, code: grpc.StatusCode, took_s: float, spent: Budget) -> None:
    metrics.REQUESTS.labels(method, code.name).inc()
    metrics.REQUEST_MS.labels(method).observe(took_s * 1e3)
    for stage, stage_s in spent.timings:
        metrics.STAGE_MS.labels(stage).observe(stage_s * 1e3)
    for reason in spent.degraded:
        metrics.DEGRADED.labels(reason).inc()
