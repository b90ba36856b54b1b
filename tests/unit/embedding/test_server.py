"""The gRPC server: bounds, admission, deadlines, reflection, health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freshet.contract.items import Item
from freshet.contract.records import BadRecord
from freshet.errors import Overloaded
from freshet.v1 import embedding_pb2 as pb
from freshet.v1 import embedding_pb2_grpc, item_pb2
from services.embedding.encode.batcher import Priority
from services.embedding.encode.item_encoder import (
    EncodedVectors,
    ItemEncoder,
    LastGood,
    no_last_good,
)
from services.embedding.server import NEEDS, SERVICE, EmbeddingServer, admission
from shared.access.door import Door
from shared.access.settings import DoorSettings
from shared.runtime.call_guard import Admission, CallGuard
from shared.runtime.deadline import Costs, Deadline
from shared.runtime.grpc_server import Server
from tests.servers import eventually

ONE = np.array([1, 0], np.float16)
NONE = np.empty(0, np.float16)


class Encoder(ItemEncoder):
    """Encodes at once, unless held; refuses pictures that say so."""

    def __init__(self) -> None:
        self.held: asyncio.Event | None = None
        self.priorities: list[Priority] = []

    async def encode(
        self, item: Item, priority: Priority, last_good: LastGood = no_last_good
    ) -> EncodedVectors:
        self.priorities.append(priority)
        if self.held is not None:
            await self.held.wait()
        if item.image_bytes == b"bad":
            if not item.title:
                raise BadRecord("bad-picture", "not a picture")
            return EncodedVectors(ONE, NONE, ONE, "bad-picture: not a picture")
        return EncodedVectors(ONE, NONE, ONE)

    async def encode_text(self, text: str) -> EncodedVectors:
        if self.held is not None:
            await self.held.wait()
        return EncodedVectors(ONE, NONE, ONE)

    async def encode_picture(self, data: bytes) -> EncodedVectors:
        if data == b"bad":
            raise BadRecord("bad-picture", "not a picture")
        return EncodedVectors(ONE, ONE, NONE)


@dataclass(frozen=True)
class Spaces:
    """Two spaces, of which one is served; both have one encoder."""

    both: Encoder
    served_space: str = "test"

    def encoder(self, space: str) -> Encoder | None:
        return self.both if space in ("test", "next") else None


class Running:
    """A running server and a stub."""

    def __init__(self, encoder: Encoder, channel: grpc.aio.Channel) -> None:
        self.encoder = encoder
        self.channel = channel
        self.stub = embedding_pb2_grpc.EmbeddingStub(channel)


@asynccontextmanager
async def serving(query_s: float = 2.0) -> AsyncIterator[Running]:
    server = Server(SERVICE, NEEDS, Door(DoorSettings()), receive_max_bytes=8 * 1024 * 1024)
    encoder = Encoder()
    answering = EmbeddingServer(
        Spaces(encoder),
        CallGuard(admission(8, "items")),
        CallGuard(admission(8, "queries")),
        embed_s=30.0,
        query_s=query_s,
    )
    embedding_pb2_grpc.add_EmbeddingServicer_to_server(answering, server.grpc)
    port = await server.start(0)
    await server.set_serving(True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Running(encoder, channel)
    await server.stop(0)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving() as there:
        yield there


async def refusal(call: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call  # type: ignore[misc]
    return refused.value.code(), refused.value.details() or ""


async def test_items_come_back_in_order_with_what_each_lacks(running: Running) -> None:
    items = [
        item_pb2.Item(item_id="a", title="t"),
        item_pb2.Item(item_id="b", image_bytes=b"bad"),
        item_pb2.Item(item_id="c"),
        item_pb2.Item(item_id="d", title="t", image_bytes=b"bad"),
    ]
    reply = await running.stub.Embed(pb.EmbedRequest(items=items))
    assert reply.space == "test"
    assert [item.item_id for item in reply.items] == ["a", "b", "c", "d"]
    assert reply.items[0].vector == ONE.tobytes()
    assert reply.items[0].error == ""
    assert reply.items[1].error == "not a picture"
    assert "a text" in reply.items[2].error
    assert not reply.items[1].vector
    assert reply.items[3].vector
    assert reply.items[3].picture_missing == "bad-picture: not a picture"
    assert set(running.encoder.priorities) == {Priority.BACKFILL}  # arrivals go first


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (pb.EmbedRequest(), "items must be 1-64, was 0"),
        (pb.EmbedRequest(items=[item_pb2.Item(item_id="a")] * 65), "items must be 1-64, was 65"),
        (pb.EmbedRequest(items=[item_pb2.Item()]), "items[0].item_id must be 1-128 bytes"),
        (
            pb.EmbedRequest(
                items=[item_pb2.Item(item_id="a"), item_pb2.Item(item_id="b", price=-1)]
            ),
            "items[1].price must be 0 or more, was -1.0",
        ),
        (
            pb.EmbedRequest(items=[item_pb2.Item(item_id="a", title="x" * 513)]),
            "items[0].title must be at most 512 bytes, was 513",
        ),
    ],
)
async def test_embed_out_of_bounds_names_field_and_bound(
    running: Running, request_: pb.EmbedRequest, words: str
) -> None:
    code, text = await refusal(running.stub.Embed(request_))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert words in text


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (pb.EmbedQueryRequest(), "query must be text or image, was absent"),
        (pb.EmbedQueryRequest(text=""), "text must be 1-1024 bytes, was 0"),
        (pb.EmbedQueryRequest(text="é" * 513), "text must be 1-1024 bytes, was 1026"),
        (pb.EmbedQueryRequest(image=b""), "image must be 1-4194304 bytes, was 0"),
        (
            pb.EmbedQueryRequest(image=b"x" * (4 * 1024 * 1024 + 1)),
            "image must be 1-4194304 bytes, was 4194305",
        ),
        (pb.EmbedQueryRequest(image=b"bad"), "not a picture"),
    ],
)
async def test_query_out_of_bounds_names_field_and_bound(
    running: Running, request_: pb.EmbedQueryRequest, words: str
) -> None:
    code, text = await refusal(running.stub.EmbedQuery(request_))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert words in text


async def test_query_gives_the_modalitys_own_vector(running: Running) -> None:
    for request in (pb.EmbedQueryRequest(text="chair"), pb.EmbedQueryRequest(image=b"ok")):
        reply = await running.stub.EmbedQuery(request)
        assert reply.vector == reply.own_vector == ONE.tobytes()


async def test_deadline_ends_the_call_and_frees_its_place(running: Running) -> None:
    running.encoder.held = asyncio.Event()
    query = pb.EmbedQueryRequest(text="chair")
    code, _ = await refusal(running.stub.EmbedQuery(query, timeout=0.1))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    running.encoder.held = None
    assert (await running.stub.EmbedQuery(query)).space == "test"


async def test_call_without_deadline_gets_one() -> None:
    async with serving(query_s=0.05) as there:
        there.encoder.held = asyncio.Event()
        code, text = await refusal(there.stub.EmbedQuery(pb.EmbedQueryRequest(text="chair")))
    assert (code, text) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "not encoded within the deadline",
    )


async def test_too_many_items_at_once_are_pushed_back(running: Running) -> None:
    running.encoder.held = asyncio.Event()
    eight = pb.EmbedRequest(items=[item_pb2.Item(item_id="a", title="t")] * 8)
    waiting = asyncio.ensure_future(running.stub.Embed(eight))
    await eventually(lambda: len(running.encoder.priorities) == 8)
    call = running.stub.Embed(eight)
    code, text = await refusal(call)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text == "8 items are in flight, at most 8 may be"
    assert dict(await call.trailing_metadata())["grpc-retry-pushback-ms"] == "250"
    running.encoder.held.set()
    assert len((await waiting).items) == 8


async def test_a_query_is_answered_while_items_wait(running: Running) -> None:
    running.encoder.held = asyncio.Event()
    eight = pb.EmbedRequest(items=[item_pb2.Item(item_id="a", title="t")] * 8)
    waiting = asyncio.ensure_future(running.stub.Embed(eight))
    await eventually(lambda: len(running.encoder.priorities) == 8)
    assert (await running.stub.EmbedQuery(pb.EmbedQueryRequest(image=b"ok"))).space == "test"
    running.encoder.held.set()
    await waiting


async def test_what_is_out_of_bounds_is_said_beside_others_too(running: Running) -> None:
    running.encoder.held = asyncio.Event()
    one = pb.EmbedRequest(items=[item_pb2.Item(item_id="a", title="t")])
    waiting = asyncio.ensure_future(running.stub.Embed(one))
    await eventually(lambda: len(running.encoder.priorities) == 1)
    code, text = await refusal(running.stub.Embed(pb.EmbedRequest(items=[one.items[0]] * 65)))
    assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "items must be 1-64, was 65")
    running.encoder.held.set()
    await waiting


async def test_request_larger_than_allowed_never_reaches_the_encoder(running: Running) -> None:
    large = pb.EmbedRequest(
        items=[item_pb2.Item(item_id=str(n), image_bytes=b"x" * 2**22) for n in range(3)]
    )
    code, _ = await refusal(running.stub.Embed(large))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert running.encoder.priorities == []


async def test_health_and_reflection_answer(running: Running) -> None:
    health = health_pb2_grpc.HealthStub(running.channel)
    reply = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    async for found in stub.ServerReflectionInfo(asked):
        assert SERVICE in [s.name for s in found.list_services_response.service]


TEXT = st.one_of(st.text(max_size=8), st.just("x" * 20_000))
ITEM = st.builds(
    item_pb2.Item,
    item_id=st.one_of(st.just("a"), TEXT),
    title=TEXT,
    description=TEXT,
    categories=st.lists(TEXT, max_size=3),
    price=st.one_of(st.none(), st.floats()),
    currency=st.one_of(st.none(), TEXT),
    available_from_ms=st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    image_bytes=st.one_of(st.none(), st.binary(max_size=9), st.just(b"bad")),
    updated_ms=st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    attributes=st.dictionaries(TEXT, st.builds(item_pb2.Attribute, number=st.floats()), max_size=3),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.builds(pb.EmbedRequest, items=st.lists(ITEM, max_size=4)),
        st.builds(pb.EmbedQueryRequest, text=TEXT),
        st.builds(pb.EmbedQueryRequest, image=st.binary(max_size=9)),
    )
)
async def test_no_request_gives_internal(
    running: Running, request_: pb.EmbedRequest | pb.EmbedQueryRequest
) -> None:
    code = grpc.StatusCode.OK
    try:
        if isinstance(request_, pb.EmbedRequest):
            await running.stub.Embed(request_)
        else:
            await running.stub.EmbedQuery(request_)
    except grpc.aio.AioRpcError as error:
        code = error.code()
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)


def test_admission_refuses_what_cannot_be_done_in_time() -> None:
    admitted, deadline = admission(100, "items"), Deadline(9.0, lambda: 0.0, Costs())
    with admitted.entered(1.0, deadline, 50):
        with (
            pytest.raises(Overloaded, match="with 100 ms left"),
            admitted.entered(0.1, deadline),
        ):
            pass
        with admitted.entered(5.0, deadline):
            assert admitted.in_flight == 51
    assert admitted.in_flight == 0


def test_admission_learns_how_long_an_item_takes() -> None:
    now_s, deadline = [0.0], Deadline(9.0, lambda: 0.0, Costs())
    admitted = Admission(100, first_guess_s=0.01, clock=lambda: now_s[0])
    for _ in range(100):
        with admitted.entered(1.0, deadline):
            now_s[0] += 0.001
    with admitted.entered(1.0, deadline, 50), admitted.entered(0.1, deadline):
        assert admitted.in_flight == 51


async def test_a_call_is_answered_in_the_space_that_it_names(running: Running) -> None:
    for named, answered in (("", "test"), ("test", "test"), ("next", "next")):
        query = await running.stub.EmbedQuery(pb.EmbedQueryRequest(text="mug", space=named))
        items = [item_pb2.Item(item_id="a", title="mug")]
        embedded = await running.stub.Embed(pb.EmbedRequest(items=items, space=named))
        assert (query.space, embedded.space) == (answered, answered)


async def test_a_space_that_is_not_encoded_here_is_unavailable(running: Running) -> None:
    call = running.stub.EmbedQuery(pb.EmbedQueryRequest(text="mug", space="other"))
    code, said = await refusal(call)
    assert code == grpc.StatusCode.UNAVAILABLE
    assert said == "space 'other' is not encoded here"
