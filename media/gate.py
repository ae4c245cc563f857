"""The paid row's gate: packets pass while it is open, and it remembers when media was held.

A held interval runs from the first forwarded packet to the last one, packets closer than
`HOLD_WINDOW_NS` belonging together. The meter opens the gate for time that is paid and takes the
intervals; it never sees a packet. Pure: `now_ns` is monotonic time given by the caller.
"""

from __future__ import annotations

from typing import Final

HOLD_WINDOW_NS: Final = 1_500_000_000
"""Media counts as held when the last forwarded packet is younger than this. Of silence Opus sends
one packet in 400 ms (DTX), and two of them may be lost in a row before it counts as a hole."""


class Gate:
    """One gate, over one or several rows of one private component. Closed when new."""

    __slots__ = ("_from_ns", "_held", "first_forwarded_ns", "last_forwarded_ns", "open_until_ns")

    def __init__(self) -> None:
        self.open_until_ns = 0
        self.first_forwarded_ns: int | None = None
        self.last_forwarded_ns: int | None = None
        self._held: list[tuple[int, int]] = []
        self._from_ns = 0  # what has been reported of the running interval ends here

    def open_until(self, until_ns: int) -> None:
        """Let packets pass while `now_ns < until_ns`; 0 closes."""
        self.open_until_ns = until_ns

    def note(self, now_ns: int) -> None:
        """A packet was forwarded at `now_ns` (called for every one, hence short)."""
        last_ns = self.last_forwarded_ns
        if last_ns is None:
            self.first_forwarded_ns = self._from_ns = now_ns
        elif now_ns - last_ns > HOLD_WINDOW_NS:
            self._close_interval(last_ns)
            self._from_ns = now_ns
        self.last_forwarded_ns = now_ns

    def take_held(self, now_ns: int) -> list[tuple[int, int]]:
        """Held intervals (start_ns, end_ns) that were not reported before, in order.

        A running interval is reported piece by piece: its next piece starts where this one ends.
        `now_ns` bounds nothing: only forwarded packets count, and they lie in the past.
        """
        last_ns = self.last_forwarded_ns
        if last_ns is not None:
            self._close_interval(last_ns)
            self._from_ns = last_ns
        held, self._held = self._held, []
        return held

    def _close_interval(self, end_ns: int) -> None:
        if end_ns > self._from_ns:
            self._held.append((self._from_ns, end_ns))
