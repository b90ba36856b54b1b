"""Run one of Freshet's services as a child: start it, ask whether it is ready, stop it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from services.cli.up.child import GuardedChild
from services.cli.up.process import Guarded, answers


class ServiceChild(GuardedChild):
    """A service behind its guard; `port` is its health port."""

    def __init__(self, name: str, port: int, log: Path, environ: Mapping[str, str]) -> None:
        super().__init__(log)
        self.name = name
        self.port = port
        self._environ = environ

    def launch(self) -> None:
        """Start it and return at once. Raises OSError if it cannot be run."""
        command = [sys.executable, "-m", f"services.{self.name}"]
        self._child = Guarded(command, self.log, environ=self._environ)

    def ready(self) -> bool:
        """Ask its health port."""
        request = b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n"
        return b" 200 " in answers(self.pid, self.port, request)[:16]
