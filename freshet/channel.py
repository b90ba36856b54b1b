"""Open the channel to ranking: how it is secured, how its connections live, when it is renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar

from freshet.access import NO_CERTIFICATE, OPEN, Access, Certificate, read_authorities
from freshet.addresses import is_local
from freshet.renewed_files import RenewedFiles

if TYPE_CHECKING:
    import os

    import grpc

    from freshet.access import Tls
    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub

Stub = TypeVar("Stub")
Options: TypeAlias = Sequence[tuple[str, Any]]

MESSAGE_MAX_BYTES: Final = 8 * 1024 * 1024
RETIRE_S: Final = 30.0  # that a replaced channel is kept for the calls that are on it

ROUND_ROBIN: Final = ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}')
_OPTIONS: Final = (
    # Each call goes to the next pod behind a headless Service, not all to the first.
    ROUND_ROBIN,
    ("grpc.max_send_message_length", MESSAGE_MAX_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
    # A peer that vanished is given up within seconds, not when the kernel's time-out ends. Pings
    # go out only while calls wait, which every server allows.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # After an outage the next calls should not wait for long.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def proxy_options(address: str) -> list[tuple[str, Any]]:
    """Return the options by which what is on this machine is never asked through a proxy."""
    return [("grpc.enable_http_proxy", 0)] if is_local(address) else []


class RenewedStub(Generic[Stub]):
    """A generated stub of the running event loop, made anew once its certificates are others.

    gRPC reads certificates when a channel is made; connections end after minutes, and the next
    one must show those that are valid then.
    """

    def __init__(
        self,
        address: str,
        make: Callable[[grpc.aio.Channel], Stub],
        tls: Tls = False,
        certificate: Certificate = NO_CERTIFICATE,
        options: Options = _OPTIONS,
    ) -> None:
        """address: host:port, or dns:///name:port for every address behind a name.

        Raises OSError and ValueError for files that cannot be used.
        """
        self._address = address
        self._make = make
        self._options = [*options, *proxy_options(address)]
        self._credentials = _credentials(tls, certificate)
        self._retiring: set[asyncio.Task[None]] = set()
        self._open()

    def latest(self) -> Stub:
        """Return the stub to call by now."""
        if self._credentials.latest() is not self._opened_with:
            task = asyncio.create_task(_retire(self._channel))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
            self._open()
        return self._stub

    async def ready(self) -> None:
        """Wait until connected."""
        await self._channel.channel_ready()

    async def close(self) -> None:
        """End calls under way and close everything."""
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await self._channel.close()

    def _open(self) -> None:
        self._opened_with = self._credentials.latest()
        self._channel = _open(self._address, self._opened_with, self._options)
        self._stub = self._make(self._channel)


async def _retire(channel: grpc.aio.Channel) -> None:
    """Close a channel that gets no new calls, once those on it had their time."""
    try:
        await asyncio.sleep(RETIRE_S)
    finally:
        await channel.close()


def _credentials(
    tls: Tls, certificate: Certificate
) -> RenewedFiles[grpc.ChannelCredentials | None]:
    """Return the credentials for a way of TLS, None for none."""
    import grpc

    if not tls:
        return RenewedFiles((), lambda: None)
    if isinstance(tls, grpc.ChannelCredentials):
        given = tls
        return RenewedFiles((), lambda: given)
    authorities: list[str | os.PathLike[str]] = [] if tls is True else [tls]

    def read() -> grpc.ChannelCredentials:
        trusted = b"".join(map(read_authorities, authorities)) or None
        chain, key = certificate.read() if certificate else (None, None)
        return grpc.ssl_channel_credentials(trusted, key, chain)

    return RenewedFiles([*authorities, *certificate.files], read)


def open_stub(address: str, access: Access = OPEN) -> tuple[grpc.aio.Channel, RecommenderAsyncStub]:
    """Return a channel (the caller closes it) and the generated stub on it, for raw messages.

    The token travels with each call: see `freshet.access.bearer`.
    """
    from freshet.v1.recommender_pb2_grpc import RecommenderStub

    options = [*_OPTIONS, *proxy_options(address)]
    channel = _open(address, _credentials(access.tls, access.certificate).latest(), options)
    return channel, RecommenderStub(channel)


def _open(
    address: str, credentials: grpc.ChannelCredentials | None, options: Options
) -> grpc.aio.Channel:
    import grpc

    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)
