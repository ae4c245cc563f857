"""Token buckets per key, bounded in number, so that one address cannot wear out the others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from media.bucket import TokenBucket

NS_PER_S = 1_000_000_000
KEYS_MAX = 20_000
"""Some 6 MB of buckets; beyond it the ones unused for longest are forgotten."""


class Buckets:
    """One token bucket per key: `burst` at once, then `per_s` tokens each second."""

    def __init__(self, *, burst: int, per_s: float, clock_ns: Callable[[], int]) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock_ns = clock_ns
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one token: 0.0 if there was one, else the seconds until there will be."""
        now_ns = self._clock_ns()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._per_s, self._burst)
        self._buckets.move_to_end(key)
        if len(self._buckets) > KEYS_MAX:
            self._buckets.popitem(last=False)
        return 0.0 if bucket.take(now_ns) else bucket.wait_ns(now_ns) / NS_PER_S

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._buckets)
