"""Share ports out among several `freshet up` on one machine: each keeps its own to the end."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from services.cli.up.process import StartFailed, is_free, port_candidates

USUAL_PORTS: Final = {
    "KAFKA": 9092,
    "VALKEY": 6379,
    "FRESHET_RANKING_PORT": 50051,
    "FRESHET_EMBEDDING_PORT": 50061,
    "FRESHET_GATEWAY_PORT": 8080,
    "FRESHET_SESSIONS_HEALTH_PORT": 9101,
    "FRESHET_EMBEDDING_HEALTH_PORT": 9102,
    "FRESHET_RANKING_HEALTH_PORT": 9103,
    "FRESHET_GATEWAY_HEALTH_PORT": 9104,
}


class Ports:
    """Takes ports by a lock file each in `folder`, which the system drops with this process.

    A port is free for a while after it was chosen and before its server listens, and while that
    one starts again: nobody else who asks here is given it then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[int, IO[str]] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for lock in self._locks.values():
            lock.close()

    def choose(self, environ: Mapping[str, str]) -> dict[str, int]:
        """Take a port for each name: the usual one where that is free, else any.

        Raises StartFailed for a port that the environment names and that is taken or none.
        """
        return {name: self._named(name, environ.get(name, "")) for name in USUAL_PORTS}

    def _named(self, name: str, named: str) -> int:
        if not named:
            return self.take(USUAL_PORTS[name])
        if not named.isdigit():
            raise StartFailed(f"{name} must be a port, was {named!r}")
        if int(named) and not self._try(int(named)):
            raise StartFailed(f"{name}={named} is taken by another program")
        return int(named) or self.take()

    def take(self, first: int = 0) -> int:
        """Take `first`, or another one where it is taken."""
        return next(port for port in port_candidates(first) if self._try(port))

    def _try(self, port: int) -> bool:
        if port in self._locks or not is_free(port):
            return False
        lock = (self._folder / f"{port}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._locks[port] = lock
        return True
