from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest

from shared.runtime import metrics
from shared.runtime.call_guard import Admission, CallGuard
from shared.runtime.deadline import RESERVE_S, Deadline


class Aborted(Exception):
    """What a call is ended by."""


class Context:
    """The part of a servicer's context that is used."""

    def __init__(self, left_s: float | None = None) -> None:
        self._left_s = left_s
        self.ended: tuple[grpc.StatusCode, str] | None = None
        self.trailing: Any = ()

    def time_remaining(self) -> float | None:
        return self._left_s

    def set_trailing_metadata(self, metadata: Any) -> None:
        self.trailing = metadata

    async def abort(self, code: grpc.StatusCode, text: str) -> None:
        self.ended = (code, text)
        raise Aborted


def guard(at_most_s: float = 5.0) -> CallGuard:
    return CallGuard(Admission(4), at_most_s)


def counted(code: str) -> float:
    count: float = metrics.REQUESTS.labels("Recommend", code)._value.get()
    return count


async def test_a_fault_is_internal_says_nothing_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(request: object, deadline: Deadline) -> None:
        raise ZeroDivisionError("secret of user ann")

    context: Any = Context()
    with caplog.at_level(logging.ERROR), pytest.raises(Aborted):
        await guard().answer("Recommend", None, context, fail, 1.0)
    assert context.ended == (
        grpc.StatusCode.INTERNAL,
        "a fault of the service; its log says more",
    )
    assert "Recommend failed" in caplog.text


async def test_the_callers_deadline_is_the_budget_and_the_default_where_there_is_none() -> None:
    left: list[float] = []

    async def note(request: object, deadline: Deadline) -> str:
        left.append(deadline.left_s())
        return "done"

    callers: Any = Context(left_s=3.0)
    nobodys: Any = Context()
    assert await guard().answer("Recommend", None, callers, note, 0.05) == "done"
    assert await guard().answer("Recommend", None, nobodys, note, 0.05) == "done"
    assert 2.5 < left[0] < 3.0
    assert left[1] < 0.05


async def never(request: object, deadline: Deadline) -> None:
    await asyncio.Event().wait()


async def test_a_longer_deadline_than_the_largest_is_cut() -> None:
    left: list[float] = []

    async def note(request: object, deadline: Deadline) -> None:
        left.append(deadline.left_s())

    an_hours: Any = Context(left_s=3600.0)
    await guard(at_most_s=2.0).answer("Recommend", None, an_hours, note, 0.05)
    nobodys: Any = Context()
    await guard(at_most_s=0.01).answer("Recommend", None, nobodys, note, 0.05)
    assert 1.5 < left[0] < 2.0
    assert left[1] < 0.01


@pytest.mark.parametrize("left_s", [3600.0, None])
async def test_no_call_takes_longer_than_the_largest_deadline(left_s: float | None) -> None:
    before, context = counted("DEADLINE_EXCEEDED"), Context(left_s)
    called: Any = context
    with pytest.raises(Aborted):
        await guard(at_most_s=0.02).answer("Recommend", None, called, never, 0.05)
    assert context.ended == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "no answer within the deadline",
    )
    assert counted("DEADLINE_EXCEEDED") == before + 1


@pytest.mark.parametrize(
    ("left_s", "code"),
    [(3600.0, "CANCELLED"), (None, "CANCELLED"), (RESERVE_S / 2, "DEADLINE_EXCEEDED")],
)
async def test_a_call_that_grpc_ends_is_counted_by_why(left_s: float | None, code: str) -> None:
    before, called, answered = counted(code), asyncio.Event(), counted("OK")

    async def wait(request: object, deadline: Deadline) -> None:
        called.set()
        await asyncio.Event().wait()

    context: Any = Context(left_s)
    call = asyncio.create_task(guard().answer("Recommend", None, context, wait, 1.0))
    await called.wait()
    call.cancel()
    with pytest.raises((asyncio.CancelledError, Aborted)):
        await call
    assert counted(code) == before + 1
    assert counted("OK") == answered


async def test_a_reply_after_its_deadline_is_none() -> None:
    before = counted("DEADLINE_EXCEEDED")

    async def work(request: object, deadline: Deadline) -> str:
        while deadline.left_s() > -1.5 * RESERVE_S:
            pass
        return "late"

    context: Any = Context(left_s=0.01)
    await guard().answer("Recommend", None, context, work, 1.0)
    assert counted("DEADLINE_EXCEEDED") == before + 1


async def test_who_sets_no_deadline_gets_a_late_reply_too() -> None:
    before = counted("OK")

    async def work(request: object, deadline: Deadline) -> str:
        while deadline.left_s() > -1.5 * RESERVE_S:
            pass
        return "late"

    context: Any = Context()
    assert await guard().answer("Recommend", None, context, work, 0.005) == "late"
    assert counted("OK") == before + 1
