"""A token bucket without a clock of its own, and a bounded set of them by key."""

from collections.abc import Hashable

from rooms.limits import NS_PER_S


class TokenBucket:
    """`burst` tokens at once, `per_s` tokens a second after that."""

    __slots__ = ("_at_ns", "_burst", "_per_s", "_tokens")

    def __init__(self, burst: int, per_s: float, now_ns: int) -> None:
        self._burst = burst
        self._per_s = per_s
        self._tokens = float(burst)
        self._at_ns = now_ns

    def take(self, now_ns: int) -> bool:
        """Take one token; False if there is none."""
        self._refill(now_ns)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def full(self, now_ns: int) -> bool:
        """Whether forgetting this bucket would change nothing."""
        self._refill(now_ns)
        return self._tokens >= self._burst

    def _refill(self, now_ns: int) -> None:
        gained = (now_ns - self._at_ns) / NS_PER_S * self._per_s
        self._tokens = min(float(self._burst), self._tokens + gained)
        self._at_ns = now_ns


class BucketSet:
    """One bucket per key. At `keys_max` full ones are forgotten, then the oldest."""

    def __init__(self, burst: int, per_s: float, keys_max: int) -> None:
        self._burst = burst
        self._per_s = per_s
        self._keys_max = keys_max
        self._buckets: dict[Hashable, TokenBucket] = {}

    def take(self, key: Hashable, now_ns: int) -> bool:
        """Take one token of this key."""
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room(now_ns)
            bucket = self._buckets[key] = TokenBucket(self._burst, self._per_s, now_ns)
        return bucket.take(now_ns)

    def __len__(self) -> int:
        return len(self._buckets)

    def _make_room(self, now_ns: int) -> None:
        if len(self._buckets) < self._keys_max:
            return
        self._buckets = {k: b for k, b in self._buckets.items() if not b.full(now_ns)}
        while len(self._buckets) >= self._keys_max:
            del self._buckets[next(iter(self._buckets))]
