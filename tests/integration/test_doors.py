"""The whole system on all addresses, behind TLS, certificates of callers and tokens.

What `freshet keys` makes lets services come to one another, the command in, and nobody else.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession
from typer.testing import CliRunner, Result

from freshet import Client, FreshetError, Item, NotFound, Publisher, Unavailable
from services.cli.__main__ import app
from services.cli.keys.issue import CA, CERTIFICATE, KEY, TOKENS, write_keys
from services.cli.up.process import free_port
from tests.servers import Service, eventually

pytestmark = pytest.mark.integration

Start = Callable[..., Service]
SERVICES = ("embedding", "sessions", "ranking", "gateway")


async def run(*arguments: str) -> Result:
    """Run a command as a thread: it runs an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def test_services_and_the_command_come_in_and_nobody_else(
    kafka: str, valkey: str, start_service: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "keys"
    write_keys(folder)
    ports = {name: free_port() for name in ("embedding", "ranking", "gateway")}
    callers = {
        "FRESHET_TLS_CA_FILE": str(folder / CA),
        "FRESHET_TLS_CERT_FILE": str(folder / CERTIFICATE),
        "FRESHET_TLS_KEY_FILE": str(folder / KEY),
    }
    environ = {
        **callers,
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "REDIS_URL": valkey,
        "FRESHET_BIND": "0.0.0.0",
        "FRESHET_LOG_LEVEL": "DEBUG",
        "FRESHET_TLS_CLIENT_CA_FILE": str(folder / CA),
        "FRESHET_TOKENS_FILE": str(folder / TOKENS),
        "FRESHET_TOKEN_FILE": str(folder / "ranking.token"),
        "FRESHET_EMBEDDING_PORT": str(ports["embedding"]),
        "FRESHET_RANKING_PORT": str(ports["ranking"]),
        "FRESHET_EMBEDDING_ADDRESS": f"localhost:{ports['embedding']}",
        "FRESHET_RANKING_ADDRESS": f"localhost:{ports['ranking']}",
        "FRESHET_GATEWAY_PORT": str(ports["gateway"]),
    }
    tokens = {"gateway": {"FRESHET_TOKEN_FILE": str(folder / "gateway.token")}}
    running = [start_service(name, {**environ, **tokens.get(name, {})}) for name in SERVICES]
    await asyncio.gather(*(service.ready() for service in running))
    for name, value in callers.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FRESHET_TOKEN_FILE", str(folder / "operator.token"))
    monkeypatch.setenv("FRESHET_RANKING_ADDRESS", f"localhost:{ports['ranking']}")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("REDIS_URL", valkey)
    for service in running:
        address = service.health_url.removeprefix("https://")
        monkeypatch.setenv(f"FRESHET_{service.name.upper()}_HEALTH_ADDRESS", address)
    async with Publisher(kafka) as publisher:
        await publisher.item(Item(item_id="mug", title="A blue stoneware mug"))

    async def encoded_and_found() -> bool:
        found = await run("search", "--text", "mug", "--json")
        assert found.exit_code == 0, found.output
        reply = json.loads(found.stdout)
        return [item["item_id"] for item in reply["items"]] == ["mug"] and not reply["degraded"]

    # ranking asks embedding for the query's vector, and would say so where it does not come in
    await eventually(encoded_and_found, what="the new item in a search")
    for command in ("recommend ada", "state ada", "explain ada mug", "forget ada", "snapshot"):
        done = await run(*command.split())
        assert done.exit_code == 0, done.output
    shown = await run("status", "--json")
    assert shown.exit_code == 0, shown.output
    assert all("error" not in each for each in json.loads(shown.stdout)["services"].values())

    shop = (folder / "shop.token").read_text().strip()
    address = f"127.0.0.1:{ports['ranking']}"
    async with Client(address, token=shop, timeout=30) as client:
        assert await client.recommend("ada")
        with pytest.raises(NotFound):
            await client.similar("cup")
        with pytest.raises(FreshetError, match="PERMISSION_DENIED.*scope people"):
            await client.forget("ada")
    monkeypatch.delenv("FRESHET_TOKEN_FILE")
    async with Client(address, timeout=30) as client:
        with pytest.raises(FreshetError, match="UNAUTHENTICATED.*scope serve"):
            await client.recommend("ada")
    with pytest.raises(Unavailable):
        await Client(address, tls=False, timeout=2).recommend("ada")
    refused = await run("snapshot")
    assert "answered 401: POST /snapshot needs a bearer token of scope operate" in str(
        refused.exception
    )

    # The gateway has a token of its own for ranking, and asks its callers for theirs.
    context = ssl.create_default_context(cafile=folder / CA)
    context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    web = f"https://localhost:{ports['gateway']}/v1"
    own = {"Authorization": f"Bearer {shop}"}
    async with ClientSession(headers=own) as session:
        async with session.get(f"{web}/recommendations?user_id=ada", ssl=context) as reply:
            assert reply.status == 200, await reply.text()
        async with session.get(f"{web}/users/ada", ssl=context) as reply:
            assert (reply.status, (await reply.json(content_type=None))["title"]) == (
                403,
                "Forbidden",
            )

    for service in running:
        assert await asyncio.to_thread(service.stop) == 0
        log = service.process.log.read_text(errors="replace")
        secrets = [file.read_text().strip() for file in folder.glob("*.token")]
        assert len(secrets) == 4
        assert not any(secret in log for secret in secrets)
