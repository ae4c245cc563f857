"""Loss as a viewer's reports tell it, over a second and not over each report. Pure.

RFC 3550 §6.4.1 gives a fraction since the report before. Browsers put a report in front of every
NACK, so that on a lossy path it speaks of ten packets: measured in Chromium at 5 % loss it said
0 to 50 %. The cumulative counts in the same block say how much was lost over any time.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from media.rtcp import ReportBlock

WINDOW_NS: Final = 1_000_000_000
"""Long enough for fifty packets of sound or a hundred of video, short enough to act upon."""
EXPECTED_MIN: Final = 25
"""Fewer packets say nothing: one of them is 4 %."""
KEPT_NS: Final = 6_000_000_000
"""Sound with pauses (DTX) has few packets, and browsers report it every five seconds."""
SPACING_NS: Final = 100_000_000
"""Reports that are kept lie at least this far apart, so that they are sixty at most."""


class ReportedLoss:
    """The loss of one stream towards one viewer."""

    __slots__ = ("_kept", "_told", "_told_ns")

    def __init__(self) -> None:
        self._told = 0.0
        self._told_ns: int | None = None
        self._kept: deque[tuple[int, int, int]] = deque()  # (when, lost, highest sequence)

    def report(self, block: ReportBlock, now_ns: int) -> float:
        """One more report: the share of packets lost lately, from 0 to 1."""
        kept, lost, highest = self._kept, block.packets_lost, block.highest_sequence
        while kept and now_ns - kept[0][0] > KEPT_NS:
            kept.popleft()
        since: tuple[int, int, int] | None = None
        for sample in reversed(kept):
            since = sample
            if now_ns - sample[0] >= WINDOW_NS and highest - sample[2] >= EXPECTED_MIN:
                break
        if not kept or now_ns - kept[-1][0] >= SPACING_NS:
            kept.append((now_ns, lost, highest))
        if since is not None and highest - since[2] >= EXPECTED_MIN:
            told = min(max((lost - since[1]) / (highest - since[2]), 0.0), 1.0)
        elif self._told_ns is None or now_ns - self._told_ns >= WINDOW_NS:
            told = block.fraction_lost / 256  # there is nothing better
        else:
            return self._told
        self._told, self._told_ns = told, now_ns
        return told
