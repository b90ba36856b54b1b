"""Messages, deadlines and places of calls, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from freshet.v1 import embedding_pb2 as pb
from freshet.v1 import embedding_pb2_grpc
from services.embedding.server import NEEDS, SERVICE
from shared.access.door import Door
from shared.access.settings import DoorSettings
from shared.runtime import metrics
from shared.runtime.call_guard import Admission, CallGuard
from shared.runtime.deadline import Deadline
from shared.runtime.grpc_server import Server
from tests.servers import eventually

MIB = 1024 * 1024
SMALL = pb.EmbedQueryRequest(text="chair")
LARGE = pb.EmbedQueryRequest(image=b"x" * MIB)
EMBED_QUERY = "/freshet.v1.Embedding/EmbedQuery"


class Held(embedding_pb2_grpc.EmbeddingServicer):
    """Answers when it is let go."""

    def __init__(self, guard: CallGuard) -> None:
        self.go_on = asyncio.Event()
        self.sizes: list[int] = []  # of the messages that it holds
        self.most_bytes = 0
        self._guard = guard

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> Any:
        """Answer nothing: only queries are asked."""
        raise NotImplementedError

    async def EmbedQuery(self, request: pb.EmbedQueryRequest, context: Any) -> Any:
        """Hold a query."""
        return await self._guard.answer("EmbedQuery", request, context, self._hold, 2.0)

    async def _hold(self, request: pb.EmbedQueryRequest, deadline: Deadline) -> Any:
        self.sizes.append(request.ByteSize())
        self.most_bytes = max(self.most_bytes, sum(self.sizes))
        try:
            await self.go_on.wait()
            return pb.EmbedQueryResponse(space="held")
        finally:
            self.sizes.remove(request.ByteSize())


class Running:
    """A running server, what answers, and a stub."""

    def __init__(self, server: Server, held: Held, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.held = held
        self.channel = channel
        self.stub: Any = embedding_pb2_grpc.EmbeddingStub(channel)


@asynccontextmanager
async def serving(*, deadline_at_most_s: float = 60.0, **bounds: Any) -> AsyncIterator[Running]:
    server = Server(SERVICE, NEEDS, Door(DoorSettings()), receive_max_bytes=MIB + 100, **bounds)
    held = Held(CallGuard(Admission(100), deadline_at_most_s))
    embedding_pb2_grpc.add_EmbeddingServicer_to_server(held, server.grpc)
    port = await server.start(0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Running(server, held, channel)
    await server.stop(0)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), refused.value.details() or ""


def counted(code: str) -> float:
    count: float = metrics.REQUESTS.labels("EmbedQuery", code)._value.get()
    return count


async def test_no_more_bytes_of_messages_are_in_memory_than_there_is_room_for() -> None:
    at_most = 3 * MIB + 300
    async with serving(messages_max_bytes=at_most, arrival_at_most_s=60.0) as there:
        calls = [asyncio.ensure_future(there.stub.EmbedQuery(LARGE)) for _ in range(20)]
        await eventually(lambda: len(there.held.sizes) == 3)
        there.held.go_on.set()
        assert {reply.space for reply in await asyncio.gather(*calls)} == {"held"}
        assert there.held.most_bytes <= at_most


async def test_small_messages_hold_no_more_room_than_they_need() -> None:
    async with serving(messages_max_bytes=2 * MIB) as there:
        calls = [asyncio.ensure_future(there.stub.EmbedQuery(SMALL)) for _ in range(50)]
        await eventually(lambda: len(there.held.sizes) == 50)
        there.held.go_on.set()
        await asyncio.gather(*calls)


async def test_who_sends_no_message_holds_nobody_up_for_long() -> None:
    async with serving(messages_max_bytes=2 * MIB, arrival_at_most_s=0.2) as there:
        there.held.go_on.set()
        before = counted("DEADLINE_EXCEEDED")
        method: Any = there.channel.stream_unary(EMBED_QUERY)
        silent = [method(timeout=3600) for _ in range(4)]
        for call in silent:
            code, text = await refusal(call)
            assert code == grpc.StatusCode.DEADLINE_EXCEEDED
            assert text == "the request did not arrive within the deadline"
        assert counted("DEADLINE_EXCEEDED") == before + 4
        assert (await there.stub.EmbedQuery(SMALL)).space == "held"


async def test_a_call_without_a_message_is_refused() -> None:
    async with serving() as there:
        before = counted("INVALID_ARGUMENT")
        call: Any = there.channel.stream_unary(EMBED_QUERY)()
        await call.done_writing()
        code, text = await refusal(call)
        assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
        assert counted("INVALID_ARGUMENT") == before + 1


async def test_a_message_of_another_type_is_refused() -> None:
    async with serving(messages_max_bytes=2 * MIB) as there:
        there.held.go_on.set()
        before = counted("INVALID_ARGUMENT")
        send: Any = there.channel.unary_unary(EMBED_QUERY)
        for _ in range(5):
            code, text = await refusal(send(b"no query"))
            assert code == grpc.StatusCode.INVALID_ARGUMENT
            assert text == "the message is not of the method's type"
        assert counted("INVALID_ARGUMENT") == before + 5
        assert (await there.stub.EmbedQuery(SMALL)).space == "held"


async def test_a_message_that_is_too_large_leaves_its_room_to_others() -> None:
    async with serving(messages_max_bytes=2 * MIB) as there:
        there.held.go_on.set()
        huge = pb.EmbedQueryRequest(image=b"x" * 3 * MIB)
        for _ in range(5):
            code, text = await refusal(there.stub.EmbedQuery(huge))
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger than max" in text
        assert (await there.stub.EmbedQuery(LARGE)).space == "held"


async def test_who_watches_the_health_is_told_of_it() -> None:
    async with serving() as there:
        health = health_pb2_grpc.HealthStub(there.channel)
        watching = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await there.server.set_serving(True)
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        watching.cancel()


@pytest.mark.parametrize(
    ("timeout_s", "code"), [(0.1, "DEADLINE_EXCEEDED"), (3600.0, "DEADLINE_EXCEEDED")]
)
async def test_calls_that_end_at_a_deadline_are_counted_so(timeout_s: float, code: str) -> None:
    async with serving(deadline_at_most_s=0.2) as there:
        before, answered = counted(code), counted("OK")
        got, _ = await refusal(there.stub.EmbedQuery(SMALL, timeout=timeout_s))
        assert got.name == code
        await eventually(lambda: counted(code) == before + 1)
        assert counted("OK") == answered
        assert not there.held.sizes


async def test_calls_that_a_client_cancels_are_counted_so() -> None:
    async with serving() as there:
        before, answered = counted("CANCELLED"), counted("OK")
        call = there.stub.EmbedQuery(SMALL, timeout=60)
        await eventually(lambda: len(there.held.sizes) == 1)
        call.cancel()
        await eventually(lambda: counted("CANCELLED") == before + 1)
        assert counted("OK") == answered
