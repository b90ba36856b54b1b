"""Run one command so that it never outlives its parent, and keep its log bounded.

    python -I -S guard.py LOG LIMIT_BYTES GRACE_S -- COMMAND…

Standard library only and never imported by the rest: a small process of its own between parent
and child. Writes the child's pid as one line to its standard output. The parent holds the other
end of its standard input: when that closes, because the parent went away in whatever manner, the
child's whole process group gets SIGTERM and, after GRACE_S, SIGKILL. SIGTERM to this process is
passed on in the same way. Ends with the child's exit code, 128 + N when signal N ended it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """Ask Linux to kill the child should this guard itself be killed; elsewhere do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class BoundedLog:
    """A file and its predecessor (`.1`), each at most `limit` bytes."""

    def __init__(self, path: str, limit: int) -> None:
        self._path, self._limit = path, limit
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the process

    def write(self, chunk: bytes) -> None:
        if chunk and self._file.tell() + len(chunk) > self._limit:
            self._file.close()
            os.replace(self._path, self._path + ".1")
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        self._file.write(chunk)


class Guard:
    """One child, in a process group of its own: Ctrl-C in the terminal is the parent's affair."""

    def __init__(self, command: list[str], log: BoundedLog, grace_s: float) -> None:
        self._log, self._grace_s = log, grace_s
        self._kill_at = float("inf")
        self._stopping = False
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def stop(self, *_: object) -> None:
        """Ask the whole group to end; the first call starts the grace."""
        if not self._stopping:
            self._stopping, self._kill_at = True, time.monotonic() + self._grace_s
            self._signal(signal.SIGTERM)

    def run(self, parent: int) -> int:
        """Copy output to the log until the child ends; stop it when `parent` closes."""
        assert self.child.stdout is not None
        output = self.child.stdout.fileno()
        watched = {output, parent, self._wake_on_signals()}
        while self.child.poll() is None:
            wait_s = min(1.0, max(0.0, self._kill_at - time.monotonic()))
            for ready in select.select(list(watched), [], [], wait_s)[0]:
                chunk = os.read(ready, 65_536)
                if ready == output:
                    self._log.write(chunk)
                if not chunk:
                    watched.discard(ready)
                    if ready == parent:
                        self.stop()
            if time.monotonic() >= self._kill_at:
                self._signal(signal.SIGKILL)
        self._signal(signal.SIGKILL)  # whatever the child started and left behind
        self._log_the_rest(output)
        code = self.child.returncode
        return code if code >= 0 else 128 - code

    def _wake_on_signals(self) -> int:
        """Make signals end a wait at once; returns the descriptor to wait on."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return wake_read

    def _signal(self, number: int) -> None:
        # macOS answers EPERM for a group that holds zombies only
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, number)

    def _log_the_rest(self, output: int) -> None:
        os.set_blocking(output, False)
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(output, 65_536):
                self._log.write(chunk)


def main(argv: list[str]) -> int:
    """Run the command of `argv` to its end."""
    log_path, limit, grace_s, _, *command = argv
    guard = Guard(command, BoundedLog(log_path, int(limit)), float(grace_s))
    os.write(sys.stdout.fileno(), f"{guard.child.pid}\n".encode())
    return guard.run(sys.stdin.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
