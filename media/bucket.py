"""A token bucket without a clock of its own. Pure."""

from __future__ import annotations

from typing import Final

SECOND_NS: Final = 1_000_000_000


class TokenBucket:
    """`burst` at once, `per_s` a second after that; cheap enough to ask before decrypting a packet.

    Kept as the time at which the bucket is full again (the virtual scheduling form of the generic
    cell rate algorithm, ITU-T I.371): one number, and nothing to refill.
    """

    __slots__ = ("_burst_ns", "_cost_ns", "_full_at_ns")

    def __init__(self, per_s: float, burst: int) -> None:
        self._cost_ns = round(SECOND_NS / per_s)
        self._burst_ns = burst * self._cost_ns
        self._full_at_ns = 0

    def take(self, now_ns: int) -> bool:
        """True when one more is allowed now."""
        full_at_ns = self._full_at_ns
        if full_at_ns < now_ns:
            full_at_ns = now_ns
        full_at_ns += self._cost_ns
        if full_at_ns - now_ns > self._burst_ns:
            return False
        self._full_at_ns = full_at_ns
        return True

    def wait_ns(self, now_ns: int) -> int:
        """How long until one more is allowed."""
        return max(self._full_at_ns + self._cost_ns - self._burst_ns - now_ns, 0)

    def full(self, now_ns: int) -> bool:
        """Whether forgetting this bucket would change nothing."""
        return self._full_at_ns <= now_ns

    def level(self, now_ns: int) -> int:
        """How many are allowed now."""
        owed_ns = max(self._full_at_ns - now_ns, 0)
        return (self._burst_ns - owed_ns) // self._cost_ns

    def take_up_to(self, count: int, now_ns: int) -> int:
        """How many of `count` are allowed now; those are taken."""
        taken = min(count, self.level(now_ns))
        self._full_at_ns = max(self._full_at_ns, now_ns) + taken * self._cost_ns
        return taken
