"""Serve a service's health port: GET /live, /ready, /status (JSON) and /metrics (Prometheus).

Plain HTTP on a port of its own: probes need no TLS and count against no limit of the service.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest


class Health:
    """What a service says of itself: set `ready`, replace `live` and `status` by its functions."""

    def __init__(self, service: str, *, registry: CollectorRegistry = REGISTRY) -> None:
        self.service = service
        self.ready = False
        self.live: Callable[[], str | None] = lambda: None  # None: alive; else why not
        self.status: Callable[[], dict[str, Any]] = dict
        self.actions: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {}  # POST /NAME
        self._registry = registry
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one. Returns the port. Raises OSError when it is taken."""
        app = web.Application()
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/status", self._status)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/{action}", self._action)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, reuse_address=True)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        why = self.live()
        return web.Response(status=503 if why else 200, text=(why or "alive") + "\n")

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.ready else 503, text=f"ready: {self.ready}\n")

    async def _status(self, _: web.Request) -> web.Response:
        body = {"service": self.service, "ready": self.ready, "live": self.live() is None}
        return web.Response(text=json.dumps(body | self.status()), content_type="application/json")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    async def _action(self, request: web.Request) -> web.Response:
        action = self.actions.get(request.match_info["action"])
        if action is None:
            raise web.HTTPNotFound(
                text=f"no such action; known: {', '.join(self.actions) or 'none'}\n"
            )
        return web.Response(text=json.dumps(await action()), content_type="application/json")
