"""One call: its deadline, when it is tried again, and what its status becomes."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest

from freshet import (
    Client,
    DeadlineExceeded,
    FreshetError,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
)
from tests.servers import eventually
from tests.unit.freshet.ranking_double import UNAVAILABLE, Failure, RankingDouble


def overload(push_back_ms: int | None) -> Failure:
    return Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "64 calls in flight", push_back_ms)


async def test_every_call_has_a_deadline(
    ranking: RankingDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[float] = []

    async def note(
        method: object, request: object, timeout_s: float, *_: object, **__: object
    ) -> Any:
        noted.append(timeout_s)
        raise Unavailable

    monkeypatch.setattr("freshet.client.call", note)
    async with Client(ranking.address) as client:
        for ask in (
            client.recommend("ada"),
            client.similar("mug"),
            client.search("mug"),
            client.state("ada"),
            client.explain("ada", "mug"),
            client.forget("ada"),
        ):
            with pytest.raises(Unavailable):
                await ask

    assert noted == [0.2, 1.0, 1.0, 1.0, 1.0, 5.0]


async def test_a_deadline_is_the_calls_else_the_clients(ranking: RankingDouble) -> None:
    async with Client(ranking.address, timeout=30) as client:
        await client.recommend("ada")
        await client.forget("ada", timeout=60)

    assert 20 < ranking.calls[0].left_s < 30.5
    assert 40 < ranking.calls[1].left_s < 60.5


async def test_no_answer_in_time_is_an_error_of_its_own(
    client: Client, ranking: RankingDouble
) -> None:
    ranking.silent = True

    with pytest.raises(DeadlineExceeded):
        await client.recommend("ada", timeout=0.05)


async def test_a_read_is_tried_again_until_it_is_answered(
    client: Client, ranking: RankingDouble
) -> None:
    ranking.failures += [UNAVAILABLE] * 3

    listed = await client.recommend("ada")

    assert len(listed) == 2
    assert len(ranking.calls) == 4


async def test_a_read_is_given_up_after_four_attempts(
    client: Client, ranking: RankingDouble
) -> None:
    ranking.failures += [UNAVAILABLE] * 9

    with pytest.raises(Unavailable, match="as it was told"):
        await client.state("ada")
    assert len(ranking.calls) == 4


async def test_nothing_is_tried_again_beyond_the_deadline(
    client: Client, ranking: RankingDouble
) -> None:
    ranking.failures += [overload(60_000), UNAVAILABLE]

    began_s = time.monotonic()
    with pytest.raises(Overloaded) as refused:
        await client.recommend("ada")

    assert time.monotonic() - began_s < 30
    assert refused.value.retry_after == 60
    assert str(refused.value) == "64 calls in flight"
    assert len(ranking.calls) == 1


async def test_an_overloaded_service_is_asked_again_when_it_wants_to_be(
    client: Client, ranking: RankingDouble
) -> None:
    ranking.failures += [overload(200)]

    await client.recommend("ada", timeout=2)

    first, second = ranking.calls
    assert second.at_s - first.at_s >= 0.2
    assert second.left_s < first.left_s - 0.1  # one deadline for all attempts


@pytest.mark.parametrize("push_back_ms", [None, -1])
async def test_a_service_that_does_not_want_to_be_asked_again_is_not(
    client: Client, ranking: RankingDouble, push_back_ms: int | None
) -> None:
    ranking.failures += [overload(push_back_ms)]

    with pytest.raises(Overloaded) as refused:
        await client.recommend("ada")
    assert refused.value.retry_after == 0
    assert len(ranking.calls) == 1


async def test_forget_is_sent_once(client: Client, ranking: RankingDouble) -> None:
    ranking.failures += [UNAVAILABLE, overload(1)]

    with pytest.raises(Unavailable):
        await client.forget("ada")
    with pytest.raises(Overloaded):
        await client.forget("ada")
    assert len(ranking.calls) == 2


async def test_the_services_own_refusal_names_field_and_bound(
    client: Client, ranking: RankingDouble
) -> None:
    text = "k must be between 1 and 400, was 500"
    ranking.failures += [Failure(grpc.StatusCode.INVALID_ARGUMENT, text)]

    with pytest.raises(InvalidRequest) as refused:
        await client.recommend("ada", k=500)
    assert (refused.value.field, refused.value.bound) == ("k", "between 1 and 400")
    assert str(refused.value) == text


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, FreshetError),
        (grpc.StatusCode.UNAUTHENTICATED, FreshetError),
    ],
)
async def test_a_status_is_an_error_in_the_services_words(
    client: Client, ranking: RankingDouble, code: grpc.StatusCode, kind: type[FreshetError]
) -> None:
    ranking.failures += [Failure(code, "the words")]

    with pytest.raises(FreshetError, match="the words") as raised:
        await client.similar("mug")
    assert type(raised.value) is kind
    assert isinstance(raised.value.__cause__, grpc.aio.AioRpcError)
    assert len(ranking.calls) == 1


async def test_a_service_that_is_not_there_is_unavailable() -> None:
    async with Client("127.0.0.1:1", timeout=30) as client:
        with pytest.raises(Unavailable, match="Connection refused"):
            await client.recommend("ada")


async def test_a_client_that_is_closed_ends_calls_under_way(
    client: Client, ranking: RankingDouble
) -> None:
    ranking.silent = True
    call = asyncio.create_task(client.recommend("ada"))
    await eventually(lambda: ranking.calls, what="the call")

    await client.close()

    with pytest.raises(Unavailable, match="closed"):
        await call


async def test_a_caller_who_is_cancelled_stays_cancelled(
    client: Client, ranking: RankingDouble
) -> None:
    ranking.silent = True
    call = asyncio.create_task(client.recommend("ada"))
    await eventually(lambda: ranking.calls, what="the call")

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
