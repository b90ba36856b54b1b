"""The gRPC door: each method from its request to its reply."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from freshet.v1 import recommender_pb2 as pb
from freshet.v1 import recommender_pb2_grpc, state_pb2
from services.ranking import explain, reply, requests, search, similar, state_view
from services.ranking.budget import Budget
from services.ranking.calls import Calls
from services.ranking.engine import Engine
from services.ranking.errors import Unanswerable
from services.ranking.live import forget
from services.ranking.live.impressions import Shown
from services.ranking.stages.similar_items import Alike

if TYPE_CHECKING:
    from services.ranking.calls import Context

SERVICE: Final = "freshet.v1.Recommender"


class Recommender(recommender_pb2_grpc.RecommenderServicer):
    """Answers all methods; protos/freshet/v1/recommender.proto says at each what it does."""

    def __init__(self, calls: Calls, list_s: float, slow_s: float) -> None:
        """Deadlines of calls that set none: of Recommend, and of all others."""
        self._calls = calls
        self._list_s = list_s
        self._slow_s = slow_s

    async def Recommend(
        self, request: pb.RecommendRequest, context: Context
    ) -> pb.RecommendResponse:
        return await self._calls.answer("Recommend", request, context, _recommend, self._list_s)

    async def Similar(self, request: pb.SimilarRequest, context: Context) -> pb.SimilarResponse:
        return await self._calls.answer("Similar", request, context, _similar, self._slow_s)

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        return await self._calls.answer("Search", request, context, _search, self._slow_s)

    async def State(self, request: pb.StateRequest, context: Context) -> pb.StateResponse:
        return await self._calls.answer("State", request, context, _state, self._slow_s)

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        return await self._calls.answer("Explain", request, context, _explain, self._slow_s)

    async def Forget(self, request: pb.ForgetRequest, context: Context) -> pb.ForgetResponse:
        return await self._calls.answer("Forget", request, context, _forget, self._slow_s)


async def _recommend(
    request: pb.RecommendRequest, engine: Engine, spent: Budget
) -> pb.RecommendResponse:
    query = requests.recommend(request)
    spent.end("admit")
    made = await engine.pipeline.recommend(query, engine.serving, spent)
    items = reply.items_of(
        made.listed,
        made.wish,
        made.signals,
        engine.serving,
        engine.blend_weights,
        explain=query.explain,
    )
    request_id, versions = uuid.uuid4().hex, engine.versions()
    shown = Shown(
        request_id,
        query.users[0],
        items,
        made.wish.now_ms,
        versions,
        spent.degraded,
        query.surface,
    )
    engine.impressions.add(shown)
    spent.end("answer")
    return pb.RecommendResponse(
        items=items,
        request_id=request_id,
        degraded=spent.degraded,
        versions=versions,
        state_position=[
            state_pb2.PartitionOffset(partition=partition, offset=offset)
            for partition, offset in made.positions
        ],
        timings=_timings(spent),
    )


async def _similar(request: pb.SimilarRequest, engine: Engine, spent: Budget) -> pb.SimilarResponse:
    query = requests.similar(request)
    pipeline = engine.pipeline
    found = await similar.similar(
        query, engine.serving, pipeline.reader, engine.embedding, spent, pipeline.now_ms()
    )
    row = engine.serving.catalogue.row(query.item_id) if query.item_id else -1
    of = f"“{engine.serving.catalogue.titles[row] or query.item_id}”" if row >= 0 else "the picture"
    spent.end("similar")
    return pb.SimilarResponse(
        items=_alike_items(found, engine, of),
        request_id=uuid.uuid4().hex,
        degraded=spent.degraded,
        versions=engine.versions(),
        timings=_timings(spent),
    )


async def _search(request: pb.SearchRequest, engine: Engine, spent: Budget) -> pb.SearchResponse:
    query = requests.search(request)
    now_ms = engine.pipeline.now_ms()
    found = await search.search(
        query, engine.serving, engine.titles, engine.embedding, spent, now_ms
    )
    spent.end("search")
    return pb.SearchResponse(
        items=_alike_items(found, engine, f"“{query.text}”" if query.text else "the picture"),
        request_id=uuid.uuid4().hex,
        degraded=spent.degraded,
        versions=engine.versions(),
        timings=_timings(spent),
    )


async def _state(request: pb.StateRequest, engine: Engine, spent: Budget) -> pb.StateResponse:
    user_id, after = requests.state(request)
    found = await engine.pipeline.states([user_id], after, spent)
    if spent.degraded:
        raise Unanswerable(f"the state cannot be read in time: {', '.join(spent.degraded)}")
    catalogue, weights = engine.serving.catalogue, engine.vectors.weights
    return pb.StateResponse(
        state=state_view.message(user_id, found.states[0], catalogue, weights),
        known=found.known[0],
    )


async def _explain(request: pb.ExplainRequest, engine: Engine, spent: Budget) -> pb.ExplainResponse:
    return await explain.explain(requests.explain(request), engine, spent)


async def _forget(request: pb.ForgetRequest, engine: Engine, spent: Budget) -> pb.ForgetResponse:
    user_id = requests.forget(request)
    position = await forget.forget(user_id, engine.producer, spent.left_s())
    return pb.ForgetResponse(position=str(position))


def _alike_items(found: Alike, engine: Engine, of: str) -> list[pb.RankedItem]:
    return reply.alike_items(found, engine.serving.catalogue, of)


def _timings(spent: Budget) -> list[pb.StageTiming]:
    return [pb.StageTiming(stage=stage, ms=took_s * 1e3) for stage, took_s in spent.timings]
