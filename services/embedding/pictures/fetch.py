"""Download the pictures that items refer to, without opening a way into our own network.

- Only hosts and storage roots that settings name.
- A name is resolved once; if any of its addresses is not public, nothing is asked; the connection
  goes to the addresses that were checked. A literal address passes the same check, however it is
  spelled.
- Every redirect is a new address and passes all of it again.
- Bytes are counted while they stream, one deadline covers everything from the connection on.
- A host that does not answer is left alone for a while, so that nobody waits for it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from freshet.contract.bounds import IMAGE_BYTES
from freshet.contract.items import IMAGE_URI_BYTES
from services.embedding.pictures.addresses import Network, is_public
from services.embedding.pictures.fetch_errors import (
    FetchFailed,
    Forbidden,
    Missing,
    TooLarge,
    Unreachable,
)
from services.embedding.pictures.hosts import LANE_PLACES, Hosts, Lane
from services.embedding.pictures.storage import Storage

__all__ = ["FetchFailed", "Fetcher", "Forbidden", "Missing", "TooLarge", "Unreachable"]

MAX_REDIRECTS = 3
_ASCII = "".join(map(chr, range(128)))
_CHUNK_BYTES = 64 * 1024
_TRANSIENT_STATUSES = frozenset({408, 425, 429})  # besides 5xx


class Fetcher:
    """Fetches pictures. Use as `async with Fetcher(…) as fetcher`, or call `close`.

    async with fetcher.place(uri, lane):
        data = await fetcher.fetch(uri)
    """

    def __init__(
        self,
        allowed_hosts: Sequence[str] = (),
        storage_roots: Sequence[str] = (),
        *,
        max_bytes: int = IMAGE_BYTES,
        timeout_s: float = 5.0,
        permitted_networks: Sequence[Network] = (),
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare; the first fetch opens the connections.

        `allowed_hosts`: `cdn.example.com` (default ports only), `cdn.example.com:8443`,
        `*.example.com`.
        `storage_roots`: `file:///srv/pictures`, `s3://shop/pictures`.
        `permitted_networks`: private ones that hosts may be in.
        `ssl_context`: for tests, which have no public server.
        """
        self._allowed_hosts = [host.lower() for host in allowed_hosts]
        self._storage = Storage(storage_roots)
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._permitted = permitted_networks
        self._ssl = ssl_context
        self._session: aiohttp.ClientSession | None = None
        self._hosts = Hosts()
        # Threads of its own: a storage that hangs holds up nothing else.
        self._readers = ThreadPoolExecutor(len(Lane) * LANE_PLACES, "storage")

    async def __aenter__(self) -> Fetcher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def place(self, uri: str, lane: Lane) -> AbstractAsyncContextManager[None]:
        """Wait for one of the places that a picture's host has in a lane, and hold it.

        Hold it until the picture is decoded: how many lie in memory is bounded by it.
        """
        return self._hosts.place(_host(uri), lane)

    async def fetch(self, uri: str) -> bytes:
        """Download a picture. Raises FetchFailed: Forbidden, Missing, TooLarge, Unreachable."""
        _check_spelling(uri)
        host = _host(uri)
        self._hosts.check(host)
        try:
            data = await self._download(uri)
        except Unreachable:
            self._hosts.failed(host)
            raise
        except (Missing, TooLarge):
            self._hosts.answered(host)
            raise
        self._hosts.answered(host)
        return data

    async def _download(self, uri: str) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s):
                if uri.startswith(("https://", "http://")):
                    return await self._fetch_http(uri)
                reading = asyncio.get_running_loop().run_in_executor(
                    self._readers, self._storage.read, uri, self._max_bytes
                )
                return await reading
        except TimeoutError:
            raise Unreachable(f"no answer within {self._timeout_s:g} s") from None

    async def _fetch_http(self, uri: str) -> bytes:
        url = self._vetted(uri)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._get(url)
            if isinstance(answer, bytes):
                return answer
            target = self._vetted(answer, base=url)
            if url.scheme == "https" and target.scheme != "https":
                raise Forbidden("redirect from https to http")
            url = target
        raise Forbidden(f"more than {MAX_REDIRECTS} redirects")

    def _vetted(self, uri: str, base: URL | None = None) -> URL:
        """Parse an http(s) URL once, for the check and for the request alike."""
        _check_spelling(uri)
        try:
            url = URL(_quoted(uri))
            url = base.join(url) if base else url
            host, port = url.host, url.port
        except ValueError:
            raise Forbidden("not a valid URL") from None
        if url.scheme not in ("https", "http") or not host:
            raise Forbidden("only https and http URLs with a host")
        if url.user is not None or url.password is not None:
            raise Forbidden("URL with user or password")
        if not any(
            _matches(entry, host.lower(), port, url.is_default_port())
            for entry in self._allowed_hosts
        ):
            raise Forbidden(f"host {host}:{port} is not allowed")
        try:
            literal = ipaddress.ip_address(host)
        except ValueError:
            return url  # a name; _CheckedResolver checks what it stands for
        if not is_public(literal, self._permitted):
            raise Forbidden(f"address {literal} is not public")
        return url

    async def _get(self, url: URL) -> bytes | str:
        """Return the body, or where a redirect leads."""
        try:
            async with self._open().get(
                url, allow_redirects=False, ssl=self._ssl or True
            ) as answer:
                if answer.status in (301, 302, 303, 307, 308):
                    return answer.headers.get("Location", "")
                if answer.status >= 500 or answer.status in _TRANSIENT_STATUSES:
                    raise Unreachable(f"{url.host} answered {answer.status}")
                if answer.status != 200:
                    raise Missing(f"{url.host} answered {answer.status}")
                if (answer.content_length or 0) > self._max_bytes:
                    raise TooLarge(
                        f"picture of {answer.content_length} bytes is over {self._max_bytes}"
                    )
                return await self._body(answer)
        except ValueError:  # aiohttp.InvalidURL too, which is a ClientError besides
            raise Forbidden("not a valid URL") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{url.host}: {type(error).__name__}") from None

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_bytes:
                raise TooLarge(f"picture has more than {self._max_bytes} bytes")
        return bytes(body)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = _CheckedResolver(self._permitted)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    # No limit: its queue would count against the deadline; see `place`.
                    resolver=resolver,
                    use_dns_cache=False,
                    limit=0,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # a proxy would resolve the name again, unchecked
                auto_decompress=False,  # a picture is not compressed again; a bomb may be
                headers={
                    "Accept": "image/*",
                    "Accept-Encoding": "identity",
                    "User-Agent": "freshet",
                },
                timeout=aiohttp.ClientTimeout(total=None),  # `fetch` has one over all
            )
        return self._session


class _CheckedResolver(AbstractResolver):
    """Resolves a name and refuses it when any of its addresses may not be asked."""

    def __init__(self, permitted: Sequence[Network]) -> None:
        self._permitted = permitted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, family=family
        )
        for *_, address in addresses:
            numeric = str(address[0]).partition("%")[0]  # less the scope of a link-local one
            if not is_public(ipaddress.ip_address(numeric), self._permitted):
                raise Forbidden(f"host {host} has the address {numeric}, which is not public")
        return [_result(host, port, family, address) for family, _, _, _, address in addresses]

    async def close(self) -> None:
        """Do nothing: the system's resolver is used."""


def _result(host: str, port: int, family: int, address: Any) -> ResolveResult:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(
        hostname=host, host=address[0], port=port, family=family, proto=0, flags=flags
    )


def _host(uri: str) -> str:
    """Return scheme and host, or bucket, of a URL, whose pictures share their fate."""
    return "/".join(re.split("[/?#]", uri, maxsplit=3)[:3]).lower()


def _matches(entry: str, host: str, port: int | None, is_default_port: bool) -> bool:
    """Tell whether an entry of the allow-list covers host and port."""
    name, _, own_port = entry.partition(":")
    if not (str(port) == own_port if own_port else is_default_port):
        return False
    return (
        host.endswith(name[1:]) and len(host) >= len(name)
        if name.startswith("*.")
        else host == name
    )


def _check_spelling(uri: str) -> None:
    """Refuse what parsers read differently, and what no URL needs."""
    if not uri.isprintable() or " " in uri or "\\" in uri:
        raise Forbidden("URL with spaces, control characters or backslashes")
    if len(uri.encode()) > IMAGE_URI_BYTES:
        raise Forbidden(f"URL of more than {IMAGE_URI_BYTES} bytes")


def _quoted(uri: str) -> str:
    """Write an IRI as the URL that it stands for: what is not ASCII as UTF-8 in percents.

    In a host's name, too, where it then matches no entry: such names are written as `xn--…`.
    """
    return quote(uri, safe=_ASCII)
