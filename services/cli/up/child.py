"""Hold a server or service of `freshet up`: a process behind its guard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from services.cli.up.process import Guarded, StartFailed, await_ready


class GuardedChild(ABC):
    """A server that is launched, asked whether it is ready, and stopped; again and again."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._child: Guarded | None = None

    @property
    def pid(self) -> int:
        """Return the process id, 0 while it does not run."""
        return self._child.pid if self._child else 0

    @abstractmethod
    def launch(self) -> None:
        """Start it and return at once."""

    @abstractmethod
    def ready(self) -> bool:
        """Ask it whether it answers."""

    def await_ready(self, timeout_s: float) -> None:
        """Wait until it is ready. One that ends or is late is killed; then raises StartFailed."""
        assert self._child is not None
        try:
            await_ready(self._child, self.ready, timeout_s)
        except StartFailed:
            self.kill()
            raise

    def poll(self) -> int | None:
        """Return the exit code of a process that ended, None while it runs."""
        return self._child.poll() if self._child else None

    def terminate(self) -> None:
        """Ask it to end cleanly, without waiting."""
        if self._child is not None:
            self._child.terminate()

    def stop(self) -> None:
        """Ask it to end cleanly and wait for that; what it acknowledged is in its files."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def kill(self) -> None:
        """SIGKILL it."""
        if self._child is not None:
            self._child.kill()
            self._child = None
