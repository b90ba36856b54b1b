"""Every method but Recommend, and every status, over gRPC on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
import pytest
from aiokafka import AIOKafkaConsumer

from freshet import kafka_clients as kafka_edge
from freshet.contract.events import decode_event
from freshet.contract.records import content_type
from freshet.v1 import embedding_pb2, embedding_pb2_grpc
from freshet.v1 import recommender_pb2 as pb
from services.ranking.live.state_reader import StateReader, UserStates
from services.ranking.stages.blend import BlendSettings
from shared.bundles.candidates import NAMES
from tests.integration.ranking.world import SPACE, World, world
from tests.servers import eventually
from tests.unit.ranking.shop import NOW_MS, Shop, near

pytestmark = pytest.mark.integration


class Embedding(embedding_pb2_grpc.EmbeddingServicer):
    """An embedding service that takes every query for a lamp, and refuses one picture."""

    space = SPACE

    async def EmbedQuery(
        self,
        request: embedding_pb2.EmbedQueryRequest,
        context: grpc.aio.ServicerContext[
            embedding_pb2.EmbedQueryRequest, embedding_pb2.EmbedQueryResponse
        ],
    ) -> embedding_pb2.EmbedQueryResponse:
        if request.image == b"broken":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "image: not a picture")
        vector = near(0, 5).tobytes()
        return embedding_pb2.EmbedQueryResponse(space=self.space, vector=vector, own_vector=vector)

    async def Embed(
        self,
        request: embedding_pb2.EmbedRequest,
        context: grpc.aio.ServicerContext[embedding_pb2.EmbedRequest, embedding_pb2.EmbedResponse],
    ) -> embedding_pb2.EmbedResponse:
        raise NotImplementedError


@pytest.fixture
def shop() -> Shop:
    shop = Shop()
    shop.user("ann", [("click", "lamp-3"), ("dislike", "rug-1")], hidden=("rug-1",), offset=7)
    shop.follows("lamp-3", {"rug-7": 50.0})
    return shop


@pytest.fixture
async def embedding() -> AsyncIterator[tuple[Embedding, int]]:
    server, service = grpc.aio.server(), Embedding()
    embedding_pb2_grpc.add_EmbeddingServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield service, port
    await server.stop(0)


@pytest.fixture
async def there(
    kafka: str, valkey: str, shop: Shop, embedding: tuple[Embedding, int]
) -> AsyncIterator[World]:
    address = f"127.0.0.1:{embedding[1]}"
    async with world(
        kafka, valkey, shop.items, clock_ms=lambda: NOW_MS, FRESHET_EMBEDDING_ADDRESS=address
    ) as there:
        await there.copy(shop.reader)
        yield there


async def status_of(call: grpc.aio.UnaryUnaryCall[Any, Any]) -> tuple[grpc.StatusCode, str]:
    """Return a failed call's code and words."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), failed.value.details() or ""


def kinds(items: object) -> set[str]:
    return {item.item_id.split("-")[0] for item in items}  # type: ignore[attr-defined]


async def test_similar_and_search_answer_with_scores_that_add_up(there: World) -> None:
    stub = there.stub
    similar = await stub.Similar(pb.SimilarRequest(item_id="lamp-1", k=5), timeout=5)
    assert kinds(similar.items) == {"lamp"}
    assert similar.items[0].reason == "like “Lamp-1”"
    behaviour = pb.SimilarRequest(item_id="lamp-3", by=pb.SIMILAR_BY_BEHAVIOUR)
    followed = await stub.Similar(behaviour, timeout=5)
    assert [item.item_id for item in followed.items] == ["rug-7"]
    by_picture = await stub.Similar(pb.SimilarRequest(image=b"png", k=5), timeout=5)
    assert kinds(by_picture.items) == {"lamp"}
    found = await stub.Search(pb.SearchRequest(text="lamp 7", k=5), timeout=5)
    assert found.items[0].item_id == "lamp-7"
    assert found.versions.space == SPACE
    by_image = await stub.Search(pb.SearchRequest(image=b"png", k=5), timeout=5)
    assert kinds(by_image.items) == {"lamp"}
    for item in (*similar.items, *followed.items, *found.items):
        assert sum(part.value for part in item.contributions) == item.score


async def test_an_embedding_service_of_another_space_is_not_believed(
    there: World, embedding: tuple[Embedding, int]
) -> None:
    embedding[0].space = "other"
    code, words = await status_of(there.stub.Search(pb.SearchRequest(image=b"png"), timeout=5))
    assert code == grpc.StatusCode.UNAVAILABLE
    assert words == "the embedding service is at space 'other', not 'test'"


async def test_state_shows_what_is_kept(there: World) -> None:
    shown = await there.stub.State(pb.StateRequest(user_id="ann"), timeout=5)
    assert shown.known
    assert [(e.item_id, e.type) for e in shown.state.history] == [
        ("lamp-3", "click"),
        ("rug-1", "dislike"),
    ]
    assert list(shown.state.excluded) == ["rug-1"]
    unknown = await there.stub.State(pb.StateRequest(user_id="nobody"), timeout=5)
    assert not unknown.known


async def test_explain_takes_the_score_of_the_list_apart(there: World) -> None:
    match = pb.Filters(categories_any=["lamp"])
    rules = pb.Rules(boosts=[pb.BoostRule(match=match, factor=1.5, name="season")])
    listed = await there.recommend("ann", k=30, rules=rules)
    for item in listed.items:
        request = pb.ExplainRequest(user_id="ann", item_id=item.item_id, rules=rules)
        explained = await there.stub.Explain(request, timeout=5)
        assert sum(part.value for part in explained.item.contributions) == explained.item.score
        assert explained.item.score == pytest.approx(item.score, abs=1e-4)
        assert explained.item.reason == item.reason
        assert list(explained.item.sources) == list(item.sources)
    assert [feature.name for feature in explained.features] == list(NAMES)
    hidden = pb.ExplainRequest(user_id="ann", item_id="rug-1")
    parts = (await there.stub.Explain(hidden, timeout=5)).item.contributions
    worth = {part.name: part.value for part in parts}
    dislike = worth.pop("dislike")
    most = BlendSettings().dislike * (1 + max(sum(worth.values()), 0))
    assert dislike == pytest.approx(most, abs=0.01), "it is most like itself"


async def test_a_list_tells_its_way_and_an_item_where_it_fell(there: World) -> None:
    traced = await there.recommend("ann", trace=True)
    stages = {stage.stage: stage for stage in traced.trace}
    assert [stage.stage for stage in traced.trace] == [timing.stage for timing in traced.timings]
    assert stages["rank"].candidates == stages["filter"].candidates > 40
    assert stages["arrange"].candidates == len(traced.items) == 10
    assert {step.name for step in stages["candidates"].steps} >= {"session", "covisits", "new"}
    assert "hidden" in {step.name for step in stages["filter"].steps}
    assert not (await there.recommend("ann")).trace
    fell = await there.stub.Explain(pb.ExplainRequest(user_id="ann", item_id="rug-1"), timeout=5)
    assert (fell.fate.stage, fell.fate.cause) == ("filter", "hidden")
    first = traced.items[0].item_id
    listed = await there.stub.Explain(pb.ExplainRequest(user_id="ann", item_id=first), timeout=5)
    assert (listed.fate.stage, listed.fate.position) == ("", 0)
    assert listed.item.score == traced.items[0].score


async def test_forget_appends_its_event_and_returns_where(there: World) -> None:
    reply = await there.stub.Forget(pb.ForgetRequest(user_id="ann"), timeout=10)
    consumer: AIOKafkaConsumer = kafka_edge.consumer(there.kafka, "clicks")
    await consumer.start()
    try:
        record = await consumer.getone()
    finally:
        await consumer.stop()
    assert reply.position == f"{record.partition}:{record.offset}"
    event = decode_event(record.value, content_type(record.headers))
    assert (record.key, event.user_id, event.type) == (b"ann", "ann", "forget")


async def test_errors_have_the_codes_and_words_of_the_contract(there: World) -> None:
    stub = there.stub
    for call, code, words in (
        (
            stub.Recommend(pb.RecommendRequest(user_id="ann", k=10_000)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "k must be between 1 and 500, was 10000",
        ),
        (
            stub.Similar(pb.SimilarRequest(item_id="nothing")),
            grpc.StatusCode.NOT_FOUND,
            "item_id 'nothing' is unknown",
        ),
        (
            stub.Explain(pb.ExplainRequest(user_id="ann", item_id="nothing")),
            grpc.StatusCode.NOT_FOUND,
            "item_id 'nothing' is unknown",
        ),
        (
            stub.Similar(pb.SimilarRequest(image=b"broken"), timeout=5),
            grpc.StatusCode.INVALID_ARGUMENT,
            "image: not a picture",
        ),
    ):
        assert await status_of(call) == (code, words)


async def test_calls_beyond_the_limit_are_refused_with_push_back(
    kafka: str, valkey: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, states = asyncio.Event(), StateReader.states

    async def hang(*args: Any, **named: Any) -> UserStates:
        await go_on.wait()
        return await states(*args, **named)

    async with world(kafka, valkey, shop.items, FRESHET_IN_FLIGHT_AT_MOST="1") as there:
        monkeypatch.setattr(StateReader, "states", hang)
        waiting = there.stub.Recommend(pb.RecommendRequest(user_id="ann"), timeout=9)
        admission = there.service._guard.admission
        await eventually(lambda: admission.in_flight == 1, what="a call in flight")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await there.recommend("ann")
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.value.details() == "1 calls in flight, at most 1 may be"
        assert ("grpc-retry-pushback-ms", "100") in list(refused.value.trailing_metadata())
        go_on.set()
        assert len((await waiting).items) == 10
        assert len((await there.recommend("ann")).items) == 10


async def test_calls_that_wait_for_a_position_leave_the_places_to_others_and_are_bounded(
    kafka: str, valkey: str, shop: Shop
) -> None:
    async with world(
        kafka,
        valkey,
        shop.items,
        FRESHET_IN_FLIGHT_AT_MOST="1",
        FRESHET_AFTER_AT_MOST="1",
        FRESHET_DEADLINE_AT_MOST_MS="10000",
    ) as there:
        waiting = there.stub.Recommend(
            pb.RecommendRequest(user_id="ann", after="0:1000000"), timeout=3600
        )
        admission = there.service._guard.admission
        await eventually(lambda: admission.outside == 1, what="a call that waits")
        assert len((await there.recommend("ann")).items) == 10
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await there.recommend("ann", after="0:1000000")
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.value.details() == "1 calls wait already, at most 1 may"
        assert list((await waiting).degraded) == ["after_timeout"]  # within half of 10 s


async def test_a_call_that_hangs_ends_with_its_deadline_and_leaves_its_place(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = asyncio.Event()

    async def hang(*_: object, **__: object) -> NoReturn:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()
        raise AssertionError("nobody waits that long")

    with monkeypatch.context() as patched:
        patched.setattr(StateReader, "states", hang)
        call = there.stub.Recommend(pb.RecommendRequest(user_id="ann"), timeout=0.2)
        code, _ = await status_of(call)
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(cancelled.wait(), 10)
    assert len((await there.recommend("ann")).items) == 10
