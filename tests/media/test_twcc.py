"""Transport-wide feedback: what was noted is what a reader of the draft reads back."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media import rtcp, twcc
from media.twcc import TransportFeedback
from tests.media.twcc_reader import read

MS = 1_000_000
TOLD_BYTES_MAX = 1_150
"""1,200 less an empty report, our header and SRTCP's trailer."""


def told(feedback: TransportFeedback, now_ns: int) -> dict[int, int | None]:
    """Ticks by 16-bit number of one round, the later word about a packet last."""
    found: dict[int, int | None] = {}
    for body in feedback.due(now_ns):
        base, _, arrivals = read(body)
        found |= {base + n & 0xFFFF: ticks for n, ticks in enumerate(arrivals)}
    return found


def test_tells_what_came_and_what_did_not() -> None:
    feedback = TransportFeedback()
    for number, at_ms in ((10, 1_000), (11, 1_001), (14, 1_100)):
        feedback.arrived(number, at_ms * MS)
    assert told(feedback, 1_100 * MS) == {10: 4_000, 11: 4_004, 12: None, 13: None, 14: 4_400}
    assert feedback.due(2_000 * MS) == []


def test_one_round_an_interval_and_each_begins_where_the_last_ended() -> None:
    feedback = TransportFeedback()
    feedback.arrived(65_534, 0)
    assert list(told(feedback, 0)) == [65_534]
    feedback.arrived(1, 1 * MS)
    assert feedback.due(twcc.INTERVAL_NS - 1) == []
    assert told(feedback, twcc.INTERVAL_NS) == {65_535: None, 0: None, 1: 4}


def test_a_late_packet_is_told_with_all_that_came_since() -> None:
    feedback = TransportFeedback()
    for number in (1, 2, 4, 5):
        feedback.arrived(number, number * MS)
    told(feedback, 0)
    feedback.arrived(6, 60 * MS)
    feedback.arrived(3, 61 * MS)
    assert told(feedback, 60 * MS) == {3: 244, 4: 16, 5: 20, 6: 240}
    feedback.arrived(3, 700 * MS)  # too late now, and a repetition
    assert feedback.due(700 * MS) == []


def test_what_is_older_than_the_history_is_left_out() -> None:
    feedback = TransportFeedback()
    feedback.arrived(1, 0)
    feedback.arrived(3, 0)
    told(feedback, 0)
    feedback.arrived(4, twcc.HISTORY_NS)
    told(feedback, twcc.HISTORY_NS)
    feedback.arrived(2, twcc.HISTORY_NS + MS)
    assert feedback.due(2 * twcc.HISTORY_NS) == []


def test_packets_are_counted_and_a_gap_of_seconds_begins_another() -> None:
    feedback = TransportFeedback()
    counts, now_ns = [], 0
    for number in range(300):
        now_ns += 9_000 * MS
        feedback.arrived(2 * number, now_ns - 8_999 * MS)
        feedback.arrived(2 * number + 1, now_ns)
        bodies = feedback.due(now_ns)
        assert [read(body)[:2] for body in bodies] == [(2 * number, 1), (2 * number + 1, 1)]
        counts += [body[7] for body in bodies]
    assert counts == [n & 0xFF for n in range(600)]


@pytest.mark.parametrize("step", [twcc.JUMP_MAX + 1, 0x7FFF, 0x8000, 0x8001, 40_000, -3_000])
def test_a_sender_that_leaps_is_told_of_its_last_leap_alone(step: int) -> None:
    feedback = TransportFeedback()
    for n in range(200):
        feedback.arrived(n * step & 0xFFFF, n * MS)
    [body] = feedback.due(200 * MS)
    assert read(body) == (199 * step & 0xFFFF, 1, [199 * 4])
    assert len(feedback._known) == 1


def test_a_flood_costs_a_bounded_number_of_bounded_packets() -> None:
    feedback = TransportFeedback()
    for n in range(5_000):
        feedback.arrived(n * 2_000 & 0xFFFF, n * 70 * MS)  # every one a gap and a large delta
    bodies = feedback.due(0)
    assert len(bodies) == twcc.PACKETS_PER_ROUND_MAX
    assert max(map(len, bodies)) <= TOLD_BYTES_MAX
    assert len(feedback._known) == twcc.PENDING_MAX
    feedback.arrived(0, 10**13)
    feedback.due(10**13)
    assert len(feedback._known) == 1


def test_the_costliest_arrivals_fit_one_datagram() -> None:
    """Every one behind a gap too long for a vector, and later than a small delta can say."""
    feedback = TransportFeedback()
    for n in range(1_000):
        feedback.arrived(n * 20 & 0xFFFF, n * 70 * MS)
    bodies = feedback.due(0)
    assert 1_000 < max(map(len, bodies)) <= TOLD_BYTES_MAX
    assert sum(ticks is not None for body in bodies for ticks in read(body)[2]) == 1_000


def test_the_packet_is_padded_and_its_reader_finds_the_body() -> None:
    for size in range(9, 13):
        body = bytes(range(size))
        packet = rtcp.build_transport_feedback(7, 8, body)
        assert packet[:4] == bytes((0xAF if size % 4 else 0x8F, 205, 0, len(packet) // 4 - 1))
        assert packet[4:12] == struct.pack("!II", 7, 8)
        assert packet[12:] == body + {9: b"\0\0\3", 10: b"\0\2", 11: b"\1", 12: b""}[size]


STEP = st.one_of(st.just(1), st.integers(-40, 60), st.integers(-0x8000, 0x8000))
PAUSE = st.one_of(st.integers(0, 8 * MS), st.integers(0, 200 * MS), st.integers(0, 12_000 * MS))


@given(
    st.integers(0, 0xFFFF),
    st.lists(st.tuples(STEP, PAUSE, st.booleans()), min_size=1, max_size=120),
)
@settings(max_examples=300)
def test_whatever_comes_nothing_false_is_told(
    start: int, steps: list[tuple[int, int, bool]]
) -> None:
    feedback = TransportFeedback()
    came: dict[int, set[int]] = {}
    number, now_ns = start, 10**9
    for step, pause_ns, asked in steps:
        number = number + step & 0xFFFF
        now_ns += pause_ns
        came.setdefault(number, set()).add(now_ns // twcc.TICK_NS)
        feedback.arrived(number, now_ns)
        if not asked:
            continue
        for body in feedback.due(now_ns):
            assert len(body) <= TOLD_BYTES_MAX
            base, count, arrivals = read(body)
            assert 0 < count <= 4 * twcc.JUMP_MAX
            assert arrivals[-1] is not None
            for n, ticks in enumerate(arrivals):
                assert ticks is None or ticks & 0xFFFFFFFF in came[base + n & 0xFFFF]


@given(
    st.integers(0, 0xFFFF),
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=200),
    st.randoms(use_true_random=False),
)
def test_every_packet_of_an_ordinary_path_is_told_as_it_was(
    start: int, fates: list[tuple[int, bool]], random: object
) -> None:
    """Lost, reordered by up to 30 ms, over the wrap: the sum of all rounds is the truth."""
    sent = [
        (n * 4 + delay_ms, start + n & 0xFFFF)
        for n, (delay_ms, lost) in enumerate(fates)
        if not lost or n == 0
    ]
    first_ms, first = sent[0]
    arrivals = sorted((max(at_ms, first_ms), number) for at_ms, number in sent)
    arrivals.remove((first_ms, first))
    feedback, heard = TransportFeedback(), {}
    for at_ms, number in [(first_ms, first), *arrivals]:
        feedback.arrived(number, at_ms * MS)
        heard |= told(feedback, at_ms * MS)
    heard |= told(feedback, 10**10)
    last = max((number - start & 0xFFFF for _, number in sent), default=0)
    truth: dict[int, int | None] = {start + n & 0xFFFF: None for n in range(last + 1)}
    truth |= {number: max(at_ms, first_ms) * 4 for at_ms, number in sent}
    assert heard == truth
