"""Which packets are asked for again, and which are sent again."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media import nack
from media.nack import LossTracker, ResendBudget, is_gap

MS = 1_000_000


RETRY_NS = 100 * MS
ALL = 10_000


def tracker_after(*numbers: int, now_ns: int = 0) -> LossTracker:
    tracker = LossTracker()
    for number in numbers:
        tracker.arrived(number, now_ns)
    return tracker


def due(tracker: LossTracker, now_ns: int, at_most: int = ALL) -> list[int]:
    return tracker.due(now_ns, RETRY_NS, at_most)


def test_asks_for_a_gap_after_the_reorder_wait_and_across_the_wrap() -> None:
    tracker = tracker_after(65_534, 65_538)
    assert due(tracker, nack.REORDER_WAIT_NS - 1) == []
    assert due(tracker, nack.REORDER_WAIT_NS) == [65_535, 0, 1]
    assert due(tracker, nack.REORDER_WAIT_NS + RETRY_NS - 1) == []
    assert due(tracker, nack.REORDER_WAIT_NS + RETRY_NS) == [65_535, 0, 1]


def test_leaps_without_end_are_looked_after_at_a_bounded_rate() -> None:
    tracker, noticed = LossTracker(), 0
    for number in range(0, 100 * 400, 100):  # a leap every 10 ms
        now_ns = number // 100 * 10 * MS
        before = len(tracker)
        tracker.arrived(number, now_ns)
        noticed += max(len(tracker) - before, 0)
        tracker.due(now_ns, RETRY_NS, ALL)
    assert tracker.given_up_ns == 3_990 * MS
    assert 2 * nack.NOTICED_PER_S_MAX < noticed <= 4 * nack.NOTICED_PER_S_MAX
    tracker.arrived(number + 2, 5_000 * MS)
    assert (number + 1) & 0xFFFF in due(tracker, 5_000 * MS + nack.REORDER_WAIT_NS)


def test_stops_asking_for_what_arrived() -> None:
    tracker = tracker_after(1, 4)
    assert tracker.arrived(2, 0)
    assert not tracker.arrived(2, 0)
    assert due(tracker, nack.REORDER_WAIT_NS) == [3]


def test_says_how_long_a_repair_took_when_that_can_be_known() -> None:
    tracker = tracker_after(1, 6)
    assert tracker.repaired(2, 5 * MS) == -1  # nobody asked
    assert due(tracker, 20 * MS) == [3, 4, 5]
    assert tracker.repaired(3, 70 * MS) == 50 * MS
    assert tracker.repaired(3, 71 * MS) is None
    assert tracker.repaired(9, 71 * MS) is None
    assert due(tracker, 120 * MS) == [4, 5]
    assert tracker.repaired(4, 125 * MS) == -1  # which of the two questions does it answer?


def test_gives_up_after_the_last_try_and_says_since_when_it_was_missing() -> None:
    tracker = tracker_after(1, 3, now_ns=7)
    asked = [now_ns for now_ns in range(0, 990 * MS, MS) if tracker.due(now_ns, 20 * MS, ALL)]
    assert len(asked) == nack.TRIES_MAX
    assert len(tracker) == 0
    assert tracker.given_up_ns == 7


def test_gives_up_what_was_missing_for_too_long() -> None:
    tracker = tracker_after(1, 3, now_ns=7)
    tracker.arrived(5, 100 * MS)
    for now_ns in range(0, nack.GIVE_UP_NS, 20 * MS):
        tracker.due(now_ns, 400 * MS, ALL)
    assert tracker.given_up_ns is None
    due(tracker, 7 + nack.GIVE_UP_NS)
    assert (len(tracker), tracker.given_up_ns) == (1, 7)
    due(tracker, 100 * MS + nack.GIVE_UP_NS)
    assert (len(tracker), tracker.given_up_ns) == (0, 100 * MS)


def test_what_may_not_be_asked_now_is_asked_later() -> None:
    tracker = tracker_after(0, 6)
    assert due(tracker, 10 * MS, 2) == [1, 2]
    assert due(tracker, 11 * MS, 0) == []
    assert due(tracker, 12 * MS, 2) == [3, 4]
    assert due(tracker, 13 * MS, 2) == [5]


def test_a_gap_too_long_to_repair_is_given_up_at_once() -> None:
    tracker = tracker_after(1, 2 + nack.MISSING_MAX)
    assert tracker.given_up_ns is None
    tracker.arrived(5 + nack.MISSING_MAX, 9)
    assert tracker.given_up_ns == 9
    assert due(tracker, 10**12) == []


def test_packets_before_the_first_are_not_missing() -> None:
    assert due(tracker_after(100, 50), 10**12) == []


@given(st.lists(st.integers(0, 900), unique=True, min_size=1, max_size=200))
def test_asks_for_exactly_what_lies_between_and_did_not_come(numbers: list[int]) -> None:
    tracker = tracker_after(0, *numbers)
    if tracker.given_up_ns is None:
        expected = set(range(1, max(numbers))) - set(numbers)
        assert set(due(tracker, 500 * MS)) == expected
    assert len(tracker) <= nack.MISSING_MAX


def allow(
    budget: ResendBudget, sequence: int, now_ns: int, sent_octets: int = 0, round_trip_ns: int = 0
) -> bool:
    return budget.allow(
        sequence, 1_000, now_ns, sent_octets=sent_octets, round_trip_ns=round_trip_ns
    )


def test_each_packet_is_sent_again_a_few_times_and_not_at_once() -> None:
    budget = ResendBudget()
    asked_ns = range(0, 2_000 * MS, 20 * MS)
    sent_ns = [now_ns for now_ns in asked_ns if allow(budget, 7, now_ns)]
    assert sent_ns == [n * nack.RESEND_UNKNOWN_NS for n in range(nack.RESENDS_MAX)]


@pytest.mark.parametrize(
    ("round_trip_ms", "wait_ms"),
    [(1, nack.RESEND_MIN_NS // MS), (25, 25), (300, 300), (9_000, nack.RESEND_MAX_NS // MS)],
)
def test_a_repair_that_was_lost_is_sent_again_after_a_round_trip(
    round_trip_ms: int, wait_ms: int
) -> None:
    budget = ResendBudget()
    assert allow(budget, 7, 0, round_trip_ns=round_trip_ms * MS)
    assert not allow(budget, 7, wait_ms * MS - 1, round_trip_ns=round_trip_ms * MS)
    assert allow(budget, 7, wait_ms * MS, round_trip_ns=round_trip_ms * MS)


@pytest.mark.parametrize(
    ("sequences", "gap"),
    [
        (range(100, 140), True),
        ([n & 0xFFFF for n in range(65_500, 65_560)], True),
        ([*range(100, 160), 170, 190], True),
        (range(100, 120), False),  # the budget repairs these
        (range(100, 200, 2), False),
        ([n for n in range(300) if n % 3], False),  # a third comes through
        ((), False),
    ],
)
def test_a_gap_is_where_everything_was_lost(sequences: Sequence[int], gap: bool) -> None:
    assert is_gap(list(sequences)) is gap


def test_asking_for_everything_gets_a_share_of_what_was_sent() -> None:
    budget = ResendBudget()
    resent = sum(1_000 * allow(budget, n, n * MS, sent_octets=n * 1_000) for n in range(10_000))
    assert resent <= 10_000_000 * nack.RESEND_SHARE_PERCENT // 100 + nack.RESEND_BURST_OCTETS
    assert resent >= 1_900_000


def test_memory_is_bounded() -> None:
    budget = ResendBudget()
    for sequence in range(5_000):
        allow(budget, sequence, 0, sent_octets=sequence * 10_000)
    assert len(budget._resent) <= nack.RESEND_MEMORY
