"""Transport-wide feedback: when a publisher's packets arrived, told back to it. Pure.

draft-holmer-rmcat-transport-wide-cc-extensions-01: the sender numbers all packets of a transport in
one sequence, whatever their stream, and learns of each when it came or that it did not. Its own
congestion control does the rest. Noting an arrival is one append; all other work is done once per
interval, in proportion to what arrived and not to what a sender claims to have sent.
"""

from __future__ import annotations

import struct
from typing import Final

from media.rtp import unwrap

INTERVAL_NS: Final = 60_000_000
"""Between two feedback rounds: libwebrtc sends every 50 to 100 ms at these rates, and three ticks
of our timer are 60."""
JUMP_MAX: Final = 2_048
"""A larger step of the sequence is another sequence: five seconds of a publisher at its limit."""
PENDING_MAX: Final = 2_048
"""Arrivals noted between two rounds; more than a publisher's packet limit lets through."""
HISTORY_NS: Final = 500_000_000
"""What came within this is told again when an older packet comes late (libwebrtc's window)."""
ARRIVALS_MAX: Final = 180
"""Arrivals in one feedback packet. Each costs at most six bytes (a delta, its own chunk, one for
the gap before it), which with all headers stays under the 1,200 bytes that pass everywhere."""
PACKETS_PER_ROUND_MAX: Final = 6
"""Feedback packets at once: 1,000 arrivals in 60 ms, the burst that a publisher may send. What does
not fit is left out: whoever sends more knows that it is too much."""

TICK_NS: Final = 250_000
"""The unit of deltas (§3.1.5)."""
REFERENCE_TICKS: Final = 256
"""The unit of the reference time, 64 ms, in ticks."""
RUN_MAX: Final = 0x1FFF
"""Statuses in a run length chunk (§3.1.3)."""
STATUSES_MAX: Final = 0xFFFF
"""Packets in the account of one feedback packet (§3.1): its counter has 16 bits."""

_MISSING, _SMALL, _LARGE = 0, 1, 2
_HEAD = struct.Struct("!HH")


class TransportFeedback:
    """The arrivals of one transport, and what is told of them."""

    __slots__ = ("_count", "_due_ns", "_floor", "_highest", "_known", "_next", "_pending")

    def __init__(self) -> None:
        self._pending: list[tuple[int, int]] = []
        self._known: dict[int, int] = {}  # unwrapped number → ns, of the last HISTORY_NS
        self._highest: int | None = None
        self._floor = 0  # below this the history is not complete any more
        self._next = 0  # the first number that nothing was told of yet
        self._count = 0
        self._due_ns = 0

    def arrived(self, sequence: int, now_ns: int) -> None:
        """A packet with this 16-bit transport-wide number came."""
        if len(self._pending) < PENDING_MAX:
            self._pending.append((sequence, now_ns))

    def due(self, now_ns: int) -> list[bytes]:
        """The feedback to send now: bodies of RTPFB packets of format 15, behind their SSRCs."""
        if not self._pending or now_ns < self._due_ns:
            return []
        self._due_ns = now_ns + INTERVAL_NS
        first = self._take_pending()
        if first is None:
            return []
        known = self._known
        numbers = sorted(number for number in known if number >= first)
        told = self._packets(first, [(number, known[number] // TICK_NS) for number in numbers])
        self._next = numbers[-1] + 1
        self._forget(now_ns)
        return told

    def _take_pending(self) -> int | None:
        """Place what came among what is known: from where on to tell, None for nothing new."""
        pending, self._pending = self._pending, []
        first: int | None = None
        for sequence, at_ns in pending:
            highest = self._highest
            if highest is None or abs((number := unwrap(sequence, highest)) - highest) > JUMP_MAX:
                self._known.clear()
                # One turn up, so that a packet from before the first is not negative.
                first = self._next = self._floor = highest = number = sequence + 0x10000
            elif number < self._floor or number in self._known:
                continue
            self._known[number] = at_ns
            self._highest = max(number, highest)
            first = number if first is None else min(first, number)
        return None if first is None else min(first, self._next)

    def _forget(self, now_ns: int) -> None:
        """Drop the history's old end; oldest arrivals are first in the dict."""
        for number, at_ns in tuple(self._known.items()):
            if now_ns - at_ns < HISTORY_NS:
                return
            del self._known[number]
            self._floor = max(self._floor, number + 1)

    def _packets(self, first: int, arrivals: list[tuple[int, int]]) -> list[bytes]:
        """Feedback from `first` on for (number, ticks), rising by number."""
        bodies: list[bytes] = []
        position = 0
        while position < len(arrivals) and len(bodies) < PACKETS_PER_ROUND_MAX:
            reference = last = arrivals[position][1] // REFERENCE_TICKS * REFERENCE_TICKS
            runs: list[tuple[int, int]] = []
            deltas = bytearray()
            expected = first
            for number, ticks in arrivals[position : position + ARRIVALS_MAX]:
                delta = ticks - last
                if not -0x8000 <= delta <= 0x7FFF or number - first >= STATUSES_MAX:
                    break  # another packet, with a reference of its own
                if number > expected:
                    _add(runs, _MISSING, number - expected)
                small = 0 <= delta <= 0xFF
                _add(runs, _SMALL if small else _LARGE, 1)
                deltas += delta.to_bytes(1 if small else 2, "big", signed=not small)
                expected, last = number + 1, ticks
                position += 1
            head = _HEAD.pack(first & 0xFFFF, expected - first)
            head += (reference // REFERENCE_TICKS & 0xFFFFFF).to_bytes(3, "big")
            bodies.append(head + bytes((self._count,)) + _chunks(runs) + deltas)
            self._count = self._count + 1 & 0xFF
            first = expected
        return bodies


def _add(runs: list[tuple[int, int]], symbol: int, count: int) -> None:
    if runs and runs[-1][0] == symbol:
        runs[-1] = (symbol, runs[-1][1] + count)
    else:
        runs.append((symbol, count))


def _chunks(runs: list[tuple[int, int]]) -> bytes:
    """Packet status chunks (§3.1.3, §3.1.4): each covers as many statuses as it can."""
    left = runs[::-1]
    written = bytearray()
    while left:
        symbol, count = left[-1]
        ahead = _ahead(left)
        two_bits = _LARGE in ahead
        if two_bits:
            ahead = ahead[:7]
        taken = len(ahead)
        if count >= taken:
            taken = min(count, RUN_MAX)
            chunk = symbol << 13 | taken
        elif two_bits:
            chunk = 0xC000 | sum(status << 12 - 2 * i for i, status in enumerate(ahead))
        else:
            chunk = 0x8000 | sum(status << 13 - i for i, status in enumerate(ahead))
        written += chunk.to_bytes(2, "big")
        while taken:
            symbol, count = left.pop()
            if count > taken:
                left.append((symbol, count - taken))
            taken -= min(count, taken)
    return bytes(written)


def _ahead(left: list[tuple[int, int]]) -> list[int]:
    """The next 14 statuses: what a vector chunk of one bit each would cover."""
    ahead: list[int] = []
    for symbol, count in reversed(left):
        ahead += [symbol] * min(count, 14 - len(ahead))
        if len(ahead) == 14:
            break
    return ahead
