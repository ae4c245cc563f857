"""The client's address behind proxies, and what of it is counted."""

from __future__ import annotations

import ipaddress

from signaling.client_address import TrustedProxies, address_key, in_networks


def test_ipv6_counts_by_network_and_mapped_ipv4_as_ipv4() -> None:
    assert address_key("2001:db8:1:2:3::4") == address_key("2001:db8:1:2::9")
    assert address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("::ffff:192.0.2.1") == "192.0.2.1"
    assert address_key("garbage") == "unknown"


def test_forwarded_for_counts_only_from_our_proxies() -> None:
    proxies = TrustedProxies(["10.0.0.0/8"])
    assert proxies.client("203.0.113.9", "198.51.100.1") == "203.0.113.9"
    assert proxies.client("10.0.0.1", "198.51.100.1") == "198.51.100.1"
    assert proxies.client("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2") == "198.51.100.1"
    assert proxies.client("10.0.0.1", "not an address") == "10.0.0.1"
    assert proxies.client("10.0.0.1", None) == "10.0.0.1"
    assert TrustedProxies([]).client("127.0.0.1", "1.2.3.4") == "127.0.0.1"


def test_networks_take_mapped_addresses_for_what_they_are() -> None:
    networks = [ipaddress.ip_network("127.0.0.0/8")]
    assert in_networks("::ffff:127.0.0.1", networks)
    assert not in_networks("::1", networks)
    assert not in_networks("", networks)
