"""Start child processes that cannot outlive this one (guard.py), on free ports."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

LOG_LIMIT_BYTES = 8 * 1024 * 1024  # and as much again in the predecessor
GRACE_S = 20.0  # services end within 15 s of SIGTERM; after this, SIGKILL
_GUARD = Path(__file__).with_name("guard.py")


class StartFailed(RuntimeError):
    """A child did not become ready; the text says which, why, and where its log lies."""


class Guarded:
    """A started child behind its guard. `pid` is the child's own."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        """Start `command` in `folder`, its output to `log`. Raises OSError if it cannot be run."""
        log.parent.mkdir(parents=True, exist_ok=True)
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(log), str(LOG_LIMIT_BYTES)]
        self.log = log
        self._guard = subprocess.Popen(
            [*guard, str(grace_s), "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            cwd=folder,
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        try:
            first = self._guard.stdout.readline()
        except BaseException:  # Ctrl-C: nobody else knows of this process yet
            self._guard.communicate()
            raise
        if not first:
            reason = self._guard.communicate()[1].decode(errors="replace").strip()
            raise OSError(f"could not run {command[0]}: {reason.splitlines()[-1]}")
        self.pid = int(first)

    def poll(self) -> int | None:
        """Return the child's exit code (128 + N for signal N), None while it runs."""
        return self._guard.poll()

    def terminate(self) -> None:
        """Ask the child to end; after the grace it is killed."""
        if self.poll() is None:
            self._guard.terminate()

    def kill(self) -> None:
        """SIGKILL the child with all that it started, as a crash would, and wait for its end."""
        # macOS answers EPERM for a group that holds zombies only
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end, close the pipes, return the exit code. Raises TimeoutExpired."""
        code = self._guard.wait(timeout_s)
        for pipe in (self._guard.stdin, self._guard.stdout, self._guard.stderr):
            if pipe is not None:
                pipe.close()
        return code

    def stop(self) -> int:
        """Ask the child to end and wait for it."""
        self.terminate()
        return self.wait()

    def log_tail(self, lines: int = 12) -> str:
        """Return the last lines of the child's log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def free_port(first: int = 0) -> int:
    """Return `first` if it is free on loopback, else a random free one.

    Random ones lie below those that systems hand to outgoing connections: a client that knocks at
    a restarting server's port would otherwise be given that very port and talk to itself.
    """
    return next(port for port in port_candidates(first) if is_free(port))


def port_candidates(first: int = 0) -> Iterator[int]:
    """Yield `first`, unless it is 0, then random ports without end."""
    if first:
        yield first
    while True:
        yield random.randint(15_000, 32_000)


def is_free(port: int) -> bool:
    """Return whether nobody listens on the port, on loopback or on all addresses."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    with socket.socket() as caller:  # a listener on all addresses does not stop macOS' bind
        return caller.connect_ex(("127.0.0.1", port)) != 0


def answers(pid: int, port: int, request: bytes, timeout_s: float = 1.0) -> bytes:
    """Send `request` to a port of process `pid` on loopback and return what comes back first.

    Empty when nothing does, or when another process listens there: a child whose port somebody
    else took in the meantime must not pass for ready by that one's answers.
    """
    try:
        links = psutil.Process(pid).net_connections("tcp")
        if not any(link.laddr.port == port and link.status == psutil.CONN_LISTEN for link in links):
            return b""
        with socket.create_connection(("127.0.0.1", port), timeout_s) as link:
            link.sendall(request)
            return link.recv(4096)
    except (OSError, psutil.Error):
        return b""


def await_ready(child: Guarded, ready: Callable[[], bool], timeout_s: float) -> None:
    """Wait until `ready()`. Raises StartFailed with the log's end if the child ends or is late."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        ended = child.poll()
        if ended is not None or time.monotonic() > deadline:
            why = f"did not answer within {timeout_s:g} s"
            if ended is not None:
                why = f"ended with exit code {ended}"
            raise StartFailed(f"{child.log.stem} {why}; {child.log} ends:\n{child.log_tail()}")
        time.sleep(0.02)
