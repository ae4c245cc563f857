"""A forwarding gate in virtual time, and the record of what passed it."""

from __future__ import annotations

from collections.abc import Sequence

MS = 1_000_000
S = 1_000 * MS
HELD_WINDOW_NS = 1_500 * MS
"""Two packets this far apart hold nothing between them (the product's own rule, told again)."""
Span = tuple[int, int]


class SimGate:
    """Packets come every `gap_ns` while media flows, and pass while now is before `until_ns`.

    `spans` is kept for the judge: maximal stretches of packets less than the held window apart.
    """

    def __init__(self, clock, gap_ms: int) -> None:
        self._clock = clock
        self._gap_ns = gap_ms * MS
        self._next_ns: int | None = None
        self.until_ns = 0
        self.spans: list[Span] = []
        self._told: list[Span] = []

    @property
    def now_ns(self) -> int:
        """The clock's."""
        return int(self._clock.now_ns)

    def start(self) -> None:
        """Media flows from now on."""
        self.run()
        self._next_ns = self._clock.now_ns

    def silence(self) -> None:
        """Media stops."""
        self.run()
        self._next_ns = None

    def die(self) -> None:
        """The process that forwards is gone."""
        self.silence()
        self.until_ns = 0

    def run(self) -> None:
        """Play the packets up to now."""
        first = self._next_ns
        if first is None or first > self._clock.now_ns:
            return
        arrived = (self._clock.now_ns - first) // self._gap_ns + 1
        self._next_ns = first + arrived * self._gap_ns
        passed = min(arrived, -((first - self.until_ns) // self._gap_ns))
        if passed > 0:
            self._pass(first, first + (passed - 1) * self._gap_ns)

    def _pass(self, first: int, last: int) -> None:
        held = self._gap_ns < HELD_WINDOW_NS
        stretches = [(first, last)]
        if not held:
            stretches = [(at, at) for at in range(first, last + 1, self._gap_ns)]
        for begin, end in stretches:
            if self.spans and begin - self.spans[-1][1] < HELD_WINDOW_NS:
                begin = self.spans[-1][1]
                self.spans[-1] = (self.spans[-1][0], end)
            else:
                self.spans.append((begin, end))
            self._told.append((begin, end))

    @property
    def last_forwarded_ns(self) -> int | None:
        """For the meter."""
        self.run()
        return self.spans[-1][1] if self.spans else None

    def take_held(self, _now_ns: int) -> Sequence[Span]:
        """For the meter."""
        self.run()
        told, self._told = self._told, []
        return told

    def open_until(self, until_ns: int) -> None:
        """For the meter."""
        self.run()
        self.until_ns = until_ns
