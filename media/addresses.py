"""The addresses that peers are told, configured or found on this machine."""

from __future__ import annotations

import ipaddress
from typing import Final

import ifaddr

CANDIDATES_MAX: Final = 8
"""A machine with many networks would make every answer long, and every browser try them all."""
_WILDCARDS: Final = frozenset({"0.0.0.0", "::", ""})


def candidate_ips(listen_host: str, advertised: tuple[str, ...]) -> tuple[str, ...]:
    """At most `CANDIDATES_MAX`; ValueError when an advertised one is no IP."""
    for text in advertised:
        ipaddress.ip_address(text)
    if advertised:
        return advertised[:CANDIDATES_MAX]
    if listen_host not in _WILDCARDS:
        return (listen_host,)
    # Loopback last, for a browser on this very machine when there is no network.
    found = _machine_ips(with_ipv6=listen_host == "::")
    return (*found[: CANDIDATES_MAX - 1], "127.0.0.1")


def _machine_ips(*, with_ipv6: bool) -> list[str]:
    """This machine's addresses that others may reach, IPv4 first."""
    found = [
        ip.ip if isinstance(ip.ip, str) else ip.ip[0]
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    ]
    parsed = [ipaddress.ip_address(text) for text in found]
    usable = [a for a in parsed if not a.is_loopback and not a.is_link_local]
    usable.sort(key=lambda address: address.version)
    return [str(a) for a in usable if a.version == 4 or with_ipv6]
