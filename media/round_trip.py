"""A round trip that is measured again and again: smoothed, with how much it varies. Pure."""

from __future__ import annotations

from typing import Final

ROUND_TRIP_NS_MAX: Final = 10_000_000_000
"""A larger sample is a mistake or a lie: nobody would still be talking."""


class RoundTrip:
    """Mean and mean deviation as TCP keeps them (RFC 6298 §2), but less careful: a sample may come
    only once a second, and a question too many costs one packet, not a connection's speed."""

    __slots__ = ("_deviation_ns", "smoothed_ns")

    def __init__(self) -> None:
        self.smoothed_ns: int | None = None
        self._deviation_ns = 0

    def sample(self, elapsed_ns: int) -> None:
        """One more measurement; what cannot be a round trip is passed over."""
        if not 0 <= elapsed_ns <= ROUND_TRIP_NS_MAX:
            return
        smoothed_ns = self.smoothed_ns
        if smoothed_ns is None:
            self.smoothed_ns, self._deviation_ns = elapsed_ns, elapsed_ns // 4
            return
        self._deviation_ns += (abs(smoothed_ns - elapsed_ns) - self._deviation_ns) // 4
        self.smoothed_ns = smoothed_ns + (elapsed_ns - smoothed_ns) // 3

    def wait_ns(self, unknown_ns: int) -> int:
        """After how long an answer that did not come is lost; `unknown_ns` before any sample."""
        if self.smoothed_ns is None:
            return unknown_ns
        return self.smoothed_ns + 2 * self._deviation_ns
