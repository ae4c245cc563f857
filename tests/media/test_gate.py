"""The gate: held intervals are what was forwarded, each reported once."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from media.gate import HOLD_WINDOW_NS, Gate

MS = 1_000_000


def gate_after(*times_ms: int) -> Gate:
    gate = Gate()
    for time_ms in times_ms:
        gate.note(time_ms * MS)
    return gate


def test_is_closed_when_new_and_after_zero() -> None:
    gate = Gate()
    assert gate.open_until_ns == 0
    gate.open_until(5)
    assert gate.open_until_ns == 5
    gate.open_until(0)
    assert gate.open_until_ns == 0


def test_nothing_forwarded_is_nothing_held() -> None:
    assert Gate().take_held(10**12) == []
    assert gate_after(1_000).take_held(10**12) == []


def test_packets_within_the_window_are_one_interval_and_later_ones_another() -> None:
    gate = gate_after(1_000, 2_500, 4_000, 5_501, 5_600)
    assert gate.first_forwarded_ns == 1_000 * MS
    assert gate.last_forwarded_ns == 5_600 * MS
    assert gate.take_held(6_000 * MS) == [(1_000 * MS, 4_000 * MS), (5_501 * MS, 5_600 * MS)]


def test_a_running_interval_is_reported_in_pieces_without_gap_or_overlap() -> None:
    gate = gate_after(0, 1_000)
    assert gate.take_held(1_000 * MS) == [(0, 1_000 * MS)]
    assert gate.take_held(1_100 * MS) == []
    gate.note(1_700 * MS)
    assert gate.take_held(1_700 * MS) == [(1_000 * MS, 1_700 * MS)]
    gate.note(9_000 * MS)
    gate.note(9_010 * MS)
    assert gate.take_held(9_010 * MS) == [(9_000 * MS, 9_010 * MS)]


@given(
    st.lists(st.integers(0, 4_000 * MS), min_size=1, max_size=60),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_pieces_add_up_to_the_same_held_time_however_often_they_are_taken(
    gaps_ns: list[int], takes: list[bool]
) -> None:
    whole, pieces = Gate(), Gate()
    taken: list[tuple[int, int]] = []
    now_ns = 0
    expected_ns = 0
    for index, (gap_ns, take) in enumerate(zip(gaps_ns, takes, strict=False)):
        now_ns += gap_ns
        whole.note(now_ns)
        pieces.note(now_ns)
        if index and gap_ns <= HOLD_WINDOW_NS:
            expected_ns += gap_ns
        if take:
            taken += pieces.take_held(now_ns)
    taken += pieces.take_held(now_ns)
    assert sum(end - start for start, end in taken) == expected_ns
    assert sum(end - start for start, end in whole.take_held(now_ns)) == expected_ns
    assert all(a_end <= b_start for (_, a_end), (b_start, _) in itertools.pairwise(taken))
