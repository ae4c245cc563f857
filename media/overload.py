"""Whether this process has room for another viewer, judged from what it measures of itself. Pure.

Once a second its shell tells how long the event loop was at work, how late its timer was, what the
kernel dropped for want of buffer, and how many peers there are. Each figure has two marks: at
the upper one the process becomes busy, and it has room again only when all figures have stayed
below their lower marks for a while, so that it does not flutter. What is done about it is not
decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from media.api import BusyReason, Load

WINDOW_NS: Final = 1_000_000_000
"""A keyframe for a large room or a collection of garbage is over long before."""
CLEAR_WINDOWS: Final = 5
"""Below every lower mark for so long: viewers who were refused come back about now."""
DROPPED_MIN: Final = 20
"""Packets dropped in one window below which it was one burst and no state of affairs."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Busy from `upper` on, after `windows` in a row; below `lower` there is room."""

    upper: float
    lower: float
    windows: int


MARKS: Final[Mapping[BusyReason, Marks]] = {
    # The loop is one thread: what is left of its time is what a burst and a join may take. From
    # here on the delay of what is forwarded grows fast (`bench.ramp`). Three windows, because a
    # crowd that comes at once costs 3 ms each and is then served.
    BusyReason.CPU: Marks(upper=0.75, lower=0.65, windows=3),
    # The mean over a window. Browsers hold about 60 ms of sound ready; later is heard.
    BusyReason.LAG: Marks(upper=60_000_000, lower=20_000_000, windows=3),
    # Viewers lose packets already: one window is enough.
    BusyReason.DROPS: Marks(upper=0.001, lower=0.000_1, windows=1),
    # The last twentieth is kept for those who come back, and for the sound of private sessions.
    BusyReason.PEERS: Marks(upper=0.95, lower=0.90, windows=1),
}


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums since the start. `worked_ns` is what the event loop's thread computed, or waited for the
    thread that sends beside it; packets are datagrams."""

    worked_ns: int
    sent: int
    send_dropped: int
    received: int
    receive_dropped: int


class Overload:
    """The figures of the last window, and whether they mean busy."""

    __slots__ = (
        "_above",
        "_clear",
        "_lag_ns",
        "_lags",
        "_peers_max",
        "_since_ns",
        "_totals",
        "load",
    )

    def __init__(self, totals: Totals, *, peers_max: int, now_ns: int) -> None:
        self.load = Load()
        self._totals = totals
        self._peers_max = peers_max
        self._since_ns = now_ns
        self._lag_ns = self._lags = 0
        self._above = dict.fromkeys(MARKS, 0)  # windows in a row at or over the upper mark
        self._clear = 0  # windows in a row with everything below its lower mark

    def late(self, lag_ns: int) -> None:
        """The timer came so much after its time."""
        self._lag_ns += max(lag_ns, 0)
        self._lags += 1

    def due(self, now_ns: int) -> bool:
        """True when the window is over."""
        return now_ns - self._since_ns >= WINDOW_NS

    def judge(self, totals: Totals, peers: int, now_ns: int) -> bool:
        """End the window: True when the process became busy, or has room again."""
        figures = self._measure(totals, peers, now_ns)
        self._totals, self._since_ns = totals, now_ns
        self._lag_ns = self._lags = 0
        reached: BusyReason | None = None
        for reason, marks in MARKS.items():
            self._above[reason] = self._above[reason] + 1 if figures[reason] >= marks.upper else 0
            if reached is None and self._above[reason] >= marks.windows:
                reached = reason
        low = all(figures[reason] < marks.lower for reason, marks in MARKS.items())
        self._clear = self._clear + 1 if low else 0
        was, busy = self.load.busy, reached or self.load.busy
        if self._clear >= CLEAR_WINDOWS:
            busy = None
        self.load = Load(
            busy,
            worked_share=figures[BusyReason.CPU],
            lag_ns=int(figures[BusyReason.LAG]),
            dropped_share=figures[BusyReason.DROPS],
            peers_share=figures[BusyReason.PEERS],
        )
        return (was is None) is not (busy is None)

    def _measure(self, totals: Totals, peers: int, now_ns: int) -> dict[BusyReason, float]:
        elapsed_ns = max(now_ns - self._since_ns, 1)
        before = self._totals
        send_dropped = totals.send_dropped - before.send_dropped
        receive_dropped = totals.receive_dropped - before.receive_dropped
        return {
            BusyReason.CPU: (totals.worked_ns - before.worked_ns) / elapsed_ns,
            BusyReason.LAG: self._lag_ns / self._lags if self._lags else 0.0,
            BusyReason.DROPS: max(
                _dropped_share(send_dropped, totals.sent - before.sent),
                _dropped_share(receive_dropped, totals.received - before.received),
            ),
            BusyReason.PEERS: peers / self._peers_max if self._peers_max > 0 else 1.0,
        }


def _dropped_share(dropped: int, passed: int) -> float:
    return dropped / (dropped + passed) if dropped >= DROPPED_MIN else 0.0
