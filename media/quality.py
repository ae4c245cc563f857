"""How good a connection is, in words, and how much a publisher may send. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from media.api import QualityLevel

LOSS_POOR: Final = 0.10
"""From 10 % on repairs come too late and pictures freeze."""
LOSS_FAIR: Final = 0.03
"""Below 3 % repairs hide the loss."""
ROUND_TRIP_POOR_MS: Final = 800
"""People start to talk over each other (ITU-T G.114 calls 400 ms one way unacceptable)."""
ROUND_TRIP_FAIR_MS: Final = 300
"""ITU-T G.114: 150 ms one way is not noticed."""
BANDWIDTH_POOR: Final = 0.7
"""A path that takes less than this share of the stream cannot follow it."""
SILENCE_POOR_MS: Final = 4_000
"""Browsers report every second; four missing reports are no coincidence."""

START_BPS: Final = 2_500_000
"""A good 720p picture; also the most that a publisher is asked for."""
FIRST_BPS: Final = 1_000_000
"""What a browser that estimates for itself begins with. Its own 300 kbit/s is below what libwebrtc
wants for 480 lines of VP9, which then begin with 240; the first probe corrects it either way."""
LAYERED_BPS: Final = 3_500_000
"""The same with the smaller layers of a simulcast beside it: browsers give those 0.2 and 0.7."""
FLOOR_BPS: Final = 150_000
"""Below this there is no picture worth sending; sound alone needs a third of it."""
LOSS_BACK_OFF: Final = 0.10
LOSS_GROW: Final = 0.02
GROWTH_PER_REPORT: Final = 1.08
"""The loss-based rule of Google congestion control (draft-ietf-rmcat-gcc-02 §6)."""


@dataclass(slots=True)
class Measured:
    """What is known of one direction; None where nothing was reported yet.

    `fraction_lost` from 0 to 1; `estimate_bps` is the receiver's REMB, `stream_bps` what is sent;
    `silent_ms` is the age of the last report (watching) or of the last packet (publishing).
    """

    fraction_lost: float | None
    round_trip_ms: float | None
    estimate_bps: int | None
    stream_bps: int
    silent_ms: int | None


def judge(measured: Measured) -> tuple[QualityLevel, str]:
    """The level and the reason behind it, the worst reason first."""
    if measured.silent_ms is None:
        return QualityLevel.UNKNOWN, "no_report"
    if measured.silent_ms >= SILENCE_POOR_MS:
        return QualityLevel.POOR, "silent"
    loss = measured.fraction_lost or 0.0
    round_trip_ms = measured.round_trip_ms or 0.0
    share = _bandwidth_share(measured)
    checks = (
        (QualityLevel.POOR, "loss", loss >= LOSS_POOR),
        (QualityLevel.POOR, "bandwidth", share < BANDWIDTH_POOR),
        (QualityLevel.POOR, "delay", round_trip_ms >= ROUND_TRIP_POOR_MS),
        (QualityLevel.FAIR, "loss", loss >= LOSS_FAIR),
        (QualityLevel.FAIR, "bandwidth", share < 1.0),
        (QualityLevel.FAIR, "delay", round_trip_ms >= ROUND_TRIP_FAIR_MS),
    )
    for level, reason, applies in checks:
        if applies:
            return level, reason
    if measured.fraction_lost is None and measured.estimate_bps is None:
        return QualityLevel.UNKNOWN, "no_report"
    return QualityLevel.GOOD, "ok"


def _bandwidth_share(measured: Measured) -> float:
    if measured.estimate_bps is None or measured.stream_bps <= 0:
        return 1.0
    return measured.estimate_bps / measured.stream_bps


class QualityTrend:
    """Turns judgements into changes worth telling: two alike in a row, worse or better."""

    __slots__ = ("_candidate", "told")

    def __init__(self) -> None:
        self.told: tuple[QualityLevel, str] = (QualityLevel.UNKNOWN, "no_report")
        self._candidate = self.told

    def update(self, judged: tuple[QualityLevel, str]) -> bool:
        """True when the level or its reason changed for good; `told` is then the new one."""
        settled = judged == self._candidate or self.told[0] is QualityLevel.UNKNOWN
        self._candidate = judged
        if not settled or judged == self.told:
            return False
        self.told = judged
        return True


def most_bps(layers: int) -> int:
    """What a publisher of so many layers of video is asked for at most."""
    return LAYERED_BPS if layers > 1 else START_BPS


def next_estimate_bps(
    current_bps: int, fraction_lost: float, incoming_bps: int, most_bps: int = START_BPS
) -> int:
    """The REMB for a publisher after one report interval.

    Starts at the maximum, so that a browser does not creep up; falls with loss from what really
    arrives, grows by 8 % a report when the path is clean.
    """
    if fraction_lost > LOSS_BACK_OFF:
        base = min(current_bps, max(incoming_bps, FLOOR_BPS))
        current_bps = int(base * (1 - 0.5 * fraction_lost))
    elif fraction_lost < LOSS_GROW:
        current_bps = int(current_bps * GROWTH_PER_REPORT)
    return max(FLOOR_BPS, min(current_bps, most_bps))
