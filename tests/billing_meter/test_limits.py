"""Spend limits, pure: windows to the second, raises that wait, breaks, and what is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_meter.ledger import Draw, Entry
from billing_meter.limits import (
    HOUR_MS,
    RAISE_WAITS_MS,
    WINDOWS,
    Limit,
    Limits,
    Span,
    Window,
    counted_units,
    spends,
    window_end_ms,
    window_start_ms,
)
from billing_meter.meter import UNLIMITED, End, Leeway

DAY_MS = 24 * HOUR_MS
OSLO = ZoneInfo("Europe/Oslo")
HAVANA = ZoneInfo("America/Havana")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("span", "zone", "at", "start", "end"),
    [
        (Span.DAY, UTC, "2026-03-01T23:59:59.999Z", "2026-03-01T00:00Z", "2026-03-02T00:00Z"),
        (Span.DAY, UTC, "2026-03-02T00:00:00Z", "2026-03-02T00:00Z", "2026-03-03T00:00Z"),
        (Span.DAY, OSLO, "2026-01-01T22:59:59Z", "2025-12-31T23:00Z", "2026-01-01T23:00Z"),
        (Span.DAY, OSLO, "2026-01-01T23:00:00Z", "2026-01-01T23:00Z", "2026-01-02T23:00Z"),
        # The clocks go forward: 23 hours; and back: 25.
        (Span.DAY, OSLO, "2026-03-29T12:00:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        (Span.DAY, OSLO, "2026-10-25T12:00:00Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        # Havana's clocks skip midnight: the day begins when they do.
        (Span.DAY, HAVANA, "2026-03-08T12:00:00Z", "2026-03-08T05:00Z", "2026-03-09T04:00Z"),
        (Span.DAY, HAVANA, "2026-03-08T04:59:59Z", "2026-03-07T05:00Z", "2026-03-08T05:00Z"),
        # Weeks begin on Monday.
        (Span.WEEK, UTC, "2026-11-22T23:59:59Z", "2026-11-16T00:00Z", "2026-11-23T00:00Z"),
        (Span.WEEK, UTC, "2026-11-23T00:00:00Z", "2026-11-23T00:00Z", "2026-11-30T00:00Z"),
        (Span.WEEK, OSLO, "2026-10-25T22:59:59Z", "2026-10-18T22:00Z", "2026-10-25T23:00Z"),
        (Span.MONTH, UTC, "2024-02-29T23:59:59Z", "2024-02-01T00:00Z", "2024-03-01T00:00Z"),
        (Span.MONTH, UTC, "2026-12-31T23:59:59Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        (Span.MONTH, OSLO, "2026-03-31T21:59:59Z", "2026-02-28T23:00Z", "2026-03-31T22:00Z"),
        (Span.MONTH, OSLO, "2026-03-31T22:00:00Z", "2026-03-31T22:00Z", "2026-04-30T22:00Z"),
    ],
)
def test_windows_to_the_second(span, zone, at, start, end) -> None:
    assert window_start_ms(span, ms(at), zone) == ms(start)
    assert window_end_ms(span, ms(at), zone) == ms(end)


EAST = timezone(timedelta(hours=14))
ZONES = st.sampled_from([UTC, OSLO, HAVANA, ZoneInfo("Asia/Kathmandu"), EAST])
INSTANTS = st.integers(ms("2020-01-01T00:00Z"), ms("2040-01-01T00:00Z"))


@given(st.sampled_from(WINDOWS), INSTANTS, ZONES)
def test_windows_tile_time_without_gap_or_overlap(span, at_ms, zone) -> None:
    start, end = window_start_ms(span, at_ms, zone), window_end_ms(span, at_ms, zone)
    assert start <= at_ms < end
    assert window_start_ms(span, end - 1, zone) == start
    assert window_start_ms(span, end, zone) == end


def test_lowering_counts_at_once_and_raising_after_24_hours() -> None:
    limit = Limit().wanted(100, 0)
    assert limit == Limit(100)
    assert limit.wanted(40, 5) == Limit(40)
    raised = Limit(40).wanted(90, 1_000)
    assert raised == Limit(40, 90, 1_000 + RAISE_WAITS_MS)
    assert raised.at(1_000 + RAISE_WAITS_MS - 1).units == 40
    assert raised.at(1_000 + RAISE_WAITS_MS) == Limit(90)


def test_removing_waits_like_a_raise() -> None:
    removed = Limit(40).wanted(None, 0)
    assert removed == Limit(40, None, RAISE_WAITS_MS)
    assert removed.at(RAISE_WAITS_MS - 1).units == 40
    assert removed.at(RAISE_WAITS_MS) == Limit()


def test_asking_again_does_not_wait_longer_and_another_wish_begins_anew() -> None:
    raised = Limit(40).wanted(90, 0)
    assert raised.wanted(90, DAY_MS // 2) == raised
    assert raised.wanted(80, 7).next_at_ms == 7 + RAISE_WAITS_MS
    assert raised.wanted(None, 7) == Limit(40, None, 7 + RAISE_WAITS_MS)
    assert raised.wanted(40, 7) == Limit(40), "the present value takes the raise back"
    assert raised.wanted(10, 7) == Limit(10), "lowering takes it back too"
    assert raised.wanted(95, RAISE_WAITS_MS + 1) == Limit(90, 95, 2 * RAISE_WAITS_MS + 1)


@given(st.lists(st.tuples(st.none() | st.integers(0, 50), st.integers(0, 3 * DAY_MS)), max_size=12))
def test_no_sequence_of_wishes_raises_a_limit_sooner_than_a_day_after_asking(wishes) -> None:
    limit, now_ms = Limit(25), 0
    asked: list[tuple[int | None, int]] = []
    for units, after_ms in wishes:
        before = limit.at(now_ms).units
        now_ms += after_ms
        present = limit.at(now_ms).units
        loosened = before is not None and (present is None or present > before)
        if loosened:
            assert any(u == present and now_ms - at >= RAISE_WAITS_MS for u, at in asked)
        limit = limit.wanted(units, now_ms)
        after = limit.at(now_ms).units
        assert present is None or (after is not None and after <= present)
        asked.append((units, now_ms))


def limits_of(
    limits: dict[Span, int], counted: int = 0, *, start: str = "2026-05-20T00:00Z"
) -> Limits:
    at_ms = ms(start)
    return Limits(
        "UTC",
        {span: Limit(limits.get(span)) for span in Span},
        {span: Window(window_start_ms(span, at_ms, UTC), counted, 1) for span in WINDOWS},
    )


def test_leeway_is_the_tightest_window_and_names_the_longer_of_two() -> None:
    assert limits_of({}).leeway == UNLIMITED
    assert limits_of({Span.DAY: 50, Span.MONTH: 90}, 20).leeway == Leeway(30, End.LIMIT_DAY)
    assert limits_of({Span.DAY: 50, Span.MONTH: 40}, 20).leeway == Leeway(20, End.LIMIT_MONTH)
    assert limits_of({Span.DAY: 50, Span.WEEK: 50}).leeway == Leeway(50, End.LIMIT_WEEK)
    assert limits_of({Span.DAY: 50}, 70).leeway == Leeway(-20, End.LIMIT_DAY)
    assert limits_of({Span.SESSION: 7}).leeway == Leeway(None, End.FUNDS, 7)


def test_counting_stops_at_the_limit_and_giving_back_never_does() -> None:
    limits = limits_of({Span.DAY: 50}, 20)
    assert limits.counting(31) is None
    full = limits.counting(30)
    assert full is not None
    assert full.leeway.units == 0
    assert full.counting(1) is None
    assert full.counting(0) == full
    lowered = limits_of({Span.DAY: 10}, 20).counting(-5)
    assert lowered is not None
    assert {window.counted_units for window in lowered.windows.values()} == {15}


def test_a_break_leaves_nothing_and_ends_by_itself() -> None:
    until = ms("2026-05-21T12:00Z")
    broken = Limits("UTC", {s: Limit() for s in Span}, limits_of({}).windows, until)
    before = broken.at(until - 1, UTC, 0, 9)
    assert before.leeway == Leeway(0, End.ON_BREAK)
    assert before.counting(1) is None
    assert before.counting(-1) is not None
    assert broken.at(until, UTC, 0, 9).leeway == UNLIMITED


def test_a_new_window_begins_with_what_is_held_and_a_backward_step_gives_nothing() -> None:
    limits = limits_of({Span.DAY: 50, Span.WEEK: 100}, 45)
    same = limits.at(ms("2026-05-20T23:59:59.999Z"), UTC, 8, 77)
    assert same.windows == limits.windows
    new = limits.at(ms("2026-05-21T00:00:00Z"), UTC, 8, 77)
    assert new.windows[Span.DAY] == Window(ms("2026-05-21T00:00Z"), 8, 77)
    assert new.windows[Span.WEEK] == limits.windows[Span.WEEK]
    full = new.counting(42)
    assert full is not None
    back = full.at(ms("2026-05-20T10:00Z"), UTC, 0, 99)
    assert back.windows == full.windows
    assert back.leeway == Leeway(0, End.LIMIT_DAY)


def entry(**postings: int) -> Entry:
    names = {
        "revenue": "platform:revenue",
        "gateway": "platform:gateway_clearing",
        "promo_cost": "platform:promo_cost",
    }
    named = {names.get(name, f"member:ann:{name}"): units for name, units in postings.items()}
    assert sum(named.values()) == 0
    return Entry("k", "h", "kind", named, 0, Draw(), member_id="ann")


@pytest.mark.parametrize(
    ("moved", "counted", "concerns"),
    [
        (entry(promo=-30, paid=-70, revenue=100), 100, True),
        (entry(paid=-50, held=50), 50, True),
        (entry(paid=50, held=-50), -50, True),
        (entry(paid=-20, held=5, revenue=15), 20, True),
        (entry(held=-30, revenue=30), 0, True),
        (entry(promo=10, held=-30, revenue=20), -10, True),
        (entry(paid=500, gateway=-500), 0, False),
        (entry(promo=500, promo_cost=-500), 0, False),
        (entry(promo=-500, promo_cost=500), 0, False),
        # A refund of spending gives no room; money back to the card takes none.
        (entry(paid=100, revenue=-100), 0, False),
        (entry(paid=-100, gateway=100), 0, False),
        (entry(paid=-60, debt=-40, gateway=100), 0, False),
        (entry(paid=-40, debt=40), 0, False),
    ],
)
def test_what_counts_is_what_leaves_the_buckets_for_spending(
    moved: Entry, counted: int, concerns: bool
) -> None:
    assert counted_units(moved) == counted
    assert spends(moved) is concerns
