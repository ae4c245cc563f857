"""Token buckets per key, bounded in number, so that one address cannot wear out the others."""

from __future__ import annotations

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Callable

NS_PER_S = 1_000_000_000
KEYS_MAX = 20_000
"""About 4 MiB of buckets; beyond it the ones unused for longest are forgotten."""
IPV6_PREFIX_BITS = 64
"""One household or server gets a /64, so single IPv6 addresses are not counted."""


class Buckets:
    """One token bucket per key: `burst` at once, then `per_s` tokens each second."""

    def __init__(self, *, burst: int, per_s: float, clock_ns: Callable[[], int]) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._clock_ns = clock_ns
        self._levels: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one token: 0.0 if there was one, else the seconds until there will be."""
        now_ns = self._clock_ns()
        level, since_ns = self._levels.get(key, (self._burst, now_ns))
        level = min(self._burst, level + (now_ns - since_ns) / NS_PER_S * self._per_s)
        wait_s = 0.0 if level >= 1.0 else (1.0 - level) / self._per_s
        self._levels[key] = (level - 1.0 if level >= 1.0 else level, now_ns)
        self._levels.move_to_end(key)
        if len(self._levels) > KEYS_MAX:
            self._levels.popitem(last=False)
        return wait_s

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._levels)


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
