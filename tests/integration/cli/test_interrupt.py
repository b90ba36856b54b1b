"""Ctrl-C at any moment of a start: a line, everything stopped, and the next start finds its way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.system import all_gone
from tests.integration.cli.maven import Repository
from tests.servers import ROOT

pytestmark = pytest.mark.integration

STOPPED = "stopped; the next start finds everything again"


class Terminal:
    """A `freshet` command in a session of its own, as a terminal holds it."""

    def __init__(self, *words: str, data: Path, environ: Mapping[str, str] | None = None) -> None:
        self.data = data
        self._log = data.parent / "printed.txt"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", *words, "--data", str(data)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
                cwd=ROOT,
                start_new_session=True,
            )

    def printed(self) -> str:
        """Return all that it wrote."""
        return self._log.read_text()

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + 100
        while not condition():
            assert self._process.poll() is None, self.printed()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.002)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> int:
        """Press Ctrl-C, which a terminal sends to the whole group; returns the exit code."""
        family = psutil.Process(self._process.pid).children(recursive=True)
        os.killpg(self._process.pid, number)
        code = self._process.wait(60)
        assert all_gone(family), "a process was left behind"
        return code

    def end(self) -> None:
        """SIGKILL it if it still runs."""
        self._process.kill()
        self._process.wait()


@contextmanager
def typed(*words: str, data: Path, environ: Mapping[str, str] | None = None) -> Iterator[Terminal]:
    terminal = Terminal(*words, data=data, environ=environ)
    try:
        yield terminal
    finally:
        terminal.end()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def assert_ended_in_peace(terminal: Terminal) -> None:
    assert terminal.printed().splitlines()[-1] == STOPPED
    assert "Traceback" not in terminal.printed()
    assert "rror" not in terminal.printed()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_fetch_from_a_repository_that_hangs_is_left_at_once(
    repository: Repository, data: Path, number: signal.Signals
) -> None:
    repository.hangs.set()
    environ = {"XDG_CACHE_HOME": str(data.parent / "cache"), "FRESHET_MAVEN": repository.url}
    environ["KAFKA_HOME"] = ""
    with typed("up", data=data, environ=environ) as terminal:
        terminal.until(lambda: repository.asked)

        assert terminal.interrupt(number) == 0
        assert repository.hangs.is_set()  # nobody has waited for it
        assert_ended_in_peace(terminal)


def formatting(data: Path) -> bool:
    return (data / "kafka" / "log4j2.xml").exists()


def starting_servers(data: Path) -> bool:
    return (data / "logs" / "kafka.log").exists()


def starting_services(data: Path) -> bool:
    return (data / "logs" / "ranking.log").exists()


@pytest.mark.parametrize("moment", [formatting, starting_servers, starting_services])
def test_a_start_that_is_interrupted_ends_with_a_line(
    data: Path, moment: Callable[[Path], bool]
) -> None:
    with typed("up", data=data) as terminal:
        terminal.until(lambda: moment(data))

        assert terminal.interrupt() == 0
        assert_ended_in_peace(terminal)


def test_an_interrupted_start_does_not_spoil_the_next(data: Path) -> None:
    with typed("up", data=data) as terminal:
        terminal.until(lambda: formatting(data))
        terminal.interrupt()

    with typed("up", data=data) as terminal:
        terminal.until(lambda: "Freshet is ready" in terminal.printed())

        assert terminal.interrupt() == 0
        assert_ended_in_peace(terminal)


@pytest.mark.parametrize(
    ("number", "seen"),
    [(signal.SIGINT, "The shop opens"), (signal.SIGTERM, "A newcomer's list")],
)
def test_a_demo_that_is_interrupted_ends_with_a_line(
    data: Path, number: signal.Signals, seen: str
) -> None:
    with typed("demo", "--once", data=data) as terminal:
        terminal.until(lambda: seen in terminal.printed())

        assert terminal.interrupt(number) == 1
        assert_ended_in_peace(terminal)
