"""Loss over a second, however often and however wildly a receiver reports."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.reported_loss import KEPT_NS, SPACING_NS, ReportedLoss
from media.rtcp import ReportBlock

MS = 1_000_000


def block(lost: int, highest: int, fraction: int = 0) -> ReportBlock:
    return ReportBlock(1, fraction, lost, highest, 0, 0, 0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("every", [3, 40, 150])
def test_what_is_told_does_not_depend_on_how_often(share: float, every: int) -> None:
    """150 packets a second for ten seconds; each report covers so many of them."""
    numbers, loss, lost, before, told = random.Random(1), ReportedLoss(), 0, 0, []
    for n in range(1, 1_501):
        lost += numbers.random() < share
        if n % every:
            continue
        fraction = (lost - before) * 256 // every
        before = lost
        told.append(loss.report(block(lost, 70_000 + n, fraction), n * 1_000 * MS // 150))
    settled = told[len(told) // 5 :]
    four_deviations = 4 * (share * (1 - share) / 150) ** 0.5
    assert all(abs(one - share) <= four_deviations for one in settled)
    assert abs(sum(settled) / len(settled) - share) < 0.03


def test_a_path_that_breaks_is_known_within_a_second_and_forgiven_as_fast() -> None:
    loss, lost, told = ReportedLoss(), 0, {}
    for n in range(1, 50):
        lost += 40 if 20 <= n < 30 else 0
        told[n] = loss.report(block(lost, 100 * n), n * 250 * MS)
    assert told[19] == 0
    assert told[23] == pytest.approx(0.4)
    assert told[33] == 0


def test_the_first_report_is_all_there_is() -> None:
    assert ReportedLoss().report(block(50, 100, fraction=64), 0) == 0.25


def test_a_pause_in_the_stream_is_no_loss() -> None:
    """Sound with DTX: two packets a second, reported every five seconds; one of them lost."""
    loss = ReportedLoss()
    loss.report(block(0, 500), 0)
    assert loss.report(block(1, 510, fraction=0), 5_000 * MS) == 0
    assert loss.report(block(11, 760), 10_000 * MS) == pytest.approx(0.04)


def test_a_handful_of_packets_changes_nothing() -> None:
    loss = ReportedLoss()
    loss.report(block(5, 500, fraction=3), 0)
    assert loss.report(block(15, 520, fraction=128), 150 * MS) == 3 / 256
    assert loss.report(block(15, 530, fraction=0), 230 * MS) == pytest.approx(1 / 3)


@given(
    st.lists(
        st.tuples(
            st.integers(-0x800000, 0x7FFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 255),
            st.integers(0, 8_000 * MS),
        ),
        max_size=60,
    )
)
def test_whatever_a_viewer_claims_it_is_a_share_and_little_is_kept(
    reports: list[tuple[int, int, int, int]],
) -> None:
    loss, now_ns = ReportedLoss(), 0
    for lost, highest, fraction, pause_ns in reports:
        now_ns += pause_ns
        assert 0.0 <= loss.report(block(lost, highest, fraction), now_ns) <= 1.0
    assert len(loss._kept) <= KEPT_NS // SPACING_NS + 1
