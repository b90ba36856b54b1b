"""A ranking service in this process that notes what it is asked and answers as it is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from google.protobuf.message import Message

from freshet.contract.users import User, user_message
from freshet.v1 import recommender_pb2 as pb
from freshet.v1 import recommender_pb2_grpc, state_pb2
from freshet.v1.impression_pb2 import Versions

if TYPE_CHECKING:
    from typing import TypeAlias

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Call(NamedTuple):
    """A call as it arrived."""

    request: Any
    metadata: dict[str, str]
    left_s: float  # until its deadline
    at_s: float  # on the loop's clock


class Failure(NamedTuple):
    """How a call is to fail."""

    code: grpc.StatusCode
    text: str = "as it was told"
    push_back_ms: int | None = None


UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE)
ITEMS = [
    pb.RankedItem(
        item_id=name,
        score=score,
        title=name.capitalize(),
        reason="because",
        sources=["trending"],
        contributions=[pb.Contribution(name="trending", value=score)],
    )
    for name, score in (("mug", 1.5), ("cup", 1.25))
]
VERSIONS = Versions(space="s", snapshot="n", ranker="blend")
TIMINGS = [pb.StageTiming(stage="state", ms=0.5)]
TRACE = [
    pb.StageTrace(stage="state", ms=0.5, degraded=["covisits"]),
    pb.StageTrace(
        stage="filter", ms=0.25, candidates=2, steps=[pb.StageStep(name="seen", removed=3)]
    ),
]
FATE = pb.ItemFate(stage="filter", cause="seen", ranked=400, lowest_listed_score=0.5)


class RankingDouble(recommender_pb2_grpc.RecommenderServicer):
    """Answers every method; `failures` come first, one a call; `silent` lets calls hang."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.failures: deque[Failure] = deque()
        self.silent = False
        self.held = asyncio.Event()  # cleared: calls wait until it is set
        self.held.set()
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def request(self) -> Any:
        """Return the one request that arrived."""
        (call,) = self.calls
        return call.request

    async def _arrived(self, request: Message, context: Context) -> None:
        metadata: Any = context.invocation_metadata() or ()
        left_s = context.time_remaining()
        assert left_s is not None, "a call without a deadline"
        now_s = asyncio.get_running_loop().time()
        self.calls.append(Call(request, dict(metadata), left_s, now_s))
        if self.silent:
            await asyncio.Event().wait()
        await self.held.wait()
        if self.failures:
            failure = self.failures.popleft()
            if failure.push_back_ms is not None:
                push_back = ("grpc-retry-pushback-ms", str(failure.push_back_ms))
                context.set_trailing_metadata((push_back,))
            await context.abort(failure.code, failure.text)

    async def Recommend(
        self, request: pb.RecommendRequest, context: Context
    ) -> pb.RecommendResponse:
        await self._arrived(request, context)
        return pb.RecommendResponse(
            items=ITEMS,
            request_id=request.request_id or "r1",
            degraded=["covisits"],
            versions=VERSIONS,
            state_position=[state_pb2.PartitionOffset(partition=3, offset=1024)],
            timings=TIMINGS,
            trace=TRACE if request.trace else [],
            missing=[pb.MissingItem(item_id="pot", fate=FATE)] if request.candidates else [],
        )

    async def Similar(self, request: pb.SimilarRequest, context: Context) -> pb.SimilarResponse:
        await self._arrived(request, context)
        return pb.SimilarResponse(items=ITEMS, request_id="r2", versions=VERSIONS, timings=TIMINGS)

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        await self._arrived(request, context)
        return pb.SearchResponse(items=ITEMS, request_id="r3", versions=VERSIONS, timings=TIMINGS)

    async def State(self, request: pb.StateRequest, context: Context) -> pb.StateResponse:
        await self._arrived(request, context)
        state = state_pb2.UserState(
            user_id=request.user_id,
            history=[
                state_pb2.HistoryEntry(
                    item_id="mug", type="click", time_ms=1000, value=2.0, title="Mug"
                )
            ],
            space="s",
            session_vector=[0.5, 0.25],
            interests=[state_pb2.InterestVector(vector=[1.0, 0.0])],
            excluded=["cup"],
            disliked=["cup"],
            full=["purchased"],
            user=user_message(User(user_id=request.user_id, country="JP", segments=("vip",))),
            offsets=[state_pb2.PartitionOffset(partition=3, offset=1024)],
        )
        return pb.StateResponse(state=state, known=True)

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        await self._arrived(request, context)
        features = [pb.Feature(name="covisits", value=0.5)]
        return pb.ExplainResponse(item=ITEMS[0], versions=VERSIONS, features=features, fate=FATE)

    async def Forget(self, request: pb.ForgetRequest, context: Context) -> pb.ForgetResponse:
        await self._arrived(request, context)
        return pb.ForgetResponse(position="3:1025")

    async def Applied(self, request: pb.AppliedRequest, context: Context) -> pb.AppliedResponse:
        await self._arrived(request, context)
        return pb.AppliedResponse(applied=request.position == "3:1024")


@asynccontextmanager
async def serve(credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[RankingDouble]:
    """Run a double on a free port of the loopback."""
    double, server = RankingDouble(), grpc.aio.server()
    recommender_pb2_grpc.add_RecommenderServicer_to_server(double, server)
    if credentials is None:
        double.port = server.add_insecure_port("127.0.0.1:0")
    else:
        double.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield double
    finally:
        await server.stop(0)
