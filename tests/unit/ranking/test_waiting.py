"""Calls that wait for a position, on a real server: they leave the places to all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from freshet.v1 import recommender_pb2 as pb
from freshet.v1 import recommender_pb2_grpc
from services.ranking.server import NEEDS, SERVICE
from services.ranking.stages import degraded
from shared.access.door import Door
from shared.access.settings import DoorSettings
from shared.runtime.call_guard import Admission, CallGuard
from shared.runtime.grpc_server import Server
from tests.servers import eventually
from tests.unit.ranking.test_server import recommender

PLACES = 64
AN_HOUR_S = 3600.0
UNREACHABLE = pb.RecommendRequest(user_id="ann", after="0:1000000")
ANY = pb.RecommendRequest(user_id="ann")


class Running:
    """A running server over a shop in memory."""

    def __init__(self, admission: Admission, stub: Any) -> None:
        self.admission = admission
        self.stub = stub

    def wait_in_vain(self, calls: int) -> list[asyncio.Future[pb.RecommendResponse]]:
        """Begin calls that wait for what nobody has written."""
        return [
            asyncio.ensure_future(self.stub.Recommend(UNREACHABLE, timeout=AN_HOUR_S))
            for _ in range(calls)
        ]


@asynccontextmanager
async def serving(*, waiting: int, at_most_s: float = 1.0) -> AsyncIterator[Running]:
    """waiting: calls at most. at_most_s: the largest deadline, half of which they wait."""
    admission = Admission(PLACES, outside_at_most=waiting)
    server = Server(
        SERVICE, NEEDS, Door(DoorSettings()), receive_max_bytes=2**20, max_concurrent=1000
    )
    answering = recommender(guard=CallGuard(admission, at_most_s))
    recommender_pb2_grpc.add_RecommenderServicer_to_server(answering, server.grpc)
    port = await server.start(0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Running(admission, recommender_pb2_grpc.RecommenderStub(channel))
    await server.stop(0)


async def test_calls_that_wait_in_vain_for_an_hour_lock_nobody_out() -> None:
    async with serving(waiting=2 * PLACES, at_most_s=60.0) as there:
        calls = there.wait_in_vain(PLACES)
        await eventually(lambda: there.admission.outside == PLACES)
        for _ in range(10):
            assert (await there.stub.Recommend(ANY, timeout=30)).items
        assert there.admission.outside == PLACES
        for call in calls:
            call.cancel()
        await eventually(lambda: there.admission.outside == 0)
        assert there.admission.in_flight == 0


async def test_calls_that_wait_in_vain_are_answered_in_half_the_largest_deadline() -> None:
    async with serving(waiting=PLACES) as there:
        for reply in await asyncio.gather(*there.wait_in_vain(3)):
            assert degraded.AFTER_TIMEOUT in reply.degraded
            assert reply.items


async def test_more_calls_than_may_wait_are_refused_with_when_to_come_again() -> None:
    async with serving(waiting=2, at_most_s=60.0) as there:
        calls = there.wait_in_vain(2)
        await eventually(lambda: there.admission.outside == 2)
        call = there.stub.Recommend(UNREACHABLE, timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.value.details() == "2 calls wait already, at most 2 may"
        assert dict(await call.trailing_metadata())["grpc-retry-pushback-ms"] == "100"
        assert (await there.stub.Recommend(ANY, timeout=30)).items
        for waiting in calls:
            waiting.cancel()
