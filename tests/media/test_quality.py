"""Words for numbers: the quality table, its calm, and the publisher's estimate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.api import QualityLevel
from media.quality import (
    FLOOR_BPS,
    START_BPS,
    Measured,
    QualityTrend,
    judge,
    next_estimate_bps,
)

GOOD, FAIR, POOR = QualityLevel.GOOD, QualityLevel.FAIR, QualityLevel.POOR
UNKNOWN = QualityLevel.UNKNOWN


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (Measured(0.0, 20.0, 2_000_000, 1_500_000, 100), (GOOD, "ok")),
        (Measured(None, None, 2_000_000, 1_500_000, 100), (GOOD, "ok")),
        (Measured(0.0, None, None, 1_500_000, 100), (GOOD, "ok")),
        (Measured(0.03, 20.0, None, 1_500_000, 100), (FAIR, "loss")),
        (Measured(0.10, 20.0, None, 1_500_000, 100), (POOR, "loss")),
        (Measured(0.0, 300.0, None, 0, 100), (FAIR, "delay")),
        (Measured(0.0, 800.0, None, 0, 100), (POOR, "delay")),
        (Measured(0.0, 20.0, 1_499_999, 1_500_000, 100), (FAIR, "bandwidth")),
        (Measured(0.0, 20.0, 1_000_000, 1_500_000, 100), (POOR, "bandwidth")),
        (Measured(0.05, 900.0, 2_000_000, 1_500_000, 100), (POOR, "delay")),
        (Measured(0.2, 900.0, 1_000, 1_500_000, 4_000), (POOR, "silent")),
        (Measured(None, None, None, 0, None), (UNKNOWN, "no_report")),
        (Measured(None, None, None, 0, 10), (UNKNOWN, "no_report")),
    ],
)
def test_judges_by_the_worst(measured: Measured, expected: tuple[QualityLevel, str]) -> None:
    assert judge(measured) == expected


def test_one_bad_second_is_not_told_and_the_first_judgement_is() -> None:
    trend = QualityTrend()
    ok, bad = (GOOD, "ok"), (POOR, "loss")
    changes = [trend.update(judged) for judged in (ok, ok, bad, ok, bad, bad, bad, ok, ok)]
    assert changes == [True, False, False, False, False, True, False, False, True]


def test_the_estimate_falls_with_loss_and_climbs_back() -> None:
    falling = next_estimate_bps(START_BPS, 0.2, 1_000_000)
    assert falling == 900_000
    assert next_estimate_bps(falling, 0.05, 1_000_000) == falling
    climbing = falling
    for _ in range(14):
        climbing = next_estimate_bps(climbing, 0.0, 1_000_000)
    assert climbing == START_BPS


@given(st.integers(0, 10**8), st.floats(0, 1), st.integers(0, 10**8))
def test_the_estimate_stays_within_its_bounds(
    current_bps: int, fraction_lost: float, incoming_bps: int
) -> None:
    assert FLOOR_BPS <= next_estimate_bps(current_bps, fraction_lost, incoming_bps) <= START_BPS
