"""Earnings by day, week and month, and line by line, always equal to the account."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from billing_meter import earning_periods, earnings, ledger, schema
from billing_meter.earning_periods import DAY_MS, DAYS_MAX, PERIODS, chosen, last_of, start_of
from billing_meter.ledger import Debit, Posted, Reverse
from billing_meter.meter import SessionOrder
from billing_meter.payouts import Payouts
from billing_meter.refunds import Refunds
from billing_meter.shares import Shares
from billing_meter.tariff import Tariff

DAYS = st.dates(dt.date(1970, 1, 5), dt.date(9998, 1, 1))


@given(DAYS, st.sampled_from(PERIODS))
def test_every_day_is_in_one_period_and_periods_follow_each_other(day, period) -> None:
    first = start_of(period, day)
    last = last_of(period, first)
    assert first <= day <= last
    assert start_of(period, first) == start_of(period, last) == first
    assert start_of(period, last + dt.timedelta(days=1)) == last + dt.timedelta(days=1)
    assert earning_periods.day_of(earning_periods.start_ms(day)) == day
    assert earning_periods.day_of(earning_periods.start_ms(day) + DAY_MS - 1) == day


@pytest.mark.parametrize(
    ("first", "last", "period", "wanted"),
    [
        ("2026-01-07", "2026-01-09", "day", ("2026-01-07", "2026-01-09")),
        ("2026-01-07", "2026-01-09", "week", ("2026-01-05", "2026-01-11")),
        ("2026-02-07", "2026-02-07", "month", ("2026-02-01", "2026-02-28")),
        ("", "2026-01-30", "day", ("2026-01-01", "2026-01-30")),
        ("", "", "day", ("2025-12-17", "2026-01-15")),
        ("", "1970-01-02", "month", ("1970-01-01", "1970-01-31")),
        ("2026-01-09", "2026-01-07", "day", None),
        ("2026-01-32", "", "day", None),
        ("2026-W01-1", "", "day", None),
        ("20260101", "", "day", None),
        ("٢٠٢٦-01-01", "", "day", None),
        ("1969-12-31", "1970-01-01", "day", None),
        ("0001-01-01", "9999-12-31", "month", None),
    ],
)
def test_the_days_that_somebody_asks_for(first, last, period, wanted) -> None:
    today = dt.date(2026, 1, 15)
    if wanted is None:
        with pytest.raises(ValueError, match=r"day|month"):
            chosen(first, last, period, today)
        return
    days = chosen(first, last, period, today)
    assert tuple(day.isoformat() for day in days) == wanted
    longest = (today - dt.timedelta(days=DAYS_MAX - 1)).isoformat()
    assert chosen(longest, "", "day", today)[1] == today
    with pytest.raises(ValueError, match="400"):
        chosen((today - dt.timedelta(days=DAYS_MAX)).isoformat(), "", "day", today)


async def a_fortnight(house) -> None:
    """From 2026-01-01, a Thursday: sessions with refunds, surprises that are taken back."""
    await house.fund("ann", 10_000_000)
    for n in range(3):
        await house.start(SessionOrder(f"s{n}", "ann", "eve", Tariff(9_999, 0, 0)))
        await house.run(3.5)
        await house.till.close(f"s{n}", "member_left")
        for key in (f"a{n}", f"b{n}"):
            tip = Debit(key, "ann", "eve", 10_001, "surprise", key)
            outcome = await house.wallet.ledger.execute(tip)
        assert isinstance(outcome, Posted)
        if n == 1:
            await house.wallet.ledger.execute(Reverse("back", outcome.transfer, 5_000, "staff"))
            refunds = Refunds(house.wallet.ledger)
            await refunds.request("s1", "ann", "No sound.")
            house.clock.advance(2 * 24 * 3_600)
            await refunds.approve("s1", 9_999, "staff")
        house.clock.advance(4 * 24 * 3_600)


async def test_periods_lines_and_the_account_agree(house) -> None:
    await a_fortnight(house)
    database, now_ms = house.database, house.wallet.ledger.now_ms()
    async with database.read() as connection:
        query = sa.select(schema.accounts.c.units).where(
            schema.accounts.c.account == ledger.payable_account("eve")
        )
        payable = int(await connection.scalar(query) or 0)
    for period in PERIODS:
        found = await earnings.spans(database, "eve", 0, 2**53, period, now_ms)
        net = sum(p.earned_units - p.taken_back_units for span in found for p in span.parts)
        assert net == payable, period
        assert all(later.first > span.last for later, span in pairwise(found))
    days = await earnings.spans(database, "eve", 0, 2**53, "day", now_ms)
    assert [span.first.isoformat() for span in days] == [
        "2026-01-11",
        "2026-01-07",
        "2026-01-05",
        "2026-01-01",
    ]
    assert [[part.feature for part in span.parts] for span in days] == [
        ["private", "surprise"],
        ["private"],
        ["private", "surprise"],
        ["private", "surprise"],
    ]
    weeks = await earnings.spans(database, "eve", 0, 2**53, "week", now_ms)
    assert [len(span.parts) for span in weeks] == [2, 2]
    (month,) = await earnings.spans(database, "eve", 0, 2**53, "month", now_ms)
    session, surprise = month.parts
    assert (session.charged_units, surprise.charged_units) == (9 * 9_999, 6 * 10_001)
    assert session.taken_back_units == ledger.share(29_997, 60) - ledger.share(19_998, 60)
    assert surprise.taken_back_units == 6_000 * 5_000 // 10_001
    assert await earnings.shares_of(database, "eve") == Shares.alike(60)
    assert await earnings.shares_of(database, "ida") is None
    listed = await earnings.lines(database, "eve", 0, 2**53, now_ms, limit=100)
    assert len(listed) == 9
    assert sum(line.earned_units - line.taken_back_units for line in listed) == payable
    assert [line.at_ms for line in listed] == sorted((line.at_ms for line in listed), reverse=True)
    assert {line.state for line in listed} == {"final"}
    refunded = next(line for line in listed if line.reference == "s1")
    assert (refunded.charged_units, refunded.earned_units) == (29_997, 17_998)
    assert (refunded.taken_back_units, refunded.seconds) == (6_000, 3)
    assert len(await earnings.lines(database, "eve", 0, 2**53, now_ms, limit=4)) == 4
    assert await earnings.lines(database, "ida", 0, 2**53, now_ms, limit=4) == []
    assert await earnings.spans(database, "ida", 0, 2**53, "day", now_ms) == []


async def test_a_lines_state_is_what_makes_it_pending(house) -> None:
    await house.fund("ann", 10_000_000)
    await house.start(SessionOrder("s1", "ann", "eve", Tariff(9_999, 0, 0)))
    await house.run(6.5)
    await house.wallet.ledger.execute(Debit("t", "ann", "eve", 100, "surprise", "t"))

    async def states() -> dict[str, str]:
        now_ms = house.wallet.ledger.now_ms()
        found = await earnings.lines(house.database, "eve", 0, 2**53, now_ms, limit=9)
        pending = sum(
            line.earned_units - line.taken_back_units for line in found if line.state != "final"
        )
        assert (await Payouts(house.wallet.ledger).earned("eve")).pending_units == pending
        (span,) = await earnings.spans(house.database, "eve", 0, 2**53, "month", now_ms)
        assert sum(part.pending_units for part in span.parts) == pending
        return {line.feature: line.state for line in found}

    assert await states() == {"private": "running", "surprise": "pending"}
    await house.till.close("s1", "member_left")
    assert await states() == {"private": "pending", "surprise": "pending"}
    refunds = Refunds(house.wallet.ledger)
    await refunds.request("s1", "ann", "No sound.")
    house.clock.advance(24 * 3_600)
    assert await states() == {"private": "in_question", "surprise": "final"}
    await refunds.approve("s1", 9_999, "staff")
    assert await states() == {"private": "final", "surprise": "final"}
