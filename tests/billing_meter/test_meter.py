"""The meter core: seconds from held media, deadlines from held units, and no second twice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_meter.meter import (
    CUT_GAP_NS,
    End,
    Exhausted,
    LedgerLost,
    LowBalance,
    Paused,
    Resumed,
    SessionMeter,
    SessionOrder,
    SpendLimit,
    Started,
)
from billing_meter.shares import SessionShares
from billing_meter.tariff import Component, Tariff

MS = 1_000_000
S = 1_000 * MS
PRIVATE, CAM, AUDIO = Component
RICH = 10**9


def meter_with(
    available: int = RICH,
    *,
    on: tuple[Component, ...] = (),
    limit: int | None = None,
    tariff: Tariff | None = None,
    started: bool = True,
) -> SessionMeter:
    """By default people were told already that media flows."""
    order = SessionOrder("s", "ann", "eve", tariff or Tariff(299, 100, 50), limit)
    meter = SessionMeter(order, SessionShares(60, 60, 60))
    meter.started = started
    for component in on:
        meter.switch(component, True, 0)
    grant(meter, available)
    return meter


def grant(meter: SessionMeter, available: int, *, extra_rate: int = 0) -> int:
    """Renew as the till does; returns what is left outside the hold."""
    total = available + meter.free_units
    plan = meter.plan(available, extra_rate=extra_rate)
    meter.granted(plan, total - plan.hold_units)
    return total - plan.hold_units


def run(meter: SessionMeter, seconds: int, start_ns: int = 0) -> int:
    """Media without a gap, a renewal each second; returns what is left outside the hold."""
    for second in range(seconds):
        begin = start_ns + second * S
        meter.absorb(PRIVATE, [(begin, begin + S)])
        grant(meter, meter.available_units)
    return meter.available_units


def test_125_seconds_at_2_99() -> None:
    meter = meter_with()
    left = run(meter, 125)
    meter.absorb(PRIVATE, [(125 * S, 125 * S + 999 * MS)])
    assert meter.charged_units == 37_375
    assert left + meter.free_units == RICH - 37_375
    assert meter.balance_units == RICH - 37_375


def test_30_seconds_with_10_of_cam2cam() -> None:
    meter = meter_with()
    left = run(meter, 12)
    left = grant(meter, left, extra_rate=100)
    meter.switch(CAM, True, 12 * S)
    for second in range(12, 22):
        meter.absorb(PRIVATE, [(second * S, (second + 1) * S)])
        meter.absorb(CAM, [(second * S, (second + 1) * S)])
        left = grant(meter, left)
    meter.switch(CAM, False, 22 * S)
    run(meter, 8, 22 * S)
    assert [(line.seconds, line.units) for line in meter.lines()] == [
        (30, 8_970),
        (10, 1_000),
        (0, 0),
    ]
    assert meter.charged_units == 9_970


def test_ten_cents_pay_two_seconds_and_two_units_stay() -> None:
    meter = meter_with(600, started=False)
    assert (meter.hold_units, meter.available_units) == (598, 2)
    assert meter.deadline_ns(0) == 2 * S
    meter.absorb(PRIVATE, [(0, 1_990 * MS)])
    assert meter.beat(1_999 * MS) == [Started(0)]
    assert not meter.over
    assert meter.beat(2 * S) == [Exhausted()]
    assert meter.over
    assert (meter.charged_units, meter.balance_units) == (598, 2)
    meter.absorb(PRIVATE, [(2 * S, 9 * S)])
    assert meter.charged_units == 598


def test_the_last_second_is_not_charged_when_media_stopped_before_the_cut() -> None:
    meter = meter_with(598)
    meter.absorb(PRIVATE, [(0, 2 * S - CUT_GAP_NS - 1)])
    events = meter.beat(2 * S)
    assert Exhausted() in events
    assert meter.charged_units == 299


def test_a_partial_second_is_never_charged() -> None:
    meter = meter_with()
    meter.absorb(PRIVATE, [(0, S - 1)])
    assert meter.charged_units == 0
    meter.absorb(PRIVATE, [(S - 1, S)])
    assert meter.charged_units == 299


def test_media_that_is_reported_twice_is_counted_once() -> None:
    meter = meter_with()
    meter.absorb(PRIVATE, [(0, 1_500 * MS)])
    meter.absorb(PRIVATE, [(500 * MS, 2_500 * MS), (0, 1_000 * MS), (2 * S, 2_600 * MS)])
    assert (meter.held_ms(PRIVATE), meter.charged_units) == (2_600, 598)


def test_pause_is_retroactive_to_the_last_packet_and_resumes() -> None:
    meter = meter_with(started=False)
    meter.absorb(PRIVATE, [(0, 2_500 * MS)])
    assert meter.beat(2_500 * MS + 1_499 * MS) == [Started(0)]
    assert meter.beat(2_500 * MS + 1_500 * MS) == [Paused(2_500 * MS)]
    assert (meter.charged_units, meter.held_ms(PRIVATE)) == (598, 2_500)
    assert meter.snapshot().paused
    before = meter.funded_ns()
    assert meter.deadline_ns(30 * S) == 30 * S + before
    meter.absorb(PRIVATE, [(30 * S, 30 * S + 500 * MS)])
    assert meter.beat(30 * S + 500 * MS) == [Resumed()]
    assert meter.charged_units == 897


def test_nothing_is_charged_before_the_first_packet_and_the_gate_moves_along() -> None:
    meter = meter_with(started=False)
    assert meter.beat(60 * S) == []
    assert meter.deadline_ns(60 * S) == 68 * S
    assert meter.snapshot().paused


def test_a_surcharge_counts_only_while_the_session_holds_media() -> None:
    meter = meter_with(on=(CAM,))
    meter.absorb(CAM, [(0, 5 * S)])
    assert meter.charged_units == 0
    meter.absorb(PRIVATE, [(S, 2 * S)])
    assert (meter.seconds(PRIVATE), meter.seconds(CAM)) == (1, 1)
    # Private media is lost from 2 s to 4 s: Cam2Cam is free meanwhile.
    meter.absorb(PRIVATE, [(4 * S, 5 * S)])
    assert (meter.seconds(PRIVATE), meter.seconds(CAM)) == (2, 2)
    assert meter.held_ms(CAM) == 2_000


def test_a_surcharge_reported_late_still_meets_earlier_spans() -> None:
    meter = meter_with(on=(CAM,))
    meter.absorb(PRIVATE, [(0, S)])
    meter.absorb(PRIVATE, [(3 * S, 4 * S)])
    meter.absorb(CAM, [(0, 4 * S)])
    assert meter.seconds(CAM) == 2


def test_surcharge_media_from_before_the_switch_is_free() -> None:
    meter = meter_with()
    meter.absorb(CAM, [(0, 2 * S)])
    meter.absorb(PRIVATE, [(0, 2 * S)])
    grant(meter, meter.available_units, extra_rate=100)
    meter.switch(CAM, True, 2 * S)
    meter.absorb(CAM, [(S, 3 * S)])
    meter.absorb(PRIVATE, [(2 * S, 3 * S)])
    assert (meter.seconds(PRIVATE), meter.seconds(CAM)) == (3, 1)


def test_a_free_surcharge_costs_nothing_and_blocks_nothing() -> None:
    meter = meter_with(598, on=(CAM,), tariff=Tariff(299, 0, 0))
    assert meter.deadline_ns(0) == 2 * S
    meter.absorb(PRIVATE, [(0, S)])
    meter.absorb(CAM, [(0, S)])
    assert (meter.charged_units, meter.seconds(CAM)) == (299, 1)


def test_the_deadline_is_where_a_second_begins_that_is_not_held() -> None:
    meter = meter_with(399 * 3, on=(CAM,))
    meter.absorb(PRIVATE, [(0, 1_300 * MS)])
    meter.absorb(CAM, [(800 * MS, 1_300 * MS)])
    # 1,197 − 299 for the first second. The running ones (299 + 100) are paid, 499 are left:
    # private's third begins at 2.0 s (299), Cam2Cam's second at 1.8 s (100), its third at 2.8 s
    # (100): 499. Private's fourth at 3.0 s is what cannot be paid.
    assert meter.charged_units == 299
    assert meter.deadline_ns(1_300 * MS) == 3 * S


def test_an_unpaid_second_stays_free_for_ever() -> None:
    meter = meter_with(598)
    meter.absorb(PRIVATE, [(0, 5 * S)])
    assert meter.charged_units == 598
    grant(meter, RICH)
    meter.absorb(PRIVATE, [(5 * S, 6 * S - 1)])
    assert meter.charged_units == 598
    meter.absorb(PRIVATE, [(6 * S - 1, 6 * S)])
    assert meter.charged_units == 897


def test_a_spend_limit_ends_the_session_by_its_name() -> None:
    meter = meter_with(limit=299 * 10 + 298)
    left = RICH - meter.hold_units
    for second in range(10):
        assert not meter.over
        meter.absorb(PRIVATE, [(second * S, (second + 1) * S)])
        left = grant(meter, left)
    assert meter.time_left_s() == 0
    assert SpendLimit(End.LIMIT_SESSION) in meter.beat(10 * S)
    assert meter.charged_units == 2_990


def test_without_a_new_grant_the_session_ends_as_ledger_lost() -> None:
    meter = meter_with(started=False)
    meter.absorb(PRIVATE, [(0, 8 * S)])
    assert meter.beat(8 * S) == [Started(0), LedgerLost()]
    assert meter.charged_units == 8 * 299


def test_warnings_come_once_each_and_again_after_a_top_up() -> None:
    meter = meter_with(299 * 182)
    left, seen = meter.available_units, []
    for second in range(181):
        meter.absorb(PRIVATE, [(second * S, (second + 1) * S)])
        left = grant(meter, left)
        if (warning := meter.warning()) is not None:
            seen.append(warning)
    assert seen == [LowBalance(180), LowBalance(60), LowBalance(30), LowBalance(10)]
    meter.funds_changed(left + 299 * 100)
    assert meter.warning() is None
    left = meter.available_units
    for second in range(181, 240):
        meter.absorb(PRIVATE, [(second * S, (second + 1) * S)])
        left = grant(meter, left)
        if (warning := meter.warning()) is not None:
            seen.append(warning)
    assert seen[4:] == [LowBalance(60)]


def test_a_small_balance_gets_one_warning_not_four() -> None:
    meter = meter_with(299 * 60)
    meter.absorb(PRIVATE, [(0, S)])
    assert meter.warning() == LowBalance(59)
    assert meter.warning() is None


spans = st.lists(
    st.tuples(st.integers(1, 4_000), st.integers(1, 4_000)), min_size=1, max_size=12
).map(
    lambda steps: [
        (end - length, end)
        for end, length in zip(
            itertools.accumulate(gap + length for gap, length in steps),
            (length for _, length in steps),
            strict=True,
        )
    ]
)


def _cut_up(intervals: list[tuple[int, int]], cuts: list[int]) -> list[list[tuple[int, int]]]:
    """The same media as reported by ticks at these instants (all in milliseconds)."""
    edges = sorted({*cuts, 10**6})
    ticks, last = [], -1
    for edge in edges:
        ticks.append(
            [(max(a, last) * MS, min(b, edge) * MS) for a, b in intervals if b > last and a < edge]
        )
        last = edge
    return ticks


@given(spans, spans, st.lists(st.integers(0, 60_000), max_size=30), st.booleans())
def test_any_tick_pattern_gives_the_same_total(private, cam, cuts, cam_first) -> None:
    once = meter_with(on=(CAM,))
    # One huge grant, so that only the counting is compared.
    once.hold_units = RICH
    once.absorb(PRIVATE, [(a * MS, b * MS) for a, b in private])
    once.absorb(CAM, [(a * MS, b * MS) for a, b in cam])
    ticked = meter_with(on=(CAM,))
    ticked.hold_units = RICH
    lanes = [(PRIVATE, _cut_up(private, cuts)), (CAM, _cut_up(cam, cuts))]
    if cam_first:
        lanes.reverse()
    for parts in zip(*(ticks for _, ticks in lanes), strict=True):
        for (component, _), part in zip(lanes, parts, strict=True):
            ticked.absorb(component, part)
    held_ms = sum(b - a for a, b in private)
    both_ms = sum(max(0, min(b, d) - max(a, c)) for a, b in private for c, d in cam)
    for meter in (once, ticked):
        assert meter.held_ms(PRIVATE) == held_ms
        assert meter.held_ms(CAM) == both_ms
        assert meter.charged_units == held_ms // 1_000 * 299 + both_ms // 1_000 * 100


@given(
    st.integers(0, 40_000),
    st.tuples(st.integers(99, 9_999), st.integers(0, 9_999), st.integers(0, 9_999)),
    st.lists(st.tuples(st.sampled_from(list(Component)), st.integers(1, 3_000)), max_size=40),
)
def test_what_is_charged_is_always_held(funds, rates, media) -> None:
    meter = meter_with(funds, on=(CAM, AUDIO), tariff=Tariff(*rates))
    left, now = funds - meter.hold_units, dict.fromkeys(Component, 0)
    for component, length_ms in media:
        begin = now[component]
        now[component] += length_ms * MS
        meter.absorb(component, [(begin, now[component])])
        assert 0 <= meter.charged_units <= meter.posted_units + meter.hold_units
        assert meter.funded_ns() >= 0
        left = grant(meter, left)
        assert left >= 0
        assert left + meter.free_units + meter.charged_units == funds


@given(
    st.integers(0, 30_000),
    st.tuples(st.integers(99, 999), st.integers(0, 999), st.integers(0, 999)),
    st.tuples(st.integers(0, 2_000), st.integers(0, 2_000)),
)
def test_media_up_to_the_deadline_is_paid_in_full_and_not_a_nanosecond_more(
    funds, rates, late
) -> None:
    """Flow exactly to the deadline: every second that began is held. One more is not."""
    meter = meter_with(funds, on=(CAM, AUDIO), tariff=Tariff(*rates))
    late_ns = {PRIVATE: 0, CAM: late[0] * MS, AUDIO: late[1] * MS}
    warm = min(meter.deadline_ns(0), 2_000 * MS)
    for component in Component:
        if late_ns[component] < warm:
            meter.absorb(component, [(late_ns[component], warm)])
    deadline = meter.deadline_ns(warm)
    for component in Component:
        meter.absorb(component, [(max(warm, late_ns[component]), max(warm, deadline))])
    assert meter.charged_units <= meter.posted_units + meter.hold_units
    begun = sum(-(-meter.held_ms(c) // 1_000) * meter.order.tariff.rate(c) for c in Component)
    assert begun <= meter.hold_units
    if late == (0, 0):
        # In step, the next whole second of the total rate is more than what is left.
        assert meter.free_units < sum(rates)


def test_the_expert_has_the_share_of_each_component_rounded_down_once() -> None:
    """Seconds that are counted several at once, one by one, and not at all beyond the hold."""
    order, shares = SessionOrder("s", "ann", "eve", Tariff(299, 101, 53)), SessionShares(57, 83, 31)
    meter = SessionMeter(order, shares)
    for component in (Component.CAM2CAM, Component.TWO_WAY_AUDIO):
        meter.switch(component, True, 0)
    grant(meter, 453 * 6)
    meter.started = True
    for begin, end in ((0, 3 * S + 1), (3 * S + 1, 4 * S + 1), (4 * S + 1, 20 * S)):
        for component in Component:
            meter.absorb(component, [(begin, end)])
        counted = sum(meter.seconds(component) for component in Component)
        assert counted == 3 * min(5, end // S)
        earned = shares.earned([meter.seconds(c) * order.tariff.rate(c) for c in Component])
        assert meter.earned_units == meter.snapshot().earned_units == earned
        assert meter.plan(0).earned_units == meter.final_plan().earned_units == earned


def test_snapshot_and_summary_say_the_same() -> None:
    meter = meter_with()
    run(meter, 10)
    snapshot = meter.snapshot()
    assert (snapshot.cost_units, snapshot.earned_units) == (2_990, 1_794)
    assert snapshot.time_left_s == (RICH - 2_990) // 299
    assert snapshot.lines == meter.lines()
    assert not snapshot.paused


@pytest.mark.parametrize("component", [CAM, AUDIO])
def test_switching_changes_the_rate_at_once(component: Component) -> None:
    meter = meter_with()
    assert meter.total_rate == 299
    meter.switch(component, True, 0)
    assert meter.total_rate == 299 + meter.order.tariff.rate(component)
    assert meter.gate_until_ns(component, 0) == meter.deadline_ns(0)
    meter.switch(component, False, 0)
    assert (meter.total_rate, meter.gate_until_ns(component, 0)) == (299, 0)


def test_nothing_is_charged_before_people_are_told() -> None:
    """They are connecting, which is free; the beat that tells them counts what was held."""
    meter = meter_with(started=False)
    meter.absorb(PRIVATE, [(0, 2_300 * MS)])
    grant(meter, meter.available_units)
    assert (meter.charged_units, meter.posted_units, meter.snapshot().cost_units) == (0, 0, 0)
    assert meter.snapshot().paused
    assert meter.used()[0] == (0, 2_300)
    assert meter.warning() is None
    before = meter.revision
    assert meter.beat(2_400 * MS) == [Started(0)]
    assert meter.charged_units == 2 * 299
    assert meter.used()[0] == (2, 2_300)
    assert meter.revision > before
    ended = meter_with(started=False)
    ended.absorb(PRIVATE, [(0, 5 * S)])
    ended.stop()
    assert ended.final_plan().posted_units == 0


@given(
    st.integers(0, 40_000),
    st.integers(0, 40_000),
    st.integers(449 * 2, 449 * 70),
)
def test_the_deadline_before_it_is_told_is_the_one_after(private_ms, cam_ms, funds) -> None:
    """What is held and not counted yet takes its part of the grant."""
    spans = [(PRIVATE, private_ms * MS), (CAM, min(cam_ms, private_ms) * MS)]
    untold, told = [
        meter_with(funds, on=(CAM,), tariff=Tariff(299, 150, 0), started=started)
        for started in (False, True)
    ]
    for meter in (untold, told):
        for component, length in spans:
            meter.absorb(component, [(0, length)])
    assert untold.funded_ns() == told.funded_ns() or untold.funded_ns() == 0
    now = private_ms * MS
    until = untold.funded_until_ns(now)
    untold.beat(now)
    assert untold.over or until <= untold.funded_until_ns(now)
