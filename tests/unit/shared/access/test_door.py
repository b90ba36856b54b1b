"""A service's two ports behind TLS, certificates of callers, tokens and quotas, all of it real."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY

from freshet import Client, FreshetError, Overloaded, Unavailable
from freshet.access import Certificate
from freshet.v1 import recommender_pb2_grpc
from services.ranking import server as ranking
from shared.access.door import Door
from shared.access.settings import DoorSettings
from shared.access.tokens import Scope, line_of, new_token
from shared.runtime.grpc_server import Server
from shared.runtime.health import Health
from tests.certificates import Pki
from tests.servers import eventually
from tests.unit.freshet.ranking_double import RankingDouble

SERVE, PEOPLE, OPERATE = Scope.SERVE, Scope.PEOPLE, Scope.OPERATE
Ask = Callable[[Client], Any]
LONG_S = 30.0  # so that a busy machine decides nothing


class Ports(NamedTuple):
    """Where the two ports are, and who answers behind that of gRPC."""

    grpc: str
    health: str
    double: RankingDouble
    actions: dict[str, Any]


@asynccontextmanager
async def opened(settings: DoorSettings) -> AsyncIterator[Ports]:
    """Open the ports that the settings describe."""
    door, double = Door(settings), RankingDouble()
    server = Server(ranking.SERVICE, ranking.NEEDS, door, receive_max_bytes=1_000_000)
    recommender_pb2_grpc.add_RecommenderServicer_to_server(double, server.grpc)
    health = Health("ranking", door)
    port, health_port = await server.start(0), await health.start(0)
    await server.set_serving(True)
    health.ready = True
    try:
        yield Ports(f"127.0.0.1:{port}", f"127.0.0.1:{health_port}", double, health.actions)
    finally:
        await server.stop(0)
        await health.stop()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "ours")


def client(ports: Ports, pki: Pki, **options: Any) -> Client:
    return Client(ports.grpc, tls=pki.ca, timeout=LONG_S, **options)


async def page(
    address: str, name: str, pki: Pki, certificate: Certificate | None = None, **options: Any
) -> tuple[int, str]:
    """Ask a health port for a page by a connection of its own; POST where it is an action."""
    context = ssl.create_default_context(cafile=pki.ca)
    if certificate is not None:
        context.load_cert_chain(*certificate.files)
    method = "POST" if name == "snapshot" else "GET"
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"https://{address}/{name}", ssl=context, **options) as reply,
    ):
        return reply.status, await reply.text()


async def test_calls_and_pages_are_answered_over_tls(pki: Pki) -> None:
    async with (
        opened(DoorSettings(certificate=pki.issue("server"))) as ports,
        client(ports, pki) as caller,
    ):
        assert len(await caller.recommend("ada")) == 2
        for name in ("live", "ready", "status", "metrics"):
            assert (await page(ports.health, name, pki))[0] == 200
        with pytest.raises(Unavailable):
            await Client(ports.grpc, tls=False).recommend("ada", timeout=2)


@pytest.mark.parametrize("wrong", ["authority", "expired", "name"])
async def test_a_service_with_a_wrong_certificate_is_told_nothing(
    pki: Pki, tmp_path: Path, wrong: str
) -> None:
    issue: dict[str, Callable[[str], Certificate]] = {
        "authority": Pki(tmp_path / "theirs").issue,
        "expired": partial(pki.issue, expired=True),
        "name": lambda name: pki.issue(name, "ranking.example.com"),
    }
    async with opened(DoorSettings(certificate=issue[wrong]("server"))) as ports:
        async with client(ports, pki, token="t0") as caller:
            with pytest.raises(Unavailable):
                await caller.recommend("ada", timeout=2)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await page(ports.health, "status", pki)
        assert ports.double.calls == []


def mutual(pki: Pki) -> DoorSettings:
    return DoorSettings(certificate=pki.issue("server"), client_ca_file=str(pki.ca))


async def test_callers_with_a_certificate_of_the_authority_come_in(pki: Pki) -> None:
    mine = pki.issue("shop", "shop.example.com")
    async with (
        opened(mutual(pki)) as ports,
        client(ports, pki, certificate=mine.files) as caller,
    ):
        assert len(await caller.recommend("ada")) == 2
        assert (await page(ports.health, "status", pki, mine))[0] == 200
        assert (await page(ports.health, "metrics", pki, mine))[0] == 200


@pytest.mark.parametrize("wrong", ["authority", "expired", "none"])
async def test_callers_with_a_wrong_certificate_or_none_do_not(
    pki: Pki, tmp_path: Path, wrong: str
) -> None:
    issue: dict[str, Callable[[str], Certificate | None]] = {
        "authority": Pki(tmp_path / "theirs").issue,
        "expired": partial(pki.issue, expired=True),
        "none": lambda name: None,
    }
    theirs = issue[wrong]("stranger")
    async with opened(mutual(pki)) as ports:
        shown = None if theirs is None else theirs.files
        async with client(ports, pki, certificate=shown) as caller:
            with pytest.raises(Unavailable):
                await caller.recommend("ada", timeout=2)
        if theirs is None:  # a probe, which has none either
            assert (await page(ports.health, "live", pki))[0] == 200
            assert (await page(ports.health, "ready", pki))[0] == 200
            for name in ("status", "metrics", "snapshot"):
                status, text = await page(ports.health, name, pki)
                assert (status, "client certificate" in text) == (403, True)
        else:
            with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
                await page(ports.health, "status", pki, theirs)
        assert ports.double.calls == []


def leaf_of(address: str) -> str:
    """Return the certificate that a port shows to a new connection."""
    host, port = address.split(":")
    return ssl.get_server_certificate((host, int(port)))


async def test_certificates_are_exchanged_under_load_without_one_failed_call(pki: Pki) -> None:
    mine = pki.issue("shop", "shop.example.com")
    async with AsyncExitStack() as stack:
        ports = await stack.enter_async_context(opened(mutual(pki)))
        staying = await stack.enter_async_context(client(ports, pki, certificate=mine.files))
        rotated = asyncio.Event()

        async def keep_calling() -> int:
            count = 0
            while not rotated.is_set():
                await staying.recommend("ada")
                count += 1
            return count

        async def keep_coming() -> int:
            count = 0
            while not rotated.is_set():
                async with client(ports, pki, certificate=mine.files) as coming:
                    await coming.recommend("ada")
                status, _ = await page(ports.health, "status", pki, mine)
                assert status == 200
                count += 1
            return count

        shown = {await asyncio.to_thread(leaf_of, ports.health)}
        load = [asyncio.create_task(work()) for work in (keep_calling, keep_coming, keep_coming)]
        for _ in range(8):
            before = len(ports.double.calls)
            pki.issue("server")
            pki.issue("shop", "shop.example.com")
            seen = partial(lambda count: len(ports.double.calls) > count, before + 20)
            await eventually(seen, what="calls between two rotations")
            shown.add(await asyncio.to_thread(leaf_of, ports.health))
        rotated.set()

        assert all([await task > 5 for task in load])
        assert len(shown) == 9


async def test_a_new_connection_sees_the_new_certificate_and_the_new_authority(
    pki: Pki, tmp_path: Path
) -> None:
    theirs = Pki(tmp_path / "theirs")
    old, new = pki.issue("server"), theirs.issue("server")
    async with opened(DoorSettings(certificate=old)) as ports, client(ports, pki) as before:
        await before.recommend("ada")
        os.replace(new.cert_file, old.cert_file)
        async with client(ports, pki) as meanwhile:  # half of the pair is there
            await meanwhile.recommend("ada")
        os.replace(new.key_file, old.key_file)

        async with client(ports, theirs) as after:
            await after.recommend("ada")
        assert (await page(ports.health, "live", theirs))[0] == 200
        await before.recommend("ada")  # connections stay with what they began with


async def test_whose_authority_was_taken_away_does_not_come_in_again(
    pki: Pki, tmp_path: Path
) -> None:
    mine, others = pki.issue("shop", "shop.example.com"), Pki(tmp_path / "others")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(pki.ca.read_bytes())
    settings = DoorSettings(certificate=pki.issue("server"), client_ca_file=str(trusted))
    async with opened(settings) as ports:
        assert (await page(ports.health, "status", pki, mine))[0] == 200
        trusted.write_bytes(others.ca.read_bytes())

        async with client(ports, pki, certificate=mine.files) as caller:
            with pytest.raises(Unavailable):
                await caller.recommend("ada", timeout=2)
        with pytest.raises((aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
            await page(ports.health, "status", pki, mine)
        theirs = others.issue("shop", "shop.example.com")
        assert (await page(ports.health, "status", pki, theirs))[0] == 200


class Issued(NamedTuple):
    """A token for each scope, and the settings of a door that knows them."""

    settings: DoorSettings
    serve: str
    publish: str
    read: str
    people: str
    operate: str


@pytest.fixture
def issued(pki: Pki, tmp_path: Path) -> Issued:
    secrets = [new_token() for _ in Scope]
    lines = [line_of(f"the-{scope}", [scope], it) for scope, it in zip(Scope, secrets, strict=True)]
    file = tmp_path / "tokens"
    file.write_text("\n".join(lines))
    settings = DoorSettings(certificate=pki.issue("server"), tokens_file=str(file))
    return Issued(settings, *secrets)


ASKED: dict[str, tuple[Scope, Ask]] = {
    "Recommend": (SERVE, lambda it: it.recommend("ada")),
    "Similar": (SERVE, lambda it: it.similar("mug")),
    "Search": (SERVE, lambda it: it.search("mug")),
    "Applied": (SERVE, lambda it: it.applied("3:1024")),
    "State": (PEOPLE, lambda it: it.state("ada")),
    "Explain": (PEOPLE, lambda it: it.explain("ada", "mug")),
    "Forget": (PEOPLE, lambda it: it.forget("ada")),
}


def counted(method: str, code: str) -> float:
    labels = {"method": method, "code": code}
    return REGISTRY.get_sample_value("freshet_requests_total", labels) or 0.0


@pytest.mark.parametrize("method", ASKED)
async def test_a_method_is_answered_to_its_scope_alone(
    issued: Issued, pki: Pki, method: str
) -> None:
    needed, ask = ASKED[method]
    denied, unknown = counted(method, "PERMISSION_DENIED"), counted(method, "UNAUTHENTICATED")
    async with opened(issued.settings) as ports:
        for scope in Scope:
            async with client(ports, pki, token=getattr(issued, scope)) as caller:
                if scope == needed:
                    await ask(caller)
                    continue
                with pytest.raises(FreshetError, match="PERMISSION_DENIED") as refused:
                    await ask(caller)
                assert f"{method} needs a bearer token of scope {needed}" in str(refused.value)
                assert getattr(issued, scope) not in str(refused.value)
        for token in (None, "freshet_unknown"):
            async with client(ports, pki, token=token) as stranger:
                with pytest.raises(FreshetError, match="UNAUTHENTICATED") as refused:
                    await ask(stranger)
            assert f"{method} needs a bearer token of scope {needed}" in str(refused.value)
            assert "freshet_unknown" not in str(refused.value)
        assert len(ports.double.calls) == 1
    assert counted(method, "PERMISSION_DENIED") == denied + len(Scope) - 1
    assert counted(method, "UNAUTHENTICATED") == unknown + 2


async def test_histories_of_several_people_are_mixed_for_people_alone(
    issued: Issued, pki: Pki, tmp_path: Path
) -> None:
    both, file = new_token(), tmp_path / "more-tokens"
    lines = [line_of("lists", [SERVE], issued.serve), line_of("both", [SERVE, PEOPLE], both)]
    file.write_text("\n".join(lines))
    async with opened(
        DoorSettings(certificate=pki.issue("server"), tokens_file=str(file))
    ) as ports:
        async with client(ports, pki, token=issued.serve) as caller:
            with pytest.raises(FreshetError, match="PERMISSION_DENIED.*also_user_ids.*people"):
                await caller.recommend("ada", also_user_ids=["bob"])
        assert ports.double.calls == []
        async with client(ports, pki, token=both) as caller:
            await caller.recommend("ada", also_user_ids=["bob"])


async def test_no_message_is_read_of_who_may_not_send_one(issued: Issued, pki: Pki) -> None:
    async with opened(issued.settings) as ports:
        credentials = grpc.ssl_channel_credentials(pki.ca.read_bytes())
        async with grpc.aio.secure_channel(ports.grpc, credentials) as channel:
            method: Any = channel.unary_unary(f"/{ranking.SERVICE}/Recommend")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await method(b"\xff" * 100, timeout=LONG_S)  # which no message is
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_probes_need_no_token_and_reflection_is_there_for_operators_who_want_it(
    issued: Issued, pki: Pki
) -> None:
    wanted = DoorSettings(
        certificate=issued.settings.certificate,
        tokens_file=issued.settings.tokens_file,
        reflection="on",
    )
    async with opened(wanted) as ports:
        credentials = grpc.ssl_channel_credentials(pki.ca.read_bytes())
        async with grpc.aio.secure_channel(ports.grpc, credentials) as channel:
            probe = health_pb2_grpc.HealthStub(channel)
            reply = await probe.Check(health_pb2.HealthCheckRequest(service=ranking.SERVICE))
            assert reply.status == reply.SERVING
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await probe.Watch(health_pb2.HealthCheckRequest(), timeout=LONG_S).read()
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

            async def listed(metadata: Any) -> list[str]:
                asked = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                    iter([reflection_pb2.ServerReflectionRequest(list_services="")]),
                    metadata=metadata,
                )
                return [
                    it.name async for reply in asked for it in reply.list_services_response.service
                ]

            assert ranking.SERVICE in await listed((("authorization", f"Bearer {issued.operate}"),))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await listed((("authorization", f"Bearer {issued.people}"),))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_reflection_is_off_where_it_is_not_wanted(pki: Pki) -> None:
    async with (
        opened(DoorSettings(reflection="off")) as ports,
        grpc.aio.insecure_channel(ports.grpc) as channel,
    ):
        asked = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked.read()
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_status_and_actions_are_for_operators_and_probes_for_all(
    issued: Issued, pki: Pki
) -> None:
    made = 0

    async def snapshot() -> dict[str, Any]:
        nonlocal made
        made += 1
        return {"snapshot": "s"}

    async with opened(issued.settings) as ports:
        ports.actions["snapshot"] = snapshot
        for name in ("live", "ready", "metrics"):
            assert (await page(ports.health, name, pki))[0] == 200
        for name, what in (("status", "/status"), ("snapshot", "POST /snapshot")):
            for token, code in ((None, 401), ("unknown", 401), (issued.people, 403)):
                headers = {} if token is None else {"Authorization": f"Bearer {token}"}
                status, text = await page(ports.health, name, pki, headers=headers)
                assert status == code
                assert f"{what} needs a bearer token of scope operate" in text
            assert made == 0 or name != "snapshot"
            headers = {"Authorization": f"Bearer {issued.operate}"}
            assert (await page(ports.health, name, pki, headers=headers))[0] == 200
    assert made == 1


def quota_settings(settings: DoorSettings) -> DoorSettings:
    """Return a door that lets a caller in twice, and again after a quarter of an hour."""
    return DoorSettings(
        certificate=settings.certificate,
        tokens_file=settings.tokens_file,
        caller_calls_per_s=0.001,
    )


async def test_calls_beyond_a_caller_s_quota_are_refused_with_push_back(
    issued: Issued, pki: Pki
) -> None:
    over = {"caller": "the-serve"}
    before = REGISTRY.get_sample_value("freshet_over_quota_total", over) or 0.0
    exhausted = counted("Recommend", "RESOURCE_EXHAUSTED")
    async with opened(quota_settings(issued.settings)) as ports:
        async with client(ports, pki, token=issued.serve) as crawler:
            await crawler.recommend("ada")
            with pytest.raises(Overloaded, match="calls a second of one caller") as refused:
                await crawler.recommend("ada")
        assert 900 < refused.value.retry_after <= 1000
        async with client(ports, pki, token=issued.people) as other:  # of the same address
            await other.state("ada")
    assert REGISTRY.get_sample_value("freshet_over_quota_total", over) == before + 1
    assert counted("Recommend", "RESOURCE_EXHAUSTED") == exhausted + 1


async def test_without_tokens_a_caller_is_an_address(pki: Pki) -> None:
    settings = DoorSettings(certificate=pki.issue("server"), caller_calls_per_s=0.001)
    async with opened(settings) as ports:
        async with client(ports, pki) as caller:
            await caller.recommend("ada")
        async with client(ports, pki) as again:  # another port, the same machine
            with pytest.raises(Overloaded):
                await again.search("mug")


async def test_no_quota_is_kept_where_none_is_wanted(pki: Pki) -> None:
    settings = DoorSettings(certificate=pki.issue("server"), caller_calls_per_s=0)
    async with opened(settings) as ports, client(ports, pki) as caller:
        for _ in range(20):
            await caller.recommend("ada")
