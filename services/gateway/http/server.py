"""Run uvicorn inside the service's own event loop: its port, its TLS, its end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from shared.access.door import Door

DRAIN_AT_MOST_S: Final = 8  # that calls in flight may take to end
KEEP_ALIVE_S: Final = 75  # longer than load balancers keep a connection: they end it, not we
BACKLOG: Final = 1024


class HttpServer(uvicorn.Server):
    """Serves an app until it is stopped; signals are the service's to hear."""

    def __init__(self, app: ASGIApp, door: Door, trusted_proxies: Sequence[str]) -> None:
        tls = door.tls
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(trusted_proxies),
                forwarded_allow_ips=list(trusted_proxies),
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_AT_MOST_S,
                ssl_context_factory=None
                if tls is None
                else lambda config, default: tls.http_context(required=tls.mutual),
            )
        )
        logging.getLogger("uvicorn").setLevel(logging.WARNING)  # the service says where it is
        self._bind = door.settings.bind
        self._serving: asyncio.Task[None] | None = None

    async def start(self, port: int) -> int:
        """Listen; port 0 takes a free one. Returns the port. Raises OSError when it is taken."""
        listener = _listener(self._bind, port)
        self._serving = asyncio.create_task(self.serve([listener]), name="http")
        return int(listener.getsockname()[1])

    async def ended(self) -> None:
        """Return when nothing is served any more, which only `stop` should bring about."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def stop(self) -> None:
        """Take no new calls, let those in flight end, then close."""
        if self._serving is not None:
            self.should_exit = True
            await self._serving

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """See uvicorn.Server: nothing is captured here."""
        yield


def _listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises OSError.

    Its protocol is named, as asyncio else leaves Nagle's algorithm on: a reply of two parts would
    wait 40 ms for the acknowledgement of the first.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
