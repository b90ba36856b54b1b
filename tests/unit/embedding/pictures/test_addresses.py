from __future__ import annotations

import ipaddress

import pytest

from services.embedding.pictures.addresses import is_public, private_network


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",  # CGNAT
        "100.100.100.200",  # Alibaba's metadata
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",  # Azure's host agent
        "169.254.169.254",  # metadata of most clouds
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",  # Oracle's metadata
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "2002:a9fe:a9fe::1",
        "2001:0:7f00:1::",  # Teredo
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",  # Amazon's metadata
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_of_the_public_internet_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "93.184.215.14",
        "172.32.0.1",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
    ],
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_permitted_network_is_allowed_and_no_other() -> None:
    permitted = [ipaddress.ip_network("127.0.0.0/8")]
    assert is_public(ipaddress.ip_address("127.0.0.1"), permitted)
    assert is_public(ipaddress.ip_address("::ffff:127.0.0.1"), permitted)
    assert not is_public(ipaddress.ip_address("10.0.0.1"), permitted)
    assert not is_public(ipaddress.ip_address("::1"), permitted)


@pytest.mark.parametrize("network", ["10.2.0.0/16", "192.168.7.0/24", "100.64.0.0/10", "fd12::/48"])
def test_a_private_network_can_be_permitted(network: str) -> None:
    permitted = [private_network(network)]
    assert is_public(permitted[0][1], permitted)
    assert not is_public(ipaddress.ip_address("172.16.0.1"), permitted)
    assert not is_public(ipaddress.ip_address("169.254.169.254"), permitted)


@pytest.mark.parametrize(
    "address",
    [
        "100.100.100.200",
        "fd00:100::100:200",
        "fd00:42::42",
        "fd00:a9fe:a9fe::1",
        "fd00:c1::a9fe:a9fe",
        "fd00:ec2::254",
        "fd20:ce::254",
    ],
)
def test_what_is_a_clouds_own_is_refused_amid_a_permitted_network(address: str) -> None:
    permitted = [private_network("100.64.0.0/10"), private_network("fc00::/7")]
    assert not is_public(ipaddress.ip_address(address), permitted)


@pytest.mark.parametrize(
    "network",
    [
        *("127.0.0.0/8", "::1/128", "169.254.0.0/16", "fe80::/10"),  # this machine's
        *("0.0.0.0/0", "::/0", "8.0.0.0/5", "1.1.1.0/24", "224.0.0.0/4"),
        *("10.2.0.1/16", "10.2.0.0/33", "10.2", "shop", ""),  # none at all
    ],
)
def test_no_other_network_can_be_permitted(network: str) -> None:
    with pytest.raises(ValueError, match=r"\w|^$"):
        private_network(network)
