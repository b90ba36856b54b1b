"""Embedding on this machine is asked straight, whatever proxy the environment names."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from freshet.v1 import embedding_pb2 as pb
from freshet.v1 import embedding_pb2_grpc
from services.ranking.live.embedding_client import EmbeddingClient

HALF = np.array([0.6, 0.8], np.float16)


class _Embedding(embedding_pb2_grpc.EmbeddingServicer):
    async def EmbedQuery(
        self, request: pb.EmbedQueryRequest, context: Any
    ) -> pb.EmbedQueryResponse:
        return pb.EmbedQueryResponse(space="test", vector=HALF.tobytes(), own_vector=HALF.tobytes())

    async def Embed(self, request: pb.EmbedRequest, context: Any) -> pb.EmbedResponse:
        raise NotImplementedError


async def test_the_loopback_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # which nobody runs
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = grpc.aio.server()
    embedding_pb2_grpc.add_EmbeddingServicer_to_server(_Embedding(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = EmbeddingClient(f"127.0.0.1:{port}")

    found = await client.encode("test", 30, text="lamp")

    assert found.vector.tolist() == HALF.tolist()
    await client.close()
    await server.stop(None)
