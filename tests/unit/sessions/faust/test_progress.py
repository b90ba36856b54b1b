"""When a worker counts as stuck."""

from __future__ import annotations

from services.sessions.faust.partitions import WorkerProgress


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def worker() -> tuple[WorkerProgress, Clock]:
    clock = Clock()
    return WorkerProgress(120, clock), clock


def test_a_lag_without_progress_is_being_stuck() -> None:
    progress, clock = worker()
    progress.measured(0, 0)
    progress.measured(1, 7)
    clock.now_s += 121
    assert progress.stalled() == "no progress for 121 s with 7 records to go"


def test_a_lag_that_is_worked_on_is_not() -> None:
    progress, clock = worker()
    progress.measured(0, 7)
    clock.now_s += 121
    progress.made()
    assert progress.stalled() is None


def test_an_idle_worker_is_alive_and_so_is_the_first_event_after_a_long_rest() -> None:
    progress, clock = worker()
    for _ in range(10):
        progress.measured(0, 0)
        clock.now_s += 100
        assert progress.stalled() is None
    progress.measured(0, 0)
    progress.measured(0, 1)
    assert progress.stalled() is None


def test_waiting_for_redis_is_not_being_stuck() -> None:
    progress, clock = worker()
    progress.measured(0, 7)
    progress.waiting[3] = "Redis"
    clock.now_s += 10_000
    assert progress.stalled() is None
