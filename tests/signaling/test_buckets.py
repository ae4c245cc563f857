"""Token buckets by key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signaling import buckets as module
from signaling.buckets import NS_PER_S, Buckets


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
    monkeypatch.setattr(module, "KEYS_MAX", 10)
    buckets = Buckets(burst=1, per_s=1.0, clock_ns=Clock())
    for number in range(50):
        buckets.take(str(number))
    assert len(buckets) == 10
