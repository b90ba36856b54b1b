"""Serve a service's health port: GET /live, /ready, /status (JSON) and /metrics (Prometheus).

HTTP on a port of its own: probes count against no limit of the service, and need neither token nor
certificate. /status and actions (POST) need a token of scope `operate` where tokens are asked for.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from shared.access.door import Door
from shared.access.tokens import NotLetIn, Scope


class Health:
    """What a service says of itself: set `ready`, replace `live` and `status` by its functions."""

    def __init__(self, service: str, door: Door, *, registry: CollectorRegistry = REGISTRY) -> None:
        self.service = service
        self.ready = False
        self.live: Callable[[], str | None] = lambda: None  # None: alive; else why not
        self.status: Callable[[], dict[str, Any]] = dict
        self.actions: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {}  # POST /NAME
        self._door = door
        self._registry = registry
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """Listen; port 0 takes a free one. Returns the port. Raises OSError when it is taken."""
        app = web.Application()
        app.router.add_get("/live", self._live)
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/status", self._status)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/{action}", self._action)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        tls = self._door.tls
        site = web.TCPSite(
            self._runner,
            self._door.settings.bind,
            port,
            reuse_address=True,
            ssl_context=None if tls is None else tls.http_context(),
        )
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
        why = self.live()
        text = f"ready: {self.ready}" + (f", {why}" if why else "")
        return web.Response(status=200 if self.ready else 503, text=f"{text}\n")

    async def _status(self, request: web.Request) -> web.Response:
        self._check(request, "/status")
        why = self.live()
        body = {"service": self.service, "ready": self.ready, "live": why is None}
        if why:
            body["fault"] = why
        return web.Response(text=json.dumps(body | self.status()), content_type="application/json")

    async def _metrics(self, request: web.Request) -> web.Response:
        self._check_certificate(request)
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    async def _action(self, request: web.Request) -> web.Response:
        name = request.match_info["action"]
        self._check(request, f"POST /{name}")
        action = self.actions.get(name)
        if action is None:
            raise web.HTTPNotFound(
                text=f"no such action; known: {', '.join(self.actions) or 'none'}\n"
            )
        return web.Response(text=json.dumps(await action()), content_type="application/json")

    def _check(self, request: web.Request, what: str) -> None:
        """Refuse who may not operate the service. Raises HTTPUnauthorized or HTTPForbidden."""
        self._check_certificate(request)
        if self._door.tokens is None:
            return
        authorization = request.headers.get(hdrs.AUTHORIZATION)
        try:
            self._door.tokens.holder(authorization, what, Scope.OPERATE)
        except NotLetIn as refusal:
            if refusal.known:
                raise web.HTTPForbidden(text=f"{refusal}\n") from None
            header = {hdrs.WWW_AUTHENTICATE: "Bearer"}
            raise web.HTTPUnauthorized(text=f"{refusal}\n", headers=header) from None

    def _check_certificate(self, request: web.Request) -> None:
        """Refuse who showed no certificate where callers must. Raises HTTPForbidden."""
        tls, transport = self._door.tls, request.transport
        if tls is not None and tls.mutual:
            shown = transport.get_extra_info("peercert") if transport is not None else None
            if not shown:
                raise web.HTTPForbidden(text="a client certificate is needed for this page\n")
