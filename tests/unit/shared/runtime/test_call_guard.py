from __future__ import annotations

import logging
from typing import Any

import grpc
import pytest

from shared.runtime.call_guard import Admission, CallGuard
from shared.runtime.deadline import Deadline


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


def guard() -> CallGuard:
    return CallGuard(Admission(4))


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
