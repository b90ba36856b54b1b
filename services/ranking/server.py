"""Answer each method over gRPC: check the request, make what it asks for, write the reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from freshet.errors import Unavailable
from freshet.producer import RenewedProducer
from freshet.v1 import recommender_pb2 as pb
from freshet.v1 import recommender_pb2_grpc
from services.ranking import explain, reply, requests
from services.ranking.live.embedding_client import EmbeddingClient
from services.ranking.live.forget import forget
from services.ranking.live.impressions import Impressions, Shown
from services.ranking.live.user_reader import read_states
from services.ranking.recommend import count_candidates, recommend
from services.ranking.search import search
from services.ranking.serving_space import ServingSpace
from services.ranking.similar import similar
from services.ranking.stages import degraded
from services.ranking.stages.recommendation import ADMIT, ANSWER
from services.ranking.stages.user_profile import completed
from shared.access.door import Need
from shared.access.tokens import Scope
from shared.runtime.call_guard import CallGuard
from shared.runtime.deadline import Deadline

if TYPE_CHECKING:
    from shared.runtime.call_guard import Context

SERVICE: Final = "freshet.v1.Recommender"


def _others(request: pb.RecommendRequest) -> tuple[str, Scope] | None:
    """Say what it takes to mix the histories of several users."""
    return ("also_user_ids", Scope.PEOPLE) if request.also_user_ids else None


NEEDS: Final = {
    "Recommend": Need(Scope.SERVE, _others),
    "Similar": Need(Scope.SERVE),
    "Search": Need(Scope.SERVE),
    "State": Need(Scope.PEOPLE),
    "Explain": Need(Scope.PEOPLE),
    "Forget": Need(Scope.PEOPLE),
    "Applied": Need(Scope.SERVE),
}


class Recommender(recommender_pb2_grpc.RecommenderServicer):
    """Answers all methods; protos/freshet/v1/recommender.proto says at each what it does."""

    def __init__(
        self,
        guard: CallGuard,
        impressions: Impressions,
        embedding: EmbeddingClient,
        producer: RenewedProducer,
        *,
        list_s: float,
        slow_s: float,
    ) -> None:
        """Deadlines of calls that set none: of Recommend (list_s), and of all others.

        producer: of forget events.
        """
        self.space: ServingSpace | None = None  # until there is something to answer from
        self._guard = guard
        self._impressions = impressions
        self._embedding = embedding
        self._producer = producer
        self._list_s = list_s
        self._slow_s = slow_s

    async def Recommend(
        self, request: pb.RecommendRequest, context: Context
    ) -> pb.RecommendResponse:
        return await self._guard.answer(
            "Recommend", request, context, self._recommend, self._list_s
        )

    async def Similar(self, request: pb.SimilarRequest, context: Context) -> pb.SimilarResponse:
        return await self._guard.answer("Similar", request, context, self._similar, self._slow_s)

    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        return await self._guard.answer("Search", request, context, self._search, self._slow_s)

    async def State(self, request: pb.StateRequest, context: Context) -> pb.StateResponse:
        return await self._guard.answer("State", request, context, self._state, self._slow_s)

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:
        return await self._guard.answer("Explain", request, context, self._explain, self._slow_s)

    async def Forget(self, request: pb.ForgetRequest, context: Context) -> pb.ForgetResponse:
        return await self._guard.answer("Forget", request, context, self._forget, self._slow_s)

    async def Applied(self, request: pb.AppliedRequest, context: Context) -> pb.AppliedResponse:
        return await self._guard.answer("Applied", request, context, self._applied, self._slow_s)

    async def _recommend(
        self, request: pb.RecommendRequest, deadline: Deadline
    ) -> pb.RecommendResponse:
        space = self._serving()
        query = requests.recommend(request)
        deadline.end(ADMIT)
        recommendation = await recommend(query, space, deadline)
        count_candidates(recommendation)
        response = reply.recommended(recommendation, space, deadline)
        response.missing.extend(explain.missing(recommendation, space))
        listed, ids = recommendation.listed, space.catalogue.ids
        self._impressions.add(
            Shown(
                response.request_id,
                query.users[0],
                [ids[row] for row in listed.rows.tolist()],
                listed.scores.tolist(),
                listed.proposed.tolist(),
                recommendation.propensities,
                recommendation.input.now_ms,
                response.versions,
                deadline.degraded,
                query.surface,
            )
        )
        deadline.end(ANSWER)
        response.timings.extend(reply.timings(deadline))
        if query.trace:
            response.trace.extend(explain.trace(recommendation, space, deadline))
        return response

    async def _similar(self, request: pb.SimilarRequest, deadline: Deadline) -> pb.SimilarResponse:
        space = self._serving()
        query = requests.similar(request)
        listed = await similar(query, space, self._embedding, deadline)
        catalogue = space.catalogue
        row = catalogue.row(query.item_id) if query.item_id else -1
        named = f"“{catalogue.titles[row] or query.item_id}”" if row >= 0 else "the picture"
        deadline.end("similar")
        return pb.SimilarResponse(
            items=reply.similar(listed, catalogue, named),
            request_id=query.request_id or reply.new_request_id(),
            degraded=deadline.degraded,
            versions=space.versions(),
            timings=reply.timings(deadline),
            picture_missing=catalogue.pictures_missing.get(row, ""),
        )

    async def _search(self, request: pb.SearchRequest, deadline: Deadline) -> pb.SearchResponse:
        space = self._serving()
        query = requests.search(request)
        listed = await search(query, space, self._embedding, deadline)
        named = f"“{query.text}”" if query.text else "the picture"
        deadline.end("search")
        return pb.SearchResponse(
            items=reply.similar(listed, space.catalogue, named),
            request_id=query.request_id or reply.new_request_id(),
            degraded=deadline.degraded,
            versions=space.versions(),
            timings=reply.timings(deadline),
        )

    async def _state(self, request: pb.StateRequest, deadline: Deadline) -> pb.StateResponse:
        space = self._serving()
        user_id, after = requests.state(request)
        read = await read_states([user_id], after, space, deadline)
        if deadline.degraded == [degraded.AFTER_TIMEOUT]:
            raise Unavailable(f"position {after} is not applied yet: sessions may be behind")
        if deadline.degraded:
            why = ", ".join(deadline.degraded)
            raise Unavailable(f"the state cannot be read in time: {why}")
        (state,), (known,) = read.states, read.known
        state = completed(state, space.catalogue, space.vectors)
        unknown = reply.unknown_items(state, space.catalogue)
        sent = await deadline.waiting(space.reader.item_ids(unknown, deadline.left_s()))
        shown = reply.state(
            user_id,
            state,
            space.catalogue,
            space.vectors.weights,
            sent=sent,
            full=space.exclusions.full(state),
            user=read.user,
        )
        return pb.StateResponse(state=shown, known=known or read.user is not None)

    async def _explain(self, request: pb.ExplainRequest, deadline: Deadline) -> pb.ExplainResponse:
        space = self._serving()
        explanation = await explain.explain(requests.explain(request), space, deadline)
        deadline.timings.clear()  # stages are measured of lists that somebody sees
        return explanation

    async def _forget(self, request: pb.ForgetRequest, deadline: Deadline) -> pb.ForgetResponse:
        self._serving()
        user_id = requests.forget(request)
        position = await deadline.waiting(forget(user_id, self._producer, deadline.left_s()))
        return pb.ForgetResponse(position=str(position))

    async def _applied(self, request: pb.AppliedRequest, deadline: Deadline) -> pb.AppliedResponse:
        space = self._serving()
        await read_states((), requests.applied(request), space, deadline)
        if degraded.STATE_UNAVAILABLE in deadline.degraded:
            raise Unavailable("the position cannot be read in time")
        applied = degraded.AFTER_TIMEOUT not in deadline.degraded
        deadline.degraded.clear()  # counted of lists that somebody sees
        return pb.AppliedResponse(applied=applied)

    def _serving(self) -> ServingSpace:
        if self.space is None:
            raise Unavailable("not ready: the catalogue is still being read")
        return self.space
