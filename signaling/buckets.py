"""Token buckets per key, bounded in number, so that one address cannot wear out the others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

NS_PER_S = 1_000_000_000
KEYS_MAX = 20_000
"""About 4 MiB of buckets; beyond it the ones unused for longest are forgotten."""


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
