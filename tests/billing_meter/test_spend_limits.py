"""Spend limits on a real database: enforced with the money, whatever races for the last units."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from billing_meter import limits_rows, schema
from billing_meter.counter import Counter
from billing_meter.ledger import (
    Debit,
    Draw,
    Entry,
    Hold,
    Posted,
    PostHold,
    Refused,
    Reverse,
    VoidHold,
)
from billing_meter.ledger_store import GuardFailed
from billing_meter.limits import RAISE_WAITS_MS, Limits, Span
from billing_meter.limits_store import LIMIT_UNITS_MAX, LimitsRefused, SpendLimits
from billing_meter.meter import End, Exhausted, LowBalance, SessionOrder, SpendLimit
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, Switched
from billing_meter.till import Refused as TillRefused

RATE = 299
MINUTE = 60 * RATE
RICH = 10_000_000


def order(name: str = "s1", **options: int) -> SessionOrder:
    return SessionOrder(name, "ann", "eve", Tariff(RATE, 100, 50), **options)


@pytest.fixture
def limits(house) -> SpendLimits:
    return SpendLimits(house.database, house.wallet.ledger)


async def tip(house, key: str, units: int):
    return await house.wallet.ledger.execute(Debit(key, "ann", "eve", units, "surprise", "t"))


def counted(limits: Limits, span: Span = Span.DAY) -> int:
    return limits.windows[span].counted_units


_TAKEN = sa.text(
    "SELECT -COALESCE(SUM(p.units), 0) FROM ledger_postings p"
    " JOIN ledger_transfers t ON t.transfer = p.transfer"
    " WHERE t.kind <> 'purchase' AND p.account IN ('member:ann:paid', 'member:ann:promo')"
)


def watch_every_commit(house, limit: int) -> list[int]:
    """Spent and held by the journal alone, read back after every commit."""
    seen: list[int] = []
    ledger = house.wallet.ledger
    inner = ledger.transaction

    @asynccontextmanager
    async def watched():
        async with inner() as transaction:
            yield transaction
        async with house.database.read() as connection:
            seen.append(int(await connection.scalar(_TAKEN)))
        assert seen[-1] <= limit

    ledger.transaction = watched
    return seen


async def proved(house) -> None:
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def test_a_session_ends_exactly_at_the_day_limit(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 70 * RATE + 100)
    seen = watch_every_commit(house, 70 * RATE + 100)
    gate = await house.start(order())
    await house.run(75)
    assert house.of(SpendLimit) == [SpendLimit(End.LIMIT_DAY)]
    assert house.of(LowBalance) == [
        LowBalance(70 - 1, End.LIMIT_DAY),
        LowBalance(60, End.LIMIT_DAY),
        LowBalance(30, End.LIMIT_DAY),
        LowBalance(10, End.LIMIT_DAY),
    ]
    assert gate.until_ns == 0
    assert gate.sum_held_s in (69, 70)
    summary = await house.till.close("s1", "limit_day")
    assert summary.cost_units == 70 * RATE
    assert max(seen) == 70 * RATE
    assert counted(await limits.view("ann")) == 70 * RATE
    await proved(house)


async def test_the_till_closes_a_forgotten_session_by_the_name_of_its_limit(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.WEEK, 61 * RATE)
    await house.start(order())
    await house.run(70)
    row = "SELECT reason FROM meter_sessions WHERE session_id = 's1'"
    async with house.database.read() as connection:
        assert await connection.scalar(sa.text(row)) == "limit_week"


@pytest.mark.parametrize(
    ("span", "units", "code"),
    [
        (Span.DAY, MINUTE - 1, "limit_day"),
        (Span.WEEK, 0, "limit_week"),
        (Span.MONTH, MINUTE - 1, "limit_month"),
        (Span.SESSION, RATE - 1, "limit_session"),
        (Span.DAY, MINUTE, None),
        (Span.SESSION, RATE, None),
    ],
)
async def test_a_session_starts_only_with_a_minute_left(house, limits, span, units, code) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", span, units)
    opened = await house.till.open(order())
    assert (opened.code if isinstance(opened, TillRefused) else None) == code


async def test_the_session_limit_is_each_sessions_own(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.SESSION, 20 * RATE)
    for name in ("s1", "s2"):
        await house.start(order(name))
        await house.run(25)
        summary = await house.till.close(name, "limit_session")
        assert summary.cost_units == 20 * RATE
    assert house.of(SpendLimit) == [SpendLimit(End.LIMIT_SESSION)] * 2
    assert house.of(Exhausted) == []


async def test_the_smaller_of_own_and_asked_session_limit_counts(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.SESSION, 20 * RATE)
    await house.start(order(spend_limit_units=12 * RATE))
    await house.run(25)
    assert (await house.till.close("s1", "limit_session")).cost_units == 12 * RATE


async def test_lowering_counts_at_the_next_grant_of_a_running_session(house, limits) -> None:
    await house.fund("ann", RICH)
    await house.start(order())
    await house.run(30)
    await limits.set_limit("ann", Span.DAY, 20 * RATE)
    view = await limits.view("ann")
    assert counted(view) >= 30 * RATE, "what was spent before the first limit counts"
    await house.run(10)
    assert house.of(SpendLimit) == [SpendLimit(End.LIMIT_DAY)]
    summary = await house.till.close("s1", "limit_day")
    assert 30 * RATE <= summary.cost_units <= counted(view), "nothing was granted after it"
    await proved(house)


async def test_lowering_to_just_above_what_was_spent_ends_there(house, limits) -> None:
    await house.fund("ann", RICH)
    await house.start(order())
    await house.run(30)
    await limits.set_limit("ann", Span.MONTH, 45 * RATE + 1)
    await house.run(20)
    assert (await house.till.close("s1", "limit_month")).cost_units == 45 * RATE


async def test_a_raise_lets_a_session_go_on_a_day_later_only(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.MONTH, MINUTE)
    raised = await limits.set_limit("ann", Span.MONTH, 2 * MINUTE)
    assert raised.limits[Span.MONTH].units == MINUTE
    assert isinstance(await tip(house, "t1", MINUTE), Posted)
    house.clock.advance(RAISE_WAITS_MS / 1_000 - 1)
    assert await tip(house, "t2", 1) == Refused("limit_month")
    house.clock.advance(1)
    assert isinstance(await tip(house, "t3", MINUTE), Posted)
    assert await tip(house, "t4", 1) == Refused("limit_month")
    assert await tip(house, "t2", 1) == Refused("limit_month", replayed=True)


async def test_a_surcharge_that_the_limit_does_not_leave_is_refused_by_name(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, MINUTE)
    await house.start(order())
    await house.run(59.5)
    answer = await house.till.switch("s1", Component.CAM2CAM, True)
    assert answer == TillRefused("limit_day")


async def test_debits_and_holds_ask_too_and_a_void_gives_room_back(house, limits) -> None:
    await house.fund("ann", RICH)
    execute = house.wallet.ledger.execute
    await limits.set_limit("ann", Span.DAY, 1_000)
    assert isinstance(await execute(Hold("h1", "ann", "g1", 600, "pledge")), Posted)
    assert await tip(house, "t1", 401) == Refused("limit_day")
    assert await execute(Hold("h2", "ann", "g2", 401, "pledge")) == Refused("limit_day")
    assert isinstance(await tip(house, "t2", 400), Posted)
    assert await tip(house, "t3", 1) == Refused("limit_day")
    assert isinstance(await execute(VoidHold("v1", "g1", "cancelled")), Posted)
    assert isinstance(await execute(Hold("h3", "ann", "g3", 600, "pledge")), Posted)
    assert isinstance(await execute(PostHold("p3", "g3", "eve", 250, "group", "g")), Posted)
    assert counted(await limits.view("ann")) == 650
    assert await tip(house, "t4", 351) == Refused("limit_day")
    assert isinstance(await tip(house, "t5", 350), Posted)
    await proved(house)


@pytest.mark.threads
@pytest.mark.slow
async def test_three_sessions_and_tips_race_for_the_last_units_under_a_limit(house, limits) -> None:
    await house.fund("ann", RICH)
    limit = 80 * RATE + 777
    await limits.set_limit("ann", Span.DAY, limit)
    seen = watch_every_commit(house, limit)
    for name in ("s1", "s2", "s3"):
        await house.start(order(name))
    answers = []
    for n in range(35):
        house.clock.advance(1)
        house.till.beat()
        results = await asyncio.gather(
            house.till.tick(), *(tip(house, f"t{n}-{k}", 40 + k) for k in range(4))
        )
        answers += results[1:]
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert {answer.code for answer in refused} == {"limit_day"}
    assert len(refused) > 10
    summaries = [await house.till.close(name, "limit_day") for name in ("s1", "s2", "s3")]
    assert len(house.of(SpendLimit)) == 3
    tips = sum(answer.units for answer in answers if isinstance(answer, Posted))
    spent = tips + sum(summary.cost_units for summary in summaries)
    assert limit - 40 < spent + 40 <= limit + 40, "used up but for less than anything costs"
    assert counted(await limits.view("ann")) == spent
    assert max(seen) <= limit
    await proved(house)


@pytest.mark.slow
async def test_what_another_session_gives_back_lets_one_at_its_limit_go_on(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 70 * RATE)
    for name in ("s1", "s2"):
        assert isinstance(await house.till.open(order(name)), Opened)
    gate = house.gate()
    house.till.attach("s1", Component.PRIVATE, gate)
    gate.start()
    await house.run(58)
    await house.till.close("s2", "member_left")
    await house.run(20)
    assert (await house.till.close("s1", "limit_day")).cost_units == 70 * RATE


@pytest.mark.slow
async def test_a_new_day_begins_at_midnight_in_the_members_zone(house, limits) -> None:
    # 22:58 UTC is 23:58 in Oslo.
    house.clock.epoch = datetime(2026, 1, 1, 22, 58, tzinfo=UTC) - timedelta(seconds=1_000)
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 130 * RATE, "Europe/Oslo")
    await house.start(order())
    await house.run(180)
    assert house.of(SpendLimit) == []
    view = await limits.view("ann")
    assert 60 * RATE <= counted(view) <= 76 * RATE
    assert counted(view, Span.MONTH) >= 180 * RATE
    await house.run(80)
    assert house.of(SpendLimit) == [SpendLimit(End.LIMIT_DAY)]
    summary = await house.till.close("s1", "limit_day")
    # Up to a grant that was held before midnight is posted, and counts, after it.
    assert 242 * RATE <= summary.cost_units <= 250 * RATE
    assert counted(await limits.view("ann")) == 130 * RATE
    await proved(house)


async def test_a_hold_that_is_posted_in_a_new_window_counts_there(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 1_000)
    execute = house.wallet.ledger.execute
    await execute(Hold("h", "ann", "g", 900, "pledge"))
    house.clock.advance(86_400)
    await execute(PostHold("p", "g", "eve", 900, "group", "g"))
    house.clock.advance(1)
    assert counted(await limits.view("ann")) == 900
    assert await tip(house, "t", 101) == Refused("limit_day")


async def test_a_backward_step_of_the_clock_gives_nothing_away(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 1_000)
    house.clock.advance(86_400)
    assert isinstance(await tip(house, "t1", 1_000), Posted)
    house.clock.epoch -= timedelta(days=3)
    assert await tip(house, "t2", 1) == Refused("limit_day")
    view = await limits.view("ann")
    assert view.limits[Span.DAY].units == 1_000
    assert limits.resets_at_ms(view, Span.DAY) == view.windows[Span.DAY].start_ms + 86_400_000
    house.clock.epoch += timedelta(days=4)
    assert isinstance(await tip(house, "t3", 1), Posted)


async def test_a_break_stops_all_that_is_paid_and_is_never_shortened(house, limits) -> None:
    await house.fund("ann", RICH)
    await house.start(order())
    await house.run(10)
    first = await limits.take_break("ann", 7)
    assert isinstance(await limits.take_break("ann", 1), Limits)
    assert (await limits.view("ann")).break_until_ms == first.break_until_ms
    assert await tip(house, "t", 1) == Refused("on_break")
    assert await house.till.switch("s1", Component.CAM2CAM, True) == TillRefused("on_break")
    await house.run(10)
    assert house.of(SpendLimit) == [SpendLimit(End.ON_BREAK)]
    await house.till.close("s1", "on_break")
    assert await house.till.open(order("s2")) == TillRefused("on_break")
    house.clock.advance(7 * 86_400 - 10.5)
    assert await tip(house, "t2", 1) == Refused("on_break")
    house.clock.advance(0.5)
    assert isinstance(await tip(house, "t3", 1), Posted)
    await proved(house)


async def test_a_switch_within_the_limit_is_not_hindered(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 2 * MINUTE)
    await house.start(order())
    await house.run(5)
    assert isinstance(await house.till.switch("s1", Component.CAM2CAM, True), Switched)
    assert isinstance(await house.till.switch("s1", Component.CAM2CAM, False), Switched)
    await proved(house)


async def test_after_a_crash_the_unused_hold_is_room_again(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 3 * MINUTE)
    await house.start(order())
    await house.run(10.5)
    await house.restart()
    view = await SpendLimits(house.database, house.wallet.ledger).view("ann")
    assert counted(view) == 10 * RATE
    await proved(house)


async def test_refunds_give_no_room_back(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 500)
    posted = await tip(house, "t", 500)
    await house.wallet.ledger.execute(Reverse("r", posted.transfer, 500, "refund"))
    assert await tip(house, "t2", 1) == Refused("limit_day")


@pytest.mark.parametrize(
    ("units", "zone", "code"),
    [
        (-1, None, "bad_limit"),
        (LIMIT_UNITS_MAX + 1, None, "bad_limit"),
        (5, "Europe/Oslp", "unknown_time_zone"),
        (5, "../../etc/passwd", "unknown_time_zone"),
        (5, "Europe", "unknown_time_zone"),
        (5, "x" * 65, "unknown_time_zone"),
        (5, "", "unknown_time_zone"),
        (5, "Europe/Paris", "time_zone_fixed"),
    ],
)
async def test_bad_wishes_change_nothing(house, limits, units, zone, code) -> None:
    kept = await limits.set_limit("ann", Span.DAY, 100, "Europe/Oslo")
    assert await limits.set_limit("ann", Span.DAY, units, zone) == LimitsRefused(code)
    assert await limits.take_break("ann", 2) == LimitsRefused("bad_break")
    assert await limits.view("ann") == kept


async def test_without_a_limit_in_force_the_zone_may_change(house, limits) -> None:
    await house.fund("ann", RICH)
    await tip(house, "t", 70)
    await limits.set_limit("ann", Span.DAY, 100, "Europe/Oslo")
    await limits.set_limit("ann", Span.DAY, None)
    assert await limits.set_limit("ann", Span.WEEK, 1, "UTC") == LimitsRefused("time_zone_fixed")
    house.clock.advance(86_401)
    moved = await limits.set_limit("ann", Span.MONTH, 100, "Asia/Tokyo")
    assert moved.zone_name == "Asia/Tokyo"
    assert counted(moved, Span.MONTH) == 70
    assert await tip(house, "t2", 31) == Refused("limit_month")


async def test_members_without_limits_are_counted_from_the_journal(house, limits) -> None:
    await house.fund("ann", RICH)
    await tip(house, "t", 70)
    await house.wallet.ledger.execute(Hold("h", "ann", "g", 30, "pledge"))
    view = await limits.view("ann")
    assert counted(view) == counted(view, Span.MONTH) == 100
    assert not view.any_in_force


async def test_a_window_that_moved_since_it_was_read_rolls_the_transfer_back(house, limits) -> None:
    await house.fund("ann", RICH)
    stale = await limits.set_limit("ann", Span.DAY, 1_000)
    await tip(house, "t", 300)
    with pytest.raises(GuardFailed):
        async with house.database.write() as connection:
            await limits_rows.count(connection, {"ann": stale}, {"ann": stale.counting(800)})
    assert counted(await limits.view("ann")) == 300


async def test_even_a_planner_that_asks_nothing_cannot_pass_a_limit(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 100)
    postings = {"member:ann:paid": -101, "platform:revenue": 101}
    rogue = Entry("k", "h", "gift", postings, 101, Draw(0, 101), "ann")
    with pytest.raises(GuardFailed):
        async with house.wallet.ledger.transaction() as transaction:
            await transaction.write([rogue])
    async with house.database.read() as connection:
        count = sa.select(sa.func.count()).select_from(schema.transfers)
        assert await connection.scalar(count.where(schema.transfers.c.key == "k")) == 0


async def test_reconcile_names_a_window_that_does_not_count_what_the_journal_says(
    house, limits
) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 1_000)
    await tip(house, "t", 300)
    await house.wallet.ledger.execute(Hold("h", "ann", "g", 50, "pledge"))
    report = await reconcile(house.database)
    assert (report.findings, report.checked["spend_windows"]) == ((), 3)
    lie = sa.update(schema.spend_limits).where(schema.spend_limits.c.span == "day")
    async with house.database.write() as connection:
        await connection.execute(lie.values(counted_units=349))
    [finding] = (await reconcile(house.database)).findings
    assert (finding.code, finding.subject) == ("spend_window", "member:ann")


@pytest.mark.threads
async def test_debits_at_the_counter_ask_too(house, limits) -> None:
    await house.fund("ann", RICH)
    await limits.set_limit("ann", Span.DAY, 1_000)
    counter = Counter(house.wallet.ledger)
    debits = [Debit(f"c{n}", "ann", "eve", 90, "surprise", "t") for n in range(20)]
    outcomes = await asyncio.gather(*(counter.debit(debit) for debit in debits))
    assert [outcome for outcome in outcomes if isinstance(outcome, Refused)] == [
        Refused("limit_day")
    ] * 9
    assert counted(await limits.view("ann")) == 990
    await proved(house)
