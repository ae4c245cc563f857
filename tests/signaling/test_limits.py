"""Token buckets and the client's address behind proxies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signaling import limits
from signaling.limits import NS_PER_S, Buckets, TrustedProxies, address_key, in_networks


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_burst_then_rate_and_the_wait_is_exact() -> None:
    clock = Clock()
    buckets = Buckets(burst=3, per_s=0.5, clock_ns=clock)
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 0]
    assert buckets.take("a") == 2.0
    clock.now_ns += 2 * NS_PER_S - 1
    assert buckets.take("a") > 0
    clock.now_ns += 1
    assert buckets.take("a") == 0
    assert buckets.take("b") == 0


@given(st.lists(st.integers(0, 5 * NS_PER_S), max_size=60))
def test_never_more_than_burst_plus_rate(pauses_ns: list[int]) -> None:
    clock = Clock()
    buckets = Buckets(burst=4, per_s=2.0, clock_ns=clock)
    taken = 0
    for pause_ns in pauses_ns:
        clock.now_ns += pause_ns
        taken += buckets.take("a") == 0
    assert taken <= 4 + 2.0 * clock.now_ns / NS_PER_S + 1e-6


def test_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(limits, "KEYS_MAX", 10)
    buckets = Buckets(burst=1, per_s=1.0, clock_ns=Clock())
    for number in range(50):
        buckets.take(str(number))
    assert len(buckets) == 10


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
    import ipaddress

    networks = [ipaddress.ip_network("127.0.0.0/8")]
    assert in_networks("::ffff:127.0.0.1", networks)
    assert not in_networks("::1", networks)
    assert not in_networks("", networks)
