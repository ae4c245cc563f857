"""Token buckets by key, bounded in number."""

from collections.abc import Hashable

from media.bucket import TokenBucket


class BucketSet:
    """One bucket per key. At `keys_max` full ones are forgotten, then the oldest."""

    def __init__(self, per_s: float, burst: int, keys_max: int) -> None:
        self._burst = burst
        self._per_s = per_s
        self._keys_max = keys_max
        self._buckets: dict[Hashable, TokenBucket] = {}

    def take(self, key: Hashable, now_ns: int) -> bool:
        """Take one token of this key."""
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room(now_ns)
            bucket = self._buckets[key] = TokenBucket(self._per_s, self._burst)
        return bucket.take(now_ns)

    def __len__(self) -> int:
        return len(self._buckets)

    def _make_room(self, now_ns: int) -> None:
        if len(self._buckets) < self._keys_max:
            return
        self._buckets = {k: b for k, b in self._buckets.items() if not b.full(now_ns)}
        while len(self._buckets) >= self._keys_max:
            del self._buckets[next(iter(self._buckets))]
