"""How embedding is asked: straight where it is near, with a token, not for ever; what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from freshet.access import Access
from freshet.errors import Unavailable
from freshet.v1 import embedding_pb2 as pb
from freshet.v1 import embedding_pb2_grpc
from services.embedding import server as embedding
from services.ranking.live.embedding_client import LONG_S, EmbeddingClient
from shared.access.door import Door
from shared.access.settings import DoorSettings
from shared.access.tokens import Scope, line_of, new_token
from shared.breaker import Breaker
from shared.runtime.grpc_server import Server

HALF = np.array([0.6, 0.8], np.float16)


class _Embedding(embedding_pb2_grpc.EmbeddingServicer):
    async def EmbedQuery(
        self, request: pb.EmbedQueryRequest, context: Any
    ) -> pb.EmbedQueryResponse:
        if request.text == "hang":
            await asyncio.Event().wait()
        return pb.EmbedQueryResponse(space="test", vector=HALF.tobytes(), own_vector=HALF.tobytes())

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        raise NotImplementedError


@asynccontextmanager
async def client_of_a_server(breaker: Breaker | None = None) -> AsyncIterator[EmbeddingClient]:
    server = grpc.aio.server()
    embedding_pb2_grpc.add_EmbeddingServicer_to_server(_Embedding(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = EmbeddingClient(f"127.0.0.1:{port}", breaker=breaker)
    try:
        yield client
    finally:
        await client.close()
        await server.stop(0)


async def test_a_service_that_hangs_is_unavailable_once_its_time_is_up() -> None:
    async with client_of_a_server() as client:
        with pytest.raises(Unavailable):
            await client.encode("test", 0.01, text="hang")


async def test_who_hung_a_moment_ago_is_not_waited_for() -> None:
    async with client_of_a_server(Breaker(failures_at_most=1, pause_s=3600)) as client:
        with pytest.raises(Unavailable):
            await client.encode("test", LONG_S, text="hang")
        with pytest.raises(Unavailable, match="did not answer a moment ago"):
            await client.encode("test", 30, text="lamp")


async def test_who_was_given_little_time_is_asked_again() -> None:
    async with client_of_a_server(Breaker(failures_at_most=1, pause_s=3600)) as client:
        with pytest.raises(Unavailable):
            await client.encode("test", 0.01, text="hang")
        assert (await client.encode("test", 30, text="lamp")).vector.size


async def test_who_answers_again_is_asked_as_before() -> None:
    breaker = Breaker(failures_at_most=1, pause_s=0)
    async with client_of_a_server(breaker) as client:
        with pytest.raises(Unavailable):
            await client.encode("test", LONG_S, text="hang")
        assert breaker.broken
        assert (await client.encode("test", 30, text="lamp")).vector.size
        assert not breaker.broken


async def test_the_loopback_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # which nobody runs
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async with client_of_a_server() as client:
        found = await client.encode("test", 30, text="lamp")

    assert found.vector.tolist() == HALF.tolist()


async def test_a_token_lets_ranking_in_and_without_one_the_log_says_what_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known, token = tmp_path / "tokens", new_token()
    known.write_text(line_of("ranking", [Scope.SERVE], token))
    door = Door(DoorSettings(tokens_file=str(known)))
    server = Server(embedding.SERVICE, embedding.NEEDS, door, receive_max_bytes=1_000_000)
    embedding_pb2_grpc.add_EmbeddingServicer_to_server(_Embedding(), server.grpc)
    address = f"127.0.0.1:{await server.start(0)}"
    let_in, not_let_in = EmbeddingClient(address, Access(token=token)), EmbeddingClient(address)

    assert (await let_in.encode("test", 30, text="lamp")).vector.tolist() == HALF.tolist()
    with pytest.raises(Unavailable, match="scope serve"):
        await not_let_in.encode("test", 30, text="lamp")

    (complaint,) = caplog.messages
    assert "EmbedQuery needs a bearer token of scope serve" in complaint
    await let_in.close()
    await not_let_in.close()
    await server.stop(0)
