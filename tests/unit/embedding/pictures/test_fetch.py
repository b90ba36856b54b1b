from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, unquote

import pytest
from aiohttp import web

from services.embedding.pictures import hosts
from services.embedding.pictures.fetch import Fetcher, Forbidden, Missing, TooLarge, Unreachable
from services.embedding.pictures.hosts import Lane

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
PICTURE = b"\x89PNG picture"


class Shop:
    """A web server on loopback, and the requests that it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.headers: dict[str, str] = {}
        self.port = 0

    def url(self, path: str, host: str = "localhost") -> str:
        return f"http://{host}:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.path)
        self.headers = dict(request.headers)
        match request.path.split("/")[1:]:
            case ["picture.png"]:
                return web.Response(body=PICTURE)
            case ["to"]:
                return web.Response(status=302, headers={"Location": request.query["url"]})
            case ["hops", left]:
                there = f"/hops/{int(left) - 1}" if left != "1" else "/picture.png"
                return web.Response(status=307, headers={"Location": there})
            case ["status", status]:
                return web.Response(status=int(status), body=b"no")
            case ["stream", size]:  # without Content-Length
                stream = web.StreamResponse()
                await stream.prepare(request)
                for _ in range(int(size) // 1000):
                    await stream.write(b"x" * 1000)
                return stream
            case ["gzip"]:
                return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
            case ["cut"]:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case ["slow" | "late" as how, *_]:
                await asyncio.sleep(30 if how == "slow" else 0.05)
        return web.Response(body=b"x" * 2000)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    app = web.Application()
    app.router.add_get("/{path:.*}", shop.answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    shop.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    yield shop
    await runner.cleanup()


def fetcher(shop: Shop, *more_hosts: str, **options: Any) -> Fetcher:
    hosts = [f"localhost:{shop.port}", f"127.0.0.1:{shop.port}", *more_hosts]
    return Fetcher(hosts, **{"permitted_networks": LOOPBACK, **options})


async def test_a_picture_on_an_allowed_host_is_fetched(shop: Shop) -> None:
    async with fetcher(shop) as pictures:
        assert await pictures.fetch(shop.url("/picture.png")) == PICTURE
        assert await pictures.fetch(shop.url("/picture.png", "LOCALHOST")) == PICTURE
        assert await pictures.fetch(shop.url("/picture.png", "127.0.0.1")) == PICTURE


async def test_nothing_of_ours_is_sent_along(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with fetcher(shop) as pictures:
        assert await pictures.fetch(shop.url("/picture.png")) == PICTURE
    assert set(shop.headers) <= {"Host", "Accept", "Accept-Encoding", "User-Agent"}


LOCAL_SPELLINGS = [
    "localhost",
    "LocalHost",
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[::ffff:a9fe:a9fe]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "10.0.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "localhost.",
    "127.0.0.1.",
]


@pytest.mark.parametrize("host", LOCAL_SPELLINGS)
async def test_no_spelling_of_an_inner_address_gets_through(shop: Shop, host: str) -> None:
    async with Fetcher(["cdn.example.com"]) as pictures:
        with pytest.raises(Forbidden):
            await pictures.fetch(shop.url("/picture.png", host))
    assert shop.seen == []


@pytest.mark.parametrize("host", LOCAL_SPELLINGS)
async def test_not_even_when_the_allow_list_names_it(shop: Shop, host: str) -> None:
    bare = host.strip("[]")
    allowed = [
        host,
        bare,
        f"{bare}:{shop.port}",
        f"{host}:{shop.port}",
        f"{host.lower()}:{shop.port}",
    ]
    async with Fetcher(allowed) as pictures:
        with pytest.raises((Forbidden, Unreachable)):
            await pictures.fetch(shop.url("/picture.png", host))
    assert shop.seen == []


async def test_a_name_with_one_inner_address_among_its_addresses_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        asyncio.get_running_loop(), "getaddrinfo", answering("93.184.215.14", "127.0.0.1")
    )
    async with Fetcher([f"cdn.example.com:{shop.port}"]) as pictures:
        with pytest.raises(Forbidden, match=r"127\.0\.0\.1, which is not public"):
            await pictures.fetch(shop.url("/picture.png", "cdn.example.com"))
    assert shop.seen == []


async def test_a_name_is_resolved_once_and_its_checked_address_is_used(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = answering("127.0.0.1")
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    async with fetcher(shop, f"cdn.example.com:{shop.port}") as pictures:
        assert await pictures.fetch(shop.url("/picture.png", "cdn.example.com")) == PICTURE
    assert resolve.calls == 1


class answering:
    """A getaddrinfo that gives these addresses to every name but the ones that it knows."""

    def __init__(self, *addresses: str, **known: str) -> None:
        self.addresses, self.known, self.calls = addresses, known, 0

    async def __call__(self, host: str, port: int, **_: object) -> list[Any]:
        self.calls += 1
        found = (self.known[host],) if host in self.known else self.addresses
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]


async def test_a_host_in_a_permitted_private_network_is_asked_and_none_in_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolve = answering("192.0.2.1", **{"cdn.shop": "127.0.0.1", "db.shop": "10.3.0.1"})
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    hosts = ["cdn.shop:1", "db.shop:1", "10.3.0.1:1"]
    async with Fetcher(hosts, permitted_networks=LOOPBACK) as pictures:
        with pytest.raises(Unreachable):  # it was asked, and nobody listens
            await pictures.fetch("http://cdn.shop:1/a.png")
        for url in ("http://db.shop:1/a.png", "http://10.3.0.1:1/a.png"):
            with pytest.raises(Forbidden, match="not public"):
                await pictures.fetch(url)


@pytest.mark.parametrize("path", ["/größe/机.png", "/stra%C3%9Fe/Größe.png", "/a.png?q=größe"])
async def test_a_path_beyond_ascii_is_asked_for_as_utf_8_in_percents(shop: Shop, path: str) -> None:
    async with fetcher(shop) as pictures:
        await pictures.fetch(shop.url(path))
        await pictures.fetch(shop.url(f"/to?url={quote(path)}"))
    assert [seen for seen in shop.seen if seen != "/to"] == [unquote(path).partition("?")[0]] * 2


@pytest.mark.parametrize(
    "url",
    [
        "ftp://cdn.example.com/a.png",
        "gopher://cdn.example.com/",
        "data:image/png;base64,AAAA",
        "//cdn.example.com/a.png",
        "cdn.example.com/a.png",
        "",
        "http://",
        "http:///a.png",
        "http://cdn.example.com\\@evil.example/a.png",
        "http://evil.example\\.cdn.example.com/a.png",
        "http://cdn.example.com@evil.example/a.png",
        "http://user:word@cdn.example.com/a.png",
        "http://user@cdn.example.com/a.png",
        "http://evil.example/cdn.example.com",
        "http://evil.example#cdn.example.com",
        "http://evil.example?cdn.example.com",
        "http://cdn.example.com.evil.example/a.png",
        "http://evilcdn.example.com/a.png",
        "http://cdn.example.com./a.png",
        "http://cdn.example.com:22/a.png",
        "https://cdn.example.com:80/a.png",
        "http://cdn.example.com:99999/a.png",
        "http://cdn.example.com:0x50/a.png",
        "http://cdn.example.com/a b.png",
        "http://cdn.example.com/a\u00a0b.png",
        "http://cdn.example.com/a\u202egnp.b",
        "http://cdn.example.com/" + "ä" * 1020,
        "http://cdn.example.com/a\r\nHost: evil.example",
        "http://cdn.example.com/\t",
        "http://cdn。example。com/a.png",
        "http://ⓒdn.example.com/a.png",
        "http://cdn.example.com%2eevil.example/a.png",
        "http://cdn.example.com%00.evil.example/a.png",
        "http://[cdn.example.com]/a.png",
        "http://[::1/a.png",
        "http://cdn.example.com/" + "a" * 2048,
    ],
)
async def test_forbidden_urls_are_refused_before_anything_is_asked(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = answering("93.184.215.14")
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    async with Fetcher(["cdn.example.com"], ["file:///srv/pictures"]) as pictures:
        with pytest.raises(Forbidden):
            await pictures.fetch(url)
    assert resolve.calls == 0


async def test_a_wildcard_allows_names_below_and_not_beside(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answering("127.0.0.1"))
    async with fetcher(shop, f"*.example.com:{shop.port}") as pictures:
        assert await pictures.fetch(shop.url("/picture.png", "a.cdn.example.com")) == PICTURE
        for host in ("example.com", "evilexample.com", "example.com.evil.org", ".example.com"):
            with pytest.raises(Forbidden):
                await pictures.fetch(shop.url("/picture.png", host))


async def test_redirects_are_followed_three_times_and_not_four(shop: Shop) -> None:
    async with fetcher(shop) as pictures:
        assert await pictures.fetch(shop.url("/hops/3")) == PICTURE
        with pytest.raises(Forbidden, match="more than 3 redirects"):
            await pictures.fetch(shop.url("/hops/4"))


@pytest.mark.parametrize(
    "there",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://evil.example/a.png",
        "http://127.1:{port}/picture.png",
        "http://user@localhost:{port}/picture.png",
        "file:///etc/passwd",
        "gopher://localhost:{port}/",
        "//evil.example/a.png",
        "http://[::1",
        "http://localhost:{port}\\@evil.example/",
    ],
)
async def test_a_redirect_passes_the_same_checks(shop: Shop, there: str) -> None:
    async with fetcher(shop, timeout_s=2) as pictures:
        with pytest.raises(Forbidden):
            await pictures.fetch(shop.url(f"/to?url={quote(there.format(port=shop.port))}"))
    assert shop.seen == ["/to"]


async def test_a_redirect_to_an_allowed_name_with_an_inner_address_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = answering("127.0.0.1", **{"inner.example": "10.0.0.1"})
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    async with fetcher(shop, "inner.example") as pictures:
        with pytest.raises(Forbidden, match=r"inner\.example has the address 10\.0\.0\.1"):
            await pictures.fetch(shop.url("/to?url=http://inner.example/a.png"))
    assert shop.seen == ["/to"]


@pytest.mark.parametrize("path", ["/big", "/stream/200000"])
async def test_too_many_bytes_are_refused_whether_announced_or_not(shop: Shop, path: str) -> None:
    async with fetcher(shop, max_bytes=1500) as pictures:
        with pytest.raises(TooLarge, match="1500"):
            await pictures.fetch(shop.url(path))


async def test_compressed_answers_are_not_unpacked(shop: Shop) -> None:
    async with fetcher(shop) as pictures:
        assert await pictures.fetch(shop.url("/gzip")) == b"\x1f\x8b"


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204, 206])
async def test_an_answer_without_a_picture_is_final(shop: Shop, status: int) -> None:
    async with fetcher(shop) as pictures:
        with pytest.raises(Missing, match=f"localhost answered {status}"):
            await pictures.fetch(shop.url(f"/status/{status}"))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_servers_trouble_is_worth_another_try(shop: Shop, status: int) -> None:
    async with fetcher(shop) as pictures:
        with pytest.raises(Unreachable, match=f"localhost answered {status}"):
            await pictures.fetch(shop.url(f"/status/{status}"))


async def test_no_answer_in_time_is_worth_another_try(shop: Shop) -> None:
    async with fetcher(shop, timeout_s=0.1) as pictures:
        with pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
            await pictures.fetch(shop.url("/slow"))


async def test_a_cut_or_refused_connection_is_worth_another_try(shop: Shop) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with fetcher(shop, f"localhost:{port}") as pictures:
        for url in (shop.url("/cut"), f"http://localhost:{port}/"):
            with pytest.raises(Unreachable, match="localhost"):
                await pictures.fetch(url)


async def test_an_unknown_name_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fails)
    async with Fetcher(["cdn.example.com"]) as pictures:
        with pytest.raises(Unreachable):
            await pictures.fetch("https://cdn.example.com/a.png")


async def test_a_host_that_answers_late_loses_no_picture_though_both_topics_are_busy(
    shop: Shop,
) -> None:
    """All 700 take longer than one may: a deadline that began in the queue would lose the last."""

    async def fetch(lane: Lane, number: int) -> bytes:
        url = shop.url(f"/late/{lane.value}-{number}")
        async with pictures.place(url, lane):
            return await pictures.fetch(url)

    async with fetcher(shop, timeout_s=3.0) as pictures:
        fetching = [
            fetch(lane, n)
            for lane, count in ((Lane.LIVE, 400), (Lane.BACKFILL, 300))
            for n in range(count)
        ]
        assert await asyncio.gather(*fetching) == [b"x" * 2000] * 700


async def test_a_host_that_does_not_answer_is_left_alone_and_no_other(shop: Shop) -> None:
    dead, good = shop.url("/slow"), shop.url("/picture.png", "127.0.0.1")
    async with fetcher(shop, timeout_s=0.1) as pictures:
        for _ in range(hosts.FAILURES_AT_MOST):
            with pytest.raises(Unreachable, match="no answer within"):
                await pictures.fetch(dead)
        with pytest.raises(Unreachable, match="left alone for a while"):
            await pictures.fetch(dead)
        assert await pictures.fetch(good) == PICTURE
    assert shop.seen.count("/slow") == hosts.FAILURES_AT_MOST


async def test_a_host_that_says_no_is_not_left_alone(shop: Shop) -> None:
    async with fetcher(shop) as pictures:
        for status in (503, 503, 404, 503, 503):
            with pytest.raises((Missing, Unreachable), match=f"answered {status}"):
                await pictures.fetch(shop.url(f"/status/{status}"))
        assert await pictures.fetch(shop.url("/picture.png")) == PICTURE


async def test_a_host_is_one_whatever_its_urls_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answering("127.0.0.1"))
    async with Fetcher(["cdn.shop:1"], permitted_networks=LOOPBACK) as pictures:
        for number in range(hosts.FAILURES_AT_MOST):
            with pytest.raises(Unreachable, match="Error"):  # it was asked, and nobody listens
                await pictures.fetch(f"http://cdn.shop:1?token={number}")
        with pytest.raises(Unreachable, match="^http://cdn.shop:1 did not answer lately"):
            await pictures.fetch("http://cdn.shop:1?token=secret")
