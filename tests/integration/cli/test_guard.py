"""The guard: a child never outlives its parent, and its log stays bounded."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from services.cli.up import process
from services.cli.up.process import Guarded, StartFailed, await_ready, free_port

pytestmark = pytest.mark.integration

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(600)",
]


def _await(child: Guarded, condition: Callable[[], bool]) -> None:
    await_ready(child, condition, timeout_s=10)


def _await_line(child: Guarded) -> None:
    _await(child, lambda: child.log.exists() and "up" in child.log.read_text())


def _gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _await_gone(*pids: int) -> None:
    deadline = time.monotonic() + 10
    while not all(map(_gone, pids)):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.01)


def test_exit_codes_and_output_come_through(tmp_path: Path) -> None:
    child = Guarded([sys.executable, "-c", "print('said'); raise SystemExit(7)"], tmp_path / "log")

    assert child.wait(10) == 7
    assert child.log_tail() == "said"


def test_a_program_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"could not run /nowhere/program: FileNotFoundError"):
        Guarded(["/nowhere/program"], tmp_path / "log")


def test_a_stopped_child_ends_by_sigterm(tmp_path: Path) -> None:
    child = Guarded(SLEEPER, tmp_path / "log")
    _await_line(child)

    assert child.stop() == 128 + signal.SIGTERM


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    child = Guarded(STUBBORN, tmp_path / "log", grace_s=0.1)
    _await_line(child)

    assert child.stop() == 128 + signal.SIGKILL


@pytest.mark.parametrize("command", [SLEEPER, STUBBORN], ids=["willing", "stubborn"])
def test_children_and_grandchildren_end_when_the_parent_is_killed(
    tmp_path: Path, command: list[str]
) -> None:
    """The parent gets SIGKILL; the child's own child is in its process group."""
    script = f"""
        import subprocess, sys, time
        from pathlib import Path
        from services.cli.up.process import Guarded
        inner = {command!r}
        code = "import subprocess, time; p = subprocess.Popen(%r); print(p.pid, flush=True);" \\
            "time.sleep(600)" % inner
        child = Guarded([sys.executable, "-c", code], Path({str(tmp_path / "log")!r}), grace_s=0.2)
        print(child.pid, flush=True)
        time.sleep(600)
    """
    environ = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, env=environ
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    log = tmp_path / "log"
    while len(words := log.read_text().split() if log.exists() else []) < 2:
        assert parent.poll() is None
    grandchild = int(next(word for word in words if word.isdigit()))

    parent.kill()
    parent.wait()
    parent.stdout.close()

    _await_gone(child, grandchild)


def test_what_a_child_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print(p.pid, flush=True)"
    )
    child = Guarded([sys.executable, "-c", code], tmp_path / "log")

    assert child.wait(10) == 0
    _await_gone(int(child.log_tail()))


def test_logs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_LIMIT_BYTES", 10_000)
    code = "for n in range(20000): print('line', n)"
    child = Guarded([sys.executable, "-c", code], tmp_path / "log")
    child.wait(10)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1"]
    assert all(path.stat().st_size <= 10_000 + 65_536 for path in tmp_path.iterdir())
    assert child.log_tail(1) == "line 19999"


def test_a_child_that_ends_before_it_is_ready_shows_the_end_of_its_log(tmp_path: Path) -> None:
    child = Guarded([sys.executable, "-c", "raise SystemExit('why')"], tmp_path / "kafka.log")

    with pytest.raises(StartFailed, match=r"(?s)kafka ended with exit code 1; .*why"):
        _await(child, lambda: False)
    child.wait()


def test_a_late_child_is_said_to_be_late(tmp_path: Path) -> None:
    child = Guarded(SLEEPER, tmp_path / "kafka.log")

    with pytest.raises(StartFailed, match=r"kafka did not answer within 0\.1 s"):
        await_ready(child, lambda: False, timeout_s=0.1)
    child.kill()


def test_a_taken_port_is_replaced_by_a_free_one_that_no_outgoing_call_gets() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert 15_000 <= free_port(port) <= 32_000
    assert free_port(port) == port
