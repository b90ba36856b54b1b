"""The supervisor's decisions, with children and a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.cli.up.process import StartFailed
from services.cli.up.supervisor import (
    LONGEST_DELAY_S,
    STEADY_AFTER_S,
    Supervisor,
    ending,
    restart_delay_s,
)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeChild:
    """A child that does what the test says and notes what is done to it."""

    def __init__(self, name: str, log: Path, history: list[str]) -> None:
        self.name, self.log, self.history = name, log, history
        self.pid = 0
        self.code: int | None = None
        self.is_ready = True
        self.refuses_to_launch = False

    def launch(self) -> None:
        if self.refuses_to_launch:
            raise OSError("no such program")
        self.history.append(f"launch {self.name}")
        self.pid, self.code = self.pid + 1, None

    def ready(self) -> bool:
        return self.is_ready

    def poll(self) -> int | None:
        return self.code

    def terminate(self) -> None:
        self.history.append(f"terminate {self.name}")

    def stop(self) -> None:
        self.history.append(f"stop {self.name}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def history() -> list[str]:
    return []


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def broker(tmp_path: Path, history: list[str]) -> FakeChild:
    return FakeChild("kafka", tmp_path / "kafka.log", history)


@pytest.fixture
def service(tmp_path: Path, history: list[str]) -> FakeChild:
    return FakeChild("sessions", tmp_path / "sessions.log", history)


@pytest.fixture
def supervisor(broker: FakeChild, service: FakeChild, told: list[str], clock: Clock) -> Supervisor:
    return Supervisor([[broker], [service]], told.append, clock=clock)


def test_services_start_after_the_servers_and_stop_before_them(
    supervisor: Supervisor, history: list[str]
) -> None:
    supervisor.start()
    supervisor.stop()

    assert history == [
        "launch kafka",
        "launch sessions",
        "terminate sessions",
        "stop sessions",
        "terminate kafka",
        "stop kafka",
    ]


def test_crashed_child_starts_again_after_its_delay_and_the_user_is_told(
    supervisor: Supervisor,
    service: FakeChild,
    history: list[str],
    told: list[str],
    clock: Clock,
) -> None:
    supervisor.start()
    service.code = 137

    supervisor.tend()
    clock.now += restart_delay_s(1) - 0.01
    supervisor.tend()
    assert history.count("launch sessions") == 1
    clock.now += 0.02
    supervisor.tend()
    supervisor.tend()

    assert history.count("launch sessions") == 2
    assert told == [
        f"sessions ended (signal 9); next start in 0.5 s (log: {service.log})",
        "sessions is ready again",
    ]


def test_delays_double_up_to_half_a_minute() -> None:
    delays = [restart_delay_s(crashes) for crashes in range(1, 10)]

    assert delays[:4] == [0.5, 1.0, 2.0, 4.0]
    assert delays[-1] == LONGEST_DELAY_S
    assert restart_delay_s(10_000) == LONGEST_DELAY_S


def test_a_long_steady_run_makes_the_delay_short_again(
    supervisor: Supervisor, service: FakeChild, told: list[str], clock: Clock
) -> None:
    supervisor.start()
    for _ in range(3):
        service.code = 1
        supervisor.tend()
        clock.now += LONGEST_DELAY_S
        supervisor.tend()
    clock.now += STEADY_AFTER_S
    service.code = 1
    told.clear()
    supervisor.tend()

    assert "next start in 0.5 s" in told[0]


def test_a_child_that_cannot_be_started_again_is_tried_again_later(
    supervisor: Supervisor, broker: FakeChild, told: list[str], clock: Clock
) -> None:
    supervisor.start()
    broker.code, broker.refuses_to_launch = 1, True
    supervisor.tend()
    clock.now += 1
    supervisor.tend()
    assert "kafka does not start: no such program; next start in 1 s" in told[-1]

    broker.refuses_to_launch = False
    clock.now += 1
    supervisor.tend()
    supervisor.tend()

    assert told[-1] == "kafka is ready again"


def test_refused_settings_end_the_start_with_the_childs_last_line(
    supervisor: Supervisor, service: FakeChild
) -> None:
    service.log.write_text("first\nFRESHET_GAP_S must be a number, was 'x'\n")
    service.launch = lambda: setattr(service, "code", 2)  # type: ignore[method-assign]

    with pytest.raises(StartFailed, match="sessions does not start: FRESHET_GAP_S must be"):
        supervisor.start()


def test_a_child_that_keeps_crashing_before_it_is_ready_ends_the_start(
    supervisor: Supervisor, service: FakeChild, clock: Clock
) -> None:
    service.log.write_text("Segmentation fault\n")
    service.launch = lambda: setattr(service, "code", 139)  # type: ignore[method-assign]

    with pytest.raises(StartFailed, match="Segmentation fault"):
        supervisor.start(progress=lambda: setattr(clock, "now", clock.now + LONGEST_DELAY_S))


def test_who_is_waited_for_is_known_while_starting(
    supervisor: Supervisor, service: FakeChild
) -> None:
    service.is_ready = False
    seen: list[list[str]] = []

    def progress() -> None:
        seen.append(supervisor.waiting_for())
        service.is_ready = len(seen) > 3

    supervisor.start(progress)

    assert ["kafka"] in seen
    assert ["sessions"] in seen
    assert supervisor.waiting_for() == []


@pytest.mark.parametrize(("code", "words"), [(137, "signal 9"), (1, "exit code 1")])
def test_endings_are_said_in_words(code: int, words: str) -> None:
    assert ending(code) == words
