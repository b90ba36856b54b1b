"""One of Freshet's services as a child: started, asked whether it is ready, stopped."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from services.cli.up.process import Guarded, answers


class ServiceChild:
    """A service behind its guard; `port` is its health port."""

    def __init__(self, name: str, port: int, log: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self.port = port
        self.log = log
        self._environ = environ
        self._child: Guarded | None = None

    @property
    def pid(self) -> int:
        """Return the process id, 0 while it does not run."""
        return self._child.pid if self._child else 0

    def launch(self) -> None:
        """Start it and return at once. Raises OSError if it cannot be run."""
        command = [sys.executable, "-m", f"services.{self.name}"]
        self._child = Guarded(command, self.log, environ=self._environ)

    def ready(self) -> bool:
        """Ask its health port."""
        request = b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n"
        return b" 200 " in answers(self.pid, self.port, request)[:16]

    def poll(self) -> int | None:
        """Return the exit code of a service that ended, None while it runs."""
        return self._child.poll() if self._child else None

    def terminate(self) -> None:
        """Ask it to end, without waiting."""
        if self._child is not None:
            self._child.terminate()

    def stop(self) -> None:
        """Ask it to end and wait for it."""
        if self._child is not None:
            self._child.stop()
            self._child = None
