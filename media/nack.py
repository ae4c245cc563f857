"""Lost packets: which to ask the publisher for again, and which to send a viewer again. Pure.

Both are bounded: what cannot be repaired in time is given up, and a viewer cannot make the server
send more than a fixed share on top of what it was sent anyway.
"""

from __future__ import annotations

from typing import Final

REORDER_WAIT_NS: Final = 10_000_000
"""A gap younger than this is more often reordering than loss (Janus waits 12 ms)."""
RETRY_NS: Final = 80_000_000
"""Time for a repair to arrive before it is asked for again: a round trip inside a continent."""
TRIES_MAX: Final = 10
"""mediasoup's figure; 10 tries are 0.8 s."""
MISSING_MAX: Final = 512
"""More missing packets than this (1.5 s of video) are not worth repairing: a keyframe is."""

RESENDS_MAX: Final = 3
"""Times that one packet is sent again to one viewer (LiveKit's figure)."""
RESEND_INTERVAL_MIN_NS: Final = 100_000_000
"""A repair asked for again within this is on its way (LiveKit's figure); or the round trip."""
RESEND_SHARE_PERCENT: Final = 20
"""Repairs may cost this much of what the viewer was sent; beyond it the path is too narrow."""
RESEND_BURST_OCTETS: Final = 128 * 1024
"""Room for the first second, before there is anything to take a share of: one large keyframe."""
RESEND_MEMORY: Final = 512
"""Packets whose repairs are remembered per viewer stream."""


class LossTracker:
    """Gaps in one publisher stream, by unwrapped sequence number."""

    __slots__ = ("_highest", "_missing", "overwhelmed")

    def __init__(self) -> None:
        self._highest: int | None = None
        self._missing: dict[int, list[int]] = {}  # number → [due_ns, tries]
        self.overwhelmed = False
        """Set when a gap was too long to repair; whoever asks for a keyframe resets it."""

    def __len__(self) -> int:
        return len(self._missing)

    def arrived(self, number: int, now_ns: int) -> bool:
        """A packet came; True when it filled a gap."""
        highest = self._highest
        if highest is None or number <= highest:
            if highest is None:
                self._highest = number
            return self._missing.pop(number, None) is not None
        self._highest = number
        lost = number - highest - 1
        if lost:
            if lost + len(self._missing) > MISSING_MAX:
                self._missing.clear()
                self.overwhelmed = True
            else:
                due_ns = now_ns + REORDER_WAIT_NS
                self._missing.update((n, [due_ns, 0]) for n in range(highest + 1, number))
        return False

    def due(self, now_ns: int) -> list[int]:
        """16-bit sequence numbers to ask for now, oldest first."""
        if not self._missing:
            return []
        asked: list[int] = []
        for number, state in list(self._missing.items()):
            if state[0] > now_ns:
                continue
            if state[1] >= TRIES_MAX:
                del self._missing[number]
                continue
            state[0] = now_ns + RETRY_NS
            state[1] += 1
            asked.append(number & 0xFFFF)
        return asked

    def forget(self) -> None:
        """Nothing that is missing is wanted any more."""
        self._missing.clear()


class ResendBudget:
    """What one viewer stream may still be sent again."""

    __slots__ = ("_octets", "_resent", "_seen_octets")

    def __init__(self) -> None:
        self._octets = RESEND_BURST_OCTETS
        self._seen_octets = 0
        self._resent: dict[int, tuple[int, int]] = {}  # sequence → (times, last_ns)

    def allow(
        self, sequence: int, size: int, now_ns: int, *, sent_octets: int, round_trip_ns: int
    ) -> bool:
        """True when this packet may be sent again now, which is then counted.

        `sent_octets` is all that was sent on the stream since it began, repairs not included.
        """
        times, last_ns = self._resent.get(sequence, (0, 0))
        wait_ns = max(RESEND_INTERVAL_MIN_NS, round_trip_ns)
        if times >= RESENDS_MAX or (times and now_ns - last_ns < wait_ns):
            return False
        earned = (sent_octets - self._seen_octets) * RESEND_SHARE_PERCENT // 100
        if earned > 0:
            self._octets = min(self._octets + earned, RESEND_BURST_OCTETS)
            self._seen_octets = sent_octets
        if size > self._octets:
            return False
        self._octets -= size
        self._resent.pop(sequence, None)
        self._resent[sequence] = (times + 1, now_ns)
        if len(self._resent) > RESEND_MEMORY:
            del self._resent[next(iter(self._resent))]
        return True
