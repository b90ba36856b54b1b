"""How the gateway's port begins, is secured, and ends."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientOSError, ClientSession, ServerDisconnectedError

from tests.certificates import Pki
from tests.servers import eventually
from tests.unit.freshet.kafka_double import KafkaDouble
from tests.unit.freshet.ranking_double import RankingDouble
from tests.unit.gateway.kit import GatewayKit, running

CLICK = {"user_id": "ada", "item_id": "mug-1", "type": "click"}


async def test_at_the_end_what_is_under_way_is_answered_and_nothing_more_is_taken(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    kafka.holding = True
    waiting = asyncio.create_task(gateway("POST", "/v1/events", json=CLICK))
    await eventually(lambda: kafka.held)

    stopping = asyncio.create_task(gateway.server.stop())
    await eventually(lambda: _closed(gateway.port), what="a closed port")
    kafka.release()

    assert (await waiting).status == 202
    await stopping


async def test_a_stream_that_is_under_way_is_read_to_its_end(
    gateway: GatewayKit, kafka: KafkaDouble
) -> None:
    goes_on = asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        yield json.dumps(CLICK).encode() + b"\n"
        await goes_on.wait()
        yield json.dumps(CLICK).encode()

    ndjson = {"content-type": "application/x-ndjson"}
    waiting = asyncio.create_task(gateway("POST", "/v1/events", data=lines(), headers=ndjson))
    await eventually(lambda: kafka.sent)
    stopping = asyncio.create_task(gateway.server.stop())
    await eventually(lambda: _closed(gateway.port), what="a closed port")
    goes_on.set()

    assert (await waiting).body["count"] == 2
    await stopping


async def _closed(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:  # refused, or reset where it closes just then
        return True
    writer.close()
    return False


async def test_a_port_that_is_taken_is_said_so(gateway: GatewayKit, ranking: RankingDouble) -> None:
    with pytest.raises(OSError, match="in use"):
        await gateway.server.start(gateway.port)


async def test_the_port_speaks_tls_and_asks_for_a_certificate_where_it_is_told_to(
    ranking: RankingDouble, kafka: KafkaDouble, tmp_path: Path
) -> None:
    pki = Pki(tmp_path)
    certificate = pki.issue("server", "localhost")
    of_caller = pki.issue("caller", "shop")
    context = ssl.create_default_context(cafile=pki.ca)
    known = ssl.create_default_context(cafile=pki.ca)
    known.load_cert_chain(*of_caller.files)
    door = {"certificate": certificate, "client_ca_file": str(pki.ca)}
    async with running(ranking.address, door=door) as gateway, ClientSession() as session:
        url = f"https://localhost:{gateway.port}/v1/search?text=a"
        async with session.get(url, ssl=known) as reply:
            assert reply.status == 200
            assert "max-age" in reply.headers["strict-transport-security"]
        with pytest.raises((ClientConnectorError, ServerDisconnectedError, ClientOSError)):
            async with session.get(url, ssl=context):
                pass


async def test_whoever_watches_hears_that_serving_ended(gateway: GatewayKit) -> None:
    watching = asyncio.create_task(gateway.server.ended())
    assert not (await asyncio.wait({watching}, timeout=0))[0]

    gateway.server.should_exit = True

    await watching


async def test_no_part_of_an_answer_waits_for_the_one_before(gateway: GatewayKit) -> None:
    assert (await gateway("GET", "/docs")).status == 200
    (connection,) = gateway.server.server_state.connections

    taken = connection.transport.get_extra_info("socket")

    assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
