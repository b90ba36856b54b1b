"""A gateway in this process, on a port of its own, before doubles of Kafka and ranking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import ClientSession
from multidict import CIMultiDictProxy

from freshet import Client, Publisher
from services.gateway.access.callers import Callers
from services.gateway.api.endpoint import Limits
from services.gateway.app import build_app, endpoints
from services.gateway.http.server import HttpServer
from shared.access.door import Door
from shared.access.public_keys import PublicKeys
from shared.access.settings import DoorSettings
from shared.access.tokens import Scope, line_of

MIB = 1024 * 1024
KEYS = {
    "shop": (Scope.PUBLISH, Scope.READ),
    "reader": (Scope.READ,),
    "care": (Scope.PEOPLE, Scope.PUBLISH, Scope.READ),
}
SHOP_PAGE = "https://shop.example"
PUBLIC_KEY, SECRET = "page_0123456789abcdef", "secret_0123456789abcdef"


class Got(NamedTuple):
    """What a call was answered with."""

    status: int
    headers: CIMultiDictProxy[str]
    body: Any


class GatewayKit:
    """Calls a gateway that runs here."""

    def __init__(
        self, session: ClientSession, server: HttpServer, limits: Limits, port: int
    ) -> None:
        self.session = session
        self.server = server
        self.limits = limits
        self.port = port

    async def __call__(
        self, method: str, path: str, *, key: str = "", headers: Mapping[str, str] = {}, **more: Any
    ) -> Got:
        """Call; key: whose token is sent."""
        sent = {"Authorization": f"Bearer {token_of(key)}"} if key else {}
        async with self.session.request(method, path, headers={**sent, **headers}, **more) as reply:
            json = method != "HEAD" and "json" in reply.headers.get("content-type", "")
            body = await reply.json(content_type=None) if json else await reply.read()
            return Got(reply.status, reply.headers, body)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection on which a test writes what it wants."""
        return await asyncio.open_connection("127.0.0.1", self.port)


def token_of(key: str) -> str:
    return f"freshet_{key}"


def write_keys(folder: Path) -> Path:
    """Write the tokens of KEYS as services know them."""
    lines = [line_of(name, scopes, token_of(name)) for name, scopes in KEYS.items()]
    (folder / "tokens").write_text("\n".join(lines))
    return folder / "tokens"


def write_public_keys(folder: Path) -> Path:
    (folder / "public").write_text(f"page {SHOP_PAGE} {PUBLIC_KEY} {SECRET}\n")
    return folder / "public"


@asynccontextmanager
async def running(
    ranking: str,
    *,
    door: Mapping[str, Any] = {},
    public_keys: Path | None = None,
    public_calls_per_s: float = 1000.0,
    origins: tuple[str, ...] = (),
    in_flight_at_most: int = 64,
    stream_bytes: int = MIB,
    own_pages_write: bool = True,
) -> AsyncIterator[GatewayKit]:
    """Run a gateway. ranking: its address. door: of DoorSettings."""
    guard = Door(DoorSettings(**door))
    keys = PublicKeys(str(public_keys)) if public_keys else None
    callers = Callers(guard, keys, public_calls_per_s, origins, own_pages_write=own_pages_write)
    limits = Limits(in_flight_at_most, 8 * MIB)
    async with Publisher("127.0.0.1:9092") as publisher, Client(ranking, timeout=30) as client:
        app = build_app(endpoints(publisher, client, stream_bytes), callers, limits)
        server = HttpServer(app, guard, ())
        port = await server.start(0)
        try:
            async with ClientSession(f"http://127.0.0.1:{port}") as session:
                yield GatewayKit(session, server, limits, port)
        finally:
            await server.stop()
