"""TCP connections that have proved nothing yet: how many there may be, and for how long. Pure.

A client proves itself with its first packet, one round trip after it connected. So whoever waits
longest is the least likely to be one: when there are too many, the oldest goes, and a crowd of
silent connections cannot keep anybody out.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

STRANGERS_MAX: Final = 256
"""Of all addresses together: what may be wasted on nobody, in descriptors and in kernel memory."""
STRANGERS_PER_NETWORK_MAX: Final = 32
"""A household or an office behind one address, all joining within a round trip."""
STRANGER_NS: Final = 10_000_000_000
"""A check is repeated for about half a minute, but the first ones go out within a second."""
STRANGER_BYTES_MAX: Final = 2_048
"""A dozen checks."""


def network_of(ip: bytes) -> bytes:
    """Whom connections are counted by: an IPv4 address, or the /64 of an IPv6 one (RFC 6177)."""
    return ip if len(ip) == 4 else ip[:8]


class Strangers:
    """The connections by their key, in the order in which they came."""

    def __init__(self) -> None:
        self._since: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()
        self._networks: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, key: bytes) -> bool:
        return key in self._since

    def add(self, key: bytes, ip: bytes, now_ns: int) -> bytes | None:
        """One more; the key of the connection that has to go for it, if there are too many."""
        network = network_of(ip)
        going: bytes | None = None
        if self._networks[network] >= STRANGERS_PER_NETWORK_MAX:
            going = next(k for k, (of, _) in self._since.items() if of == network)
        elif len(self._since) >= STRANGERS_MAX:
            going = next(iter(self._since))
        if going is not None:
            self.remove(going)
        self._since[key] = (network, now_ns)
        self._networks[network] += 1
        return going

    def remove(self, key: bytes) -> None:
        """It has proved itself, or it is gone."""
        entry = self._since.pop(key, None)
        if entry is None:
            return
        network = entry[0]
        self._networks[network] -= 1
        if not self._networks[network]:
            del self._networks[network]

    def overdue(self, now_ns: int) -> list[bytes]:
        """Those who had their time; they are removed."""
        late = []
        for key, (_, since_ns) in self._since.items():
            if now_ns - since_ns < STRANGER_NS:
                break
            late.append(key)
        for key in late:
            self.remove(key)
        return late
