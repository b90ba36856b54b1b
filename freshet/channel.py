"""Open the channel to ranking: how it is secured, how its connections live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from freshet.addresses import is_local

if TYPE_CHECKING:
    import os
    from typing import TypeAlias

    import grpc

    from freshet.v1.recommender_pb2_grpc import RecommenderAsyncStub

    # True: the system's authorities; a path: those of a PEM file.
    Tls: TypeAlias = bool | str | os.PathLike[str] | grpc.ChannelCredentials

MESSAGE_MAX_BYTES: Final = 8 * 1024 * 1024

_OPTIONS: Final = (
    # Each call goes to the next pod behind a headless Service, not all to the first.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
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


def check_token(token: str) -> None:
    """Raise ValueError for a token that no header can carry, without showing it."""
    if not token or not token.isascii() or not token.isprintable() or token != token.strip():
        raise ValueError("token must be printable ASCII without spaces around it")


def proxy_options(address: str) -> list[tuple[str, Any]]:
    """Return the options by which what is on this machine is never asked through a proxy."""
    return [("grpc.enable_http_proxy", 0)] if is_local(address) else []


def open_channel(address: str, tls: Tls = False) -> grpc.aio.Channel:
    """Return a channel of the running event loop, which the caller closes.

    address: host:port, or dns:///name:port for every address behind a name. tls: see Client.
    """
    import grpc

    options = [*_OPTIONS, *proxy_options(address)]
    if not tls:
        return grpc.aio.insecure_channel(address, options=options)
    if not isinstance(tls, grpc.ChannelCredentials):
        authorities = None if tls is True else Path(tls).read_bytes()
        tls = grpc.ssl_channel_credentials(authorities)
    return grpc.aio.secure_channel(address, tls, options=options)


def open_stub(address: str) -> tuple[grpc.aio.Channel, RecommenderAsyncStub]:
    """Return a channel (the caller closes it) and the generated stub on it, for raw messages."""
    from freshet.v1.recommender_pb2_grpc import RecommenderStub

    channel = open_channel(address)
    return channel, RecommenderStub(channel)
