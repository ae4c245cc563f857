"""A client's IP address: behind which proxies it stands, and what of it is counted."""

from __future__ import annotations

import ipaddress
import socket

IPV6_PREFIX_BITS = 64
"""One household or server gets a /64, so single IPv6 addresses are not counted."""


def address_key(address: str) -> str:
    """What is counted for an address: all of IPv4, the /64 of IPv6."""
    try:
        socket.inet_pton(socket.AF_INET, address)
    except (OSError, ValueError):
        pass
    else:
        return address  # nearly every one; `ipaddress` takes longer than the rest of the limit
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX_BITS), strict=False))
    return str(parsed)


class TrustedProxies:
    """Finds the client's address; X-Forwarded-For counts only from proxies that are listed."""

    def __init__(self, networks: list[str]) -> None:
        self._networks = [ipaddress.ip_network(text) for text in networks]

    def trusts(self, address: str) -> bool:
        """Whether this peer is one of our proxies."""
        return in_networks(address, self._networks)

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """The last address in the chain that is not one of our proxies (ASVS 15.3.4)."""
        if not forwarded_for or not self.trusts(peer):
            return peer
        for hop in reversed([part.strip() for part in forwarded_for.split(",")]):
            try:
                ipaddress.ip_address(hop)
            except ValueError:
                return peer
            if not self.trusts(hop):
                return hop
        return peer


def in_networks(
    address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> bool:
    """Whether the address lies in one of the networks; an unreadable one lies in none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)
