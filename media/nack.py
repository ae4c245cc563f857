"""Lost packets: which to ask the publisher for again, and which to send a viewer again. Pure.

Both are bounded: what cannot be repaired in time is given up, and a viewer cannot make the server
send more than a fixed share on top of what it was sent anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

REORDER_WAIT_NS: Final = 10_000_000
"""A gap younger than this is more often reordering than loss (Janus waits 12 ms)."""
RETRY_UNKNOWN_NS: Final = 80_000_000
"""Time for a repair to arrive while the round trip is not known: one inside a continent."""
RETRY_MIN_NS: Final = 30_000_000
"""A publisher on the next desk still paces what it sends, and our timer ticks every 20 ms."""
RETRY_MAX_NS: Final = 400_000_000
"""On a longer path a second question may overtake the answer: better twice than late."""
TRIES_MAX: Final = 10
"""mediasoup's figure."""
GIVE_UP_NS: Final = 1_000_000_000
"""A picture that stands still this long needs a keyframe, however often it could still be asked."""
MISSING_MAX: Final = 512
"""More missing packets than this (1.5 s of video) are not worth repairing: a keyframe is."""
NOTICED_PER_S_MAX: Final = 1_500
"""Missing packets that are looked after in a second: three times what may be asked for again. Each
costs 0.3 µs, and a publisher who leaves out 500 between any two made a third of a core of it."""
SECOND_NS: Final = 1_000_000_000

RESENDS_MAX: Final = 5
"""Times that one packet is sent again to one viewer. With a fifth of all packets lost each way, one
in 16,000 is then still missing."""
RESEND_UNKNOWN_NS: Final = 80_000_000
"""A repair asked for again within a round trip is on its way; this while that is not known: less
than the 100 ms after which browsers that do not know it either ask again."""
RESEND_MIN_NS: Final = 10_000_000
"""The same NACK twice in one compound, or two in one batch."""
RESEND_MAX_NS: Final = 400_000_000
"""A viewer whose path is longer, or that says so, is answered again after this all the same."""
RESEND_SHARE_PERCENT: Final = 20
"""Repairs may cost this much of what the viewer was sent; beyond it the path is too narrow."""
RESEND_BURST_OCTETS: Final = 128 * 1024
"""Room for the first second, before there is anything to take a share of: one large keyframe."""
GAP_PACKETS_MIN: Final = 32
"""A third of a second of video; shorter gaps the budget repairs."""
GAP_PERCENT: Final = 90
"""A network that was away lost everything; one that is full lets packets through in between."""
RESEND_MEMORY: Final = 512
"""Packets whose repairs are remembered per viewer stream."""


def is_gap(sequences: Sequence[int]) -> bool:
    """True when the network was away: most of these 16-bit numbers follow one another."""
    if len(sequences) < GAP_PACKETS_MIN:
        return False
    following = sum(after - before & 0xFFFF == 1 for before, after in pairwise(sequences))
    return following * 100 >= len(sequences) * GAP_PERCENT


class Missing:
    """A packet that should have come."""

    __slots__ = ("asked_ns", "due_ns", "noticed_ns", "tries")

    def __init__(self, now_ns: int) -> None:
        self.noticed_ns = self.asked_ns = now_ns
        self.due_ns = now_ns + REORDER_WAIT_NS
        self.tries = 0


class LossTracker:
    """Gaps in one publisher stream, by unwrapped sequence number."""

    __slots__ = ("_highest", "_missing", "_noticed", "_second_ns", "given_up_ns")

    def __init__(self) -> None:
        self._highest: int | None = None
        self._missing: dict[int, Missing] = {}  # oldest first
        self._noticed = self._second_ns = 0  # how many since when
        self.given_up_ns: int | None = None
        """When the newest loss beyond repair was noticed; whoever sees to it resets it."""

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
                self.given_up_ns = now_ns
            elif self._too_many(lost, now_ns):
                self.given_up_ns = now_ns
            else:
                self._missing.update((n, Missing(now_ns)) for n in range(highest + 1, number))
        return False

    def _too_many(self, lost: int, now_ns: int) -> bool:
        if now_ns - self._second_ns >= SECOND_NS:
            self._second_ns, self._noticed = now_ns, 0
        self._noticed += lost
        return self._noticed > NOTICED_PER_S_MAX

    def repaired(self, number: int, now_ns: int) -> int | None:
        """A packet came again: how long after it was asked for, None when it was not missing.

        -1 when it was asked for more than once or not at all: nobody knows then which question
        this answers (Karn's rule).
        """
        missing = self._missing.pop(number, None)
        if missing is None:
            return None
        return now_ns - missing.asked_ns if missing.tries == 1 else -1

    def due(self, now_ns: int, retry_ns: int, at_most: int) -> list[int]:
        """At most so many 16-bit sequence numbers to ask for now, oldest first.

        `retry_ns` after a question without an answer the next one is due.
        """
        asked: list[int] = []
        for number, missing in list(self._missing.items()):
            due, old = missing.due_ns <= now_ns, now_ns - missing.noticed_ns >= GIVE_UP_NS
            if not due and not old:
                continue
            if missing.tries >= TRIES_MAX or old:
                del self._missing[number]
                self.given_up_ns = max(self.given_up_ns or 0, missing.noticed_ns)
                continue
            if len(asked) >= at_most:
                break
            missing.asked_ns = now_ns
            missing.due_ns = now_ns + retry_ns
            missing.tries += 1
            asked.append(number & 0xFFFF)
        return asked

    def forget(self) -> None:
        """Nothing that is missing is wanted any more."""
        self._missing.clear()


class ResendBudget:
    """What one viewer stream may still be sent again."""

    __slots__ = ("_octets", "_resent", "_seen_octets", "beyond_repair")

    def __init__(self) -> None:
        self.beyond_repair = False
        """The last refusal was not one for now: a later question will hardly be answered either."""
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
        wait_ns = min(max(round_trip_ns or RESEND_UNKNOWN_NS, RESEND_MIN_NS), RESEND_MAX_NS)
        self.beyond_repair = False
        if times and now_ns - last_ns < wait_ns:
            return False
        if times >= RESENDS_MAX:
            self.beyond_repair = True
            return False
        earned = (sent_octets - self._seen_octets) * RESEND_SHARE_PERCENT // 100
        if earned > 0:
            self._octets = min(self._octets + earned, RESEND_BURST_OCTETS)
            self._seen_octets = sent_octets
        if size > self._octets:
            self.beyond_repair = True
            return False
        self._octets -= size
        self._resent.pop(sequence, None)
        self._resent[sequence] = (times + 1, now_ns)
        if len(self._resent) > RESEND_MEMORY:
            del self._resent[next(iter(self._resent))]
        return True
