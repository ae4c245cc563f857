"""Which packets are asked for again, and which are sent again."""

from hypothesis import given
from hypothesis import strategies as st

from media import nack
from media.nack import LossTracker, ResendBudget

MS = 1_000_000


def tracker_after(*numbers: int, now_ns: int = 0) -> LossTracker:
    tracker = LossTracker()
    for number in numbers:
        tracker.arrived(number, now_ns)
    return tracker


def test_asks_for_a_gap_after_the_reorder_wait_and_across_the_wrap() -> None:
    tracker = tracker_after(65_534, 65_538)
    assert tracker.due(nack.REORDER_WAIT_NS - 1) == []
    assert tracker.due(nack.REORDER_WAIT_NS) == [65_535, 0, 1]
    assert tracker.due(nack.REORDER_WAIT_NS + 1) == []
    assert tracker.due(nack.REORDER_WAIT_NS + nack.RETRY_NS) == [65_535, 0, 1]


def test_stops_asking_for_what_arrived() -> None:
    tracker = tracker_after(1, 4)
    assert tracker.arrived(2, 0)
    assert not tracker.arrived(2, 0)
    assert tracker.due(nack.REORDER_WAIT_NS) == [3]


def test_gives_up_after_the_last_try() -> None:
    tracker = tracker_after(1, 3)
    times_ns = range(0, 10_000 * MS, 20 * MS)
    assert sum(len(tracker.due(now_ns)) for now_ns in times_ns) == nack.TRIES_MAX
    assert len(tracker) == 0


def test_a_gap_too_long_to_repair_wants_a_keyframe_instead() -> None:
    tracker = tracker_after(1, 2 + nack.MISSING_MAX)
    assert not tracker.overwhelmed
    tracker.arrived(5 + nack.MISSING_MAX, 0)
    assert tracker.overwhelmed
    assert tracker.due(10**12) == []


def test_packets_before_the_first_are_not_missing() -> None:
    assert tracker_after(100, 50).due(10**12) == []


@given(st.lists(st.integers(0, 900), unique=True, min_size=1, max_size=200))
def test_asks_for_exactly_what_lies_between_and_did_not_come(numbers: list[int]) -> None:
    tracker = LossTracker()
    tracker.arrived(0, 0)
    for number in numbers:
        tracker.arrived(number, 0)
    if not tracker.overwhelmed:
        expected = set(range(1, max(numbers))) - set(numbers)
        assert set(tracker.due(10**12)) == expected
    assert len(tracker) <= nack.MISSING_MAX


def allow(
    budget: ResendBudget, sequence: int, now_ns: int, sent_octets: int = 0, round_trip_ns: int = 0
) -> bool:
    return budget.allow(
        sequence, 1_000, now_ns, sent_octets=sent_octets, round_trip_ns=round_trip_ns
    )


def test_each_packet_is_sent_again_three_times_at_most_and_not_at_once() -> None:
    budget = ResendBudget()
    asked_ns = range(0, 2_000 * MS, 50 * MS)
    sent_ns = [now_ns for now_ns in asked_ns if allow(budget, 7, now_ns)]
    assert sent_ns == [0, 100 * MS, 200 * MS]


def test_a_long_round_trip_stretches_the_interval() -> None:
    budget = ResendBudget()
    assert allow(budget, 7, 0, round_trip_ns=300 * MS)
    assert not allow(budget, 7, 299 * MS, round_trip_ns=300 * MS)
    assert allow(budget, 7, 300 * MS, round_trip_ns=300 * MS)


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
