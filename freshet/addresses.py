"""Check addresses, and tell which are of this machine."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from freshet.settings import Form

# host of host:port, with the resolver that gRPC lets stand before it: dns:///name:port
_HOST: Final = re.compile(
    r"(?:(?:dns:(?://[^/]*/)?)|ipv4:|ipv6:)?(?P<host>\[.*\]|[^:]*)(?::(?P<port>\d+))?"
)
_SERVER: Final = re.compile(r"(?:\[[0-9a-f:.%]+\]|[\w.-]+):(?P<port>\d{1,5})", re.I | re.A)


def check_address(address: str) -> None:
    """Raise ValueError unless a gRPC address names a host and a port, or a socket."""
    if isinstance(address, str):
        if address.startswith(("unix:", "unix-abstract:")):
            return
        match = _HOST.fullmatch(address.partition(",")[0])
        port = match["port"] if match and match["host"] else None
        if port and 0 < int(port) < 65_536:
            return
    raise ValueError(f"address must be {ADDRESS.right}, was {address!r}")


def check_servers(servers: object) -> None:
    """Raise ValueError unless each server of a comma list is a host and a port."""
    parts = servers.split(",") if isinstance(servers, str) else [""]
    matches = [_SERVER.fullmatch(part.strip()) for part in parts]
    if not all(match and 0 < int(match["port"]) < 65_536 for match in matches):
        raise ValueError(f"servers must be {SERVERS.right}, was {servers!r}")


ADDRESS: Final = Form("host:port, such as 127.0.0.1:50051", check_address)
SERVERS: Final = Form("host:port, comma separated, such as 127.0.0.1:9092", check_servers)


def is_local(address: str) -> bool:
    """Say whether an address is on this machine: loopback or a Unix socket."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    match = _HOST.fullmatch(address)
    host = match["host"].strip("[]").lower() if match else ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
