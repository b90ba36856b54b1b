"""A worker that meets a fault applies nothing any more, and its batches are never done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.sessions.effect.store import WriteRefused
from services.sessions.faust import worker as worker_module
from services.sessions.faust.batches import Batch
from services.sessions.faust.partitions import WorkerProgress
from services.sessions.faust.worker import ATTEMPTS_AT_MOST, Worker
from services.sessions.settings import SessionsSettings
from shared.faults import SystemFault
from tests.unit.sessions.kit import batch, click


class Consumer:
    """Knows which batches are done; all are current."""

    def __init__(self) -> None:
        self.finished: list[int] = []

    def is_current(self, _: Batch) -> bool:
        return True

    def done(self, one: Batch) -> None:
        self.finished.append(one.end)


class Writer:
    """Fails as told, one error an attempt."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def apply(self, *_: object) -> None:
        if self.errors:
            raise self.errors.pop(0)


class WorkerWithoutFaust(Worker):
    """Applies batches, and neither reads nor joins anything."""

    def __init__(self, *errors: Exception) -> None:
        self.consumer: Any = Consumer()
        self._settings = SessionsSettings()
        self._writer: Any = Writer(*errors)
        self._items: Any = type("Items", (), {"catalogue": None})
        self._halted = asyncio.get_running_loop().create_future()
        self.progress = WorkerProgress(60, lambda: 0)

    @property
    def _consumer(self) -> Any:
        return self.consumer


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "FIRST_WAIT_S", 0.0)


async def test_after_a_fault_no_batch_is_applied_or_done() -> None:
    worker = WorkerWithoutFaust(SystemFault("a model fails"))
    for offset in range(3):
        await worker._apply(batch([click(offset)]))
    assert worker.consumer.finished == []
    assert str(worker._halted.exception()) == "a model fails"


async def test_a_batch_that_fails_unforeseen_again_and_again_is_a_fault() -> None:
    worker = WorkerWithoutFaust(*[KeyError("a bug") for _ in range(ATTEMPTS_AT_MOST)])
    await worker._apply(batch([click(0)]))
    assert worker.consumer.finished == []
    assert "KeyError('a bug')" in str(worker._halted.exception())


async def test_what_passes_is_tried_again_however_often() -> None:
    away: list[Exception] = [ConnectionError("gone"), WriteRefused(), KeyError("a bug")]
    worker = WorkerWithoutFaust(*(ATTEMPTS_AT_MOST - 1) * away, *3 * away[:2])
    await worker._apply(batch([click(0)]))
    assert worker.consumer.finished == [0]
    assert not worker._halted.done()
