"""Tell which network addresses a picture may be fetched from. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A cloud's own, in whatever network. Metadata that are link-local are never permitted.
_CLOUD = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16",  # Azure's host agent
            "192.0.0.0/24",  # protocol assignments, with Oracle's metadata
            "fd00:c1::a9fe:a9fe",  # Oracle's, too
            "fd00:ec2::/32",  # Amazon's
            "fd20:ce::254",  # Google's
            "100.100.100.200",  # Alibaba's
            "fd00:100::100:200",
            "fd00:42::42",  # Scaleway's
            "fd00:a9fe:a9fe::1",  # Akamai's
        ),
    )
)
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"),
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: Address, permitted: Sequence[Network] = ()) -> bool:
    """Tell whether an address belongs to the public internet, or to one of the permitted networks.

    False for loopback, private, link-local (with it the metadata service), CGNAT, multicast,
    reserved and unspecified addresses, and for IPv6 addresses that carry such an IPv4 one (mapped,
    6to4, Teredo, NAT64). No network permits what is a cloud's own.
    """
    inner = _carried(address)
    if inner is not None:
        return is_public(inner, permitted)
    if any(address in network for network in _CLOUD):
        return False
    if any(address in network for network in permitted):
        return True
    return address.is_global and not (
        address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False)
    )


def private_network(text: str) -> Network:
    """Read a network of private addresses, such as `10.2.0.0/16`. Raises ValueError for others.

    Loopback and link-local networks are none: what answers there belongs to this machine.
    """
    network = ipaddress.ip_network(text)
    if not any(
        network.version == private.version and network.subnet_of(private)  # type: ignore[arg-type]
        for private in _PRIVATE
    ):
        raise ValueError(f"{text} is not a private network")
    return network


def _carried(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that traffic to this IPv6 address ends at, if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None
