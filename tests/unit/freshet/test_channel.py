"""How ranking is reached: not through a proxy, over TLS, with a token, at all of its addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
import trustme

from freshet import Client, Unavailable
from freshet.addresses import is_local
from freshet.channel import open_stub
from freshet.v1.recommender_pb2 import RecommendRequest
from tests.certificates import Pki
from tests.servers import eventually
from tests.unit.freshet.ranking_double import RankingDouble, serve

DEAD = "http://127.0.0.1:1"  # a proxy that nobody runs


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:50051",
        "127.8.9.10:50051",
        "localhost:50051",
        "LOCALHOST",
        "[::1]:50051",
        "dns:///localhost:50051",
        "dns:localhost:50051",
        "ipv4:127.0.0.1:50051",
        "ipv6:[::1]:50051",
        "unix:/run/ranking.sock",
    ],
)
def test_an_address_of_this_machine_is_known(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        "ranking:50051",
        "unixhost:50051",
        "localhost.example.com:50051",
        "dns:///ranking.shop.svc:50051",
        "dns://127.0.0.1/ranking:50051",
        "ipv4:10.0.0.7:50051",
        "ipv4:127.0.0.1:50051,10.0.0.7:50051",
        "[2001:db8::1]:50051",
        "",
    ],
)
def test_any_other_address_is_not(address: str) -> None:
    assert not is_local(address)


async def test_the_loopback_is_never_asked_through_a_proxy(
    ranking: RankingDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, DEAD)
    monkeypatch.delenv("no_proxy", raising=False)

    async with Client(ranking.address) as client:
        assert len(await client.recommend("ada", timeout=30)) == 2
    channel, stub = open_stub(ranking.address)
    async with channel:
        assert len((await stub.Recommend(RecommendRequest(user_id="ada"), timeout=30)).items) == 2


async def test_another_machine_is_asked_through_the_proxy_that_the_environment_names(
    ranking: RankingDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("grpc_proxy", DEAD)
    elsewhere = f"ipv4:{ranking.address},127.0.0.1:{ranking.port}"  # as far as is_local can tell

    async with Client(elsewhere) as client:
        with pytest.raises(Unavailable):
            await client.recommend("ada", timeout=30)


async def test_calls_go_to_all_addresses_in_turn() -> None:
    async with AsyncExitStack() as stack:
        doubles = [await stack.enter_async_context(serve()) for _ in range(2)]
        client = Client("ipv4:" + ",".join(double.address for double in doubles))
        await stack.enter_async_context(client)
        while not all(double.calls for double in doubles):  # both are connected
            await client.recommend("ada", timeout=30)
        before = [len(double.calls) for double in doubles]
        for _ in range(10):
            await client.recommend("ada", timeout=30)

        after = [len(double.calls) for double in doubles]
        assert [now - then for now, then in zip(after, before, strict=True)] == [5, 5]


class Tls(NamedTuple):
    """A ranking behind TLS, and the file of the authority that vouches for it."""

    ranking: RankingDouble
    authority: Path


@pytest.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Tls]:
    authority, file = trustme.CA(), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    issued = authority.issue_cert("127.0.0.1")
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    async with serve(grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])) as it:
        yield Tls(it, file)


async def test_a_token_travels_over_tls(secured: Tls) -> None:
    async with Client(secured.ranking.address, tls=secured.authority, token="t0") as client:
        await client.recommend("ada", timeout=30)

    assert secured.ranking.calls[0].metadata["authorization"] == "Bearer t0"


async def test_credentials_of_grpc_will_do(secured: Tls) -> None:
    credentials = grpc.ssl_channel_credentials(secured.authority.read_bytes())
    async with Client(secured.ranking.address, tls=credentials) as client:
        await client.recommend("ada", timeout=30)

    assert "authorization" not in secured.ranking.calls[0].metadata


async def test_a_service_that_another_authority_vouches_for_is_told_nothing(
    secured: Tls, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))

    async with Client(secured.ranking.address, tls=other, token="t0") as client:
        with pytest.raises(Unavailable):
            await client.recommend("ada", timeout=30)
    async with Client(secured.ranking.address, tls=True, token="t0") as client:
        with pytest.raises(Unavailable):
            await client.recommend("ada", timeout=30)
    assert secured.ranking.calls == []


NOBODY = ["", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"]


@pytest.mark.parametrize("nobody", NOBODY)
async def test_a_file_that_names_no_authority_trusts_nobody(secured: Tls, nobody: str) -> None:
    async with Client(secured.ranking.address, tls=secured.authority) as client:
        await client.recommend("ada", timeout=30)
        secured.authority.write_text(nobody)  # as one is that is being written
        await client.recommend("ada", timeout=30)  # by the former

    with pytest.raises(ValueError, match="no certificates"):
        await Client(secured.ranking.address, tls=secured.authority).recommend("ada")


async def test_a_token_may_change_from_call_to_call(ranking: RankingDouble) -> None:
    tokens: Iterator[str] = iter(["t1", "t2"])
    async with Client(ranking.address, token=lambda: next(tokens)) as client:
        await client.recommend("ada", timeout=30)
        await client.recommend("ada", timeout=30)

    sent = [call.metadata["authorization"] for call in ranking.calls]
    assert sent == ["Bearer t1", "Bearer t2"]


def test_a_token_is_not_sent_where_others_could_read_it() -> None:
    with pytest.raises(ValueError, match="a token must travel by TLS"):
        Client("ranking:50051", token="t0")
    assert "t0" not in repr(Client("ranking:50051", tls=True, token="t0"))


def in_environment(monkeypatch: pytest.MonkeyPatch, **variables: object) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"FRESHET_{name}", str(value))


async def test_the_environment_says_whom_to_trust_and_which_token_to_send(
    secured: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text("t1\n")
    in_environment(monkeypatch, TLS_CA_FILE=secured.authority, TOKEN_FILE=file)
    async with Client(secured.ranking.address) as client:
        await client.recommend("ada", timeout=30)
        part = tmp_path / "part"
        part.write_text("t2\n")
        part.replace(file)  # exchanged while the client lives
        await client.recommend("ada", timeout=30)
    in_environment(monkeypatch, TOKEN="t3")
    async with Client(secured.ranking.address) as client:
        await client.recommend("ada", timeout=30)
    async with Client(secured.ranking.address, token="t4") as client:  # what is given counts
        await client.recommend("ada", timeout=30)

    sent = [call.metadata["authorization"] for call in secured.ranking.calls]
    assert sent == ["Bearer t1", "Bearer t2", "Bearer t3", "Bearer t4"]


async def test_the_environment_s_token_is_not_sent_in_the_open(
    ranking: RankingDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment(monkeypatch, TOKEN="t0")

    with pytest.raises(ValueError, match="must travel by TLS"):
        Client("ranking.example.com:50051")
    with pytest.raises(ValueError, match="must travel by TLS"):
        Client("ranking.example.com:50051", tls=False)


@pytest.mark.parametrize("by", ["argument", "environment"])
async def test_a_certificate_is_shown_to_who_asks_for_one_and_again_once_it_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    pki = Pki(tmp_path)
    server, mine = pki.issue("server"), pki.issue("client", "shop.example.com", expired=True)
    chain, key = server.read()
    trusted = pki.ca.read_bytes()
    credentials = grpc.ssl_server_credentials([(key, chain)], trusted, True)
    options: dict[str, Any] = {"tls": pki.ca, "certificate": mine.files}
    if by == "environment":
        variables = {"TLS_CERT_FILE": mine.cert_file, "TLS_KEY_FILE": mine.key_file}
        in_environment(monkeypatch, TLS_CA_FILE=pki.ca, **variables)
        options = {}
    async with serve(credentials) as double, Client(double.address, **options) as caller:
        with pytest.raises(Unavailable):
            await caller.recommend("ada", timeout=1)
        pki.issue("client", "shop.example.com")
        await caller.recommend("ada", timeout=30)
        assert len(double.calls) == 1


async def test_calls_on_the_former_channel_end_well_when_certificates_are_renewed(
    tmp_path: Path,
) -> None:
    pki = Pki(tmp_path)
    chain, key = pki.issue("server").read()
    mine = pki.issue("client")
    async with (
        serve(grpc.ssl_server_credentials([(key, chain)])) as double,
        Client(double.address, tls=pki.ca, certificate=(mine.cert_file, mine.key_file)) as caller,
    ):
        double.held.clear()
        waiting = asyncio.create_task(caller.recommend("ada", timeout=30))
        await eventually(lambda: double.calls, what="the first call")
        pki.issue("client")
        later = asyncio.create_task(caller.recommend("bob", timeout=30))
        await eventually(lambda: len(double.calls) == 2, what="the second call")
        double.held.set()

        assert len(await waiting) == len(await later) == 2


def test_half_of_a_pair_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_environment(monkeypatch, TLS_CERT_FILE=Pki(tmp_path).issue("client").cert_file)

    with pytest.raises(ValueError, match="FRESHET_TLS_CERT_FILE and FRESHET_TLS_KEY_FILE"):
        Client()
