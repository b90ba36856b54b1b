from __future__ import annotations

import asyncio
import logging

import pytest

from shared.faults import SystemFault
from shared.runtime.service import Background
from tests.servers import eventually


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_work_that_is_stopped_is_no_fault() -> None:
    background = Background()
    background.start(for_ever(), "one")
    await asyncio.sleep(0)
    await background.stop()
    assert background.fault is None


async def test_the_first_work_that_dies_is_the_fault_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def die(why: str) -> None:
        raise RuntimeError(why)

    background = Background()
    background.start(for_ever(), "one")
    with caplog.at_level(logging.ERROR):
        background.start(die("first"), "two")
        await eventually(lambda: background.fault, what="the fault")
        background.start(die("second"), "three")
        await asyncio.sleep(0.01)
    assert background.fault == "two ended: RuntimeError('first')"
    assert "three ended" in caplog.text
    await background.stop()


async def test_one_fault_that_many_meet_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[BaseException | None] = []
    background = Background(heard.append)
    for _ in range(5):
        background.fail("items", SystemFault("a model fails"))
    assert len(heard) == caplog.text.count("a model fails") == 1


async def test_work_that_ends_by_itself_is_a_fault_too() -> None:
    background = Background()
    background.start(asyncio.sleep(0), "brief")
    await eventually(lambda: background.fault, what="the fault")
    assert background.fault == "brief ended: None"
