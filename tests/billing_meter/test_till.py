"""The till on a real database: gates, switches, exhaustion, outages, crashes, fencing, races."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import sqlalchemy as sa

from billing_meter import schema
from billing_meter.ledger import Debit, Posted
from billing_meter.meter import (
    End,
    Exhausted,
    LedgerLost,
    LowBalance,
    Paused,
    Resumed,
    SessionOrder,
    SpendLimit,
    Started,
    Ticked,
)
from billing_meter.sessions import session_record
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, Refused, Switched
from tests.turns import turn

MS = 1_000_000
S = 1_000 * MS
TARIFF = Tariff(299, 100, 50)
PACKAGE = 167_940


def order(session_id: str = "s1", member: str = "ann", **options) -> SessionOrder:
    return SessionOrder(session_id, member, "eve", TARIFF, **options)


@pytest.fixture(autouse=True)
async def books_stay_clean(house):
    """Whatever a test did, the books must be provable afterwards."""
    yield
    house.database.fault = None
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def test_125_seconds_at_2_99_cost_37375_units(house) -> None:
    await house.fund("ann", PACKAGE)
    await house.start(order())
    await house.run(125.5)
    summary = await house.till.close("s1", "member_left")
    assert summary.cost_units == 37_375
    balance = await house.wallet.balance("ann")
    assert (balance.available, balance.held_units) == (PACKAGE - 37_375, 0)
    assert summary.balance_units == balance.available
    assert summary.earned_units == 37_375 * 60 // 100


async def test_30_seconds_with_10_of_cam2cam_cost_9970_units(house) -> None:
    await house.fund("ann", PACKAGE)
    private = await house.start(order())
    await house.run(10)
    cam = house.gate()
    cam.start()
    house.till.attach("s1", Component.CAM2CAM, cam)
    assert isinstance(await house.till.switch("s1", Component.CAM2CAM, True), Switched)
    await house.run(10.25)
    off = await house.till.switch("s1", Component.CAM2CAM, False)
    assert isinstance(off, Switched)
    cut_ns = house.clock.now_ns
    await house.run(10)
    summary = await house.till.close("s1", "expert_left")
    assert [line.seconds for line in summary.lines] == [30, 10, 0]
    assert summary.cost_units == 9_970
    assert cam.passed[-1] < cut_ns
    assert private.sum_held_s == 30


async def test_the_last_two_seconds_of_a_balance_are_sold_and_two_units_stay(house) -> None:
    # A session needs a minute to start: 0.10 credits are what is left of it after 60 s.
    await house.fund("ann", 299 * 60 + 600)
    gate = await house.start(order())
    started_ns = house.clock.now_ns
    await house.run(65)
    assert house.of(Exhausted) == [Exhausted()]
    assert started_ns + 61_900 * MS < gate.passed[-1] < started_ns + 62 * S
    summary = await house.till.close("s1", "balance_empty")
    assert summary.cost_units == 299 * 62
    assert (await house.wallet.balance("ann")).available == 2
    warnings = [event.seconds_left for event in house.of(LowBalance)]
    assert warnings == [61, 60, 30, 10]


async def test_no_packet_passes_before_a_grant_is_durable(house) -> None:
    await house.fund("ann", PACKAGE)
    gate = house.gate()
    gate.start()
    house.clock.advance(1)
    house.till.attach("nobody", Component.PRIVATE, gate)
    house.database.fault = "during"
    assert await house.till.open(order()) == Refused("ledger_unavailable")
    house.till.attach("s1", Component.PRIVATE, gate)
    house.clock.advance(1)
    gate.run()
    assert gate.passed == []
    house.database.fault = None
    assert isinstance(await house.till.open(order()), Opened)
    house.till.attach("s1", Component.PRIVATE, gate)
    opened_ns = house.clock.now_ns
    house.clock.advance(1)
    gate.run()
    assert gate.passed[0] >= opened_ns


async def test_a_surcharge_gate_opens_only_when_its_hold_is_durable(house) -> None:
    await house.fund("ann", PACKAGE)
    await house.start(order())
    cam = house.gate()
    cam.start()
    house.till.attach("s1", Component.CAM2CAM, cam)
    await house.run(2)
    house.database.fault = "before"
    refused = await house.till.switch("s1", Component.CAM2CAM, True)
    assert refused == Refused("ledger_unavailable")
    house.database.fault = None
    await house.run(2)
    assert cam.passed == []
    at_ns = house.clock.now_ns
    await house.till.switch("s1", Component.CAM2CAM, True)
    async with house.database.read() as connection:
        held = await connection.scalar(
            sa.select(schema.accounts.c.units).where(schema.accounts.c.account == "member:ann:held")
        )
    assert held == 399 * 8
    await house.run(1)
    assert cam.passed[0] >= at_ns


async def test_a_surcharge_that_cannot_be_paid_for_a_second_is_refused(house) -> None:
    await house.fund("ann", 299 * 60)
    await house.start(order())
    await house.run(59)
    refused = await house.till.switch("s1", Component.CAM2CAM, True)
    assert refused == Refused("insufficient_credits")
    await house.run(3)
    assert house.of(Exhausted) == [Exhausted()]
    await house.till.close("s1", "balance_empty")
    assert (await house.wallet.balance("ann")).available == 0


async def test_components_asked_for_at_the_start_are_on_from_the_start(house) -> None:
    await house.fund("ann", PACKAGE)
    wanted = frozenset({Component.CAM2CAM, Component.TWO_WAY_AUDIO})
    opened = await house.till.open(order(wanted=wanted))
    assert isinstance(opened, Opened)
    assert opened.snapshot.rate_units_per_s == 449
    refused = await house.till.open(order("s2", "bob", wanted=wanted))
    assert refused == Refused("insufficient_credits")
    await house.till.close("s1", "member_left")


@pytest.mark.parametrize(("units", "fits"), [(299 * 60 - 1, False), (299 * 60, True)])
async def test_a_session_needs_a_minute_of_its_rate(house, units, fits) -> None:
    await house.fund("ann", units)
    opened = await house.till.open(order())
    assert isinstance(opened, Opened) == fits
    if fits:
        assert await house.till.open(order()) == Refused("already_open")
        await house.till.close("s1", "cancelled")
        assert await house.till.open(order()) == Refused("already_open")
    assert (await house.wallet.balance("ann")).available == units


async def test_five_silent_seconds_are_not_charged(house) -> None:
    await house.fund("ann", PACKAGE)
    gate = await house.start(order())
    await house.run(10)
    gate.silence()
    silent_ns = gate.passed[-1]
    await house.run(5)
    assert house.of(Paused) == [Paused(silent_ns)]
    gate.start()
    await house.run(10)
    assert house.of(Resumed) == [Resumed()]
    assert len(house.of(Started)) == 1
    summary = await house.till.close("s1", "member_left")
    assert summary.cost_units == 299 * gate.sum_held_s == 299 * 20


async def test_a_beat_sees_the_pause_without_waiting_for_a_tick(house) -> None:
    await house.fund("ann", PACKAGE)
    gate = await house.start(order())
    await house.run(3)
    gate.silence()
    for _ in range(5):
        house.clock.advance(0.25)
        house.till.beat()
    assert house.of(Paused) == []
    house.clock.advance(0.25)
    house.till.beat()
    assert house.of(Paused) == [Paused(gate.passed[-1])]
    await house.till.close("s1", "media_lost")


async def test_a_beat_sees_the_end_of_the_grant_without_waiting_for_a_tick(house) -> None:
    await house.fund("ann", PACKAGE)
    gate = await house.start(order())
    started_ns = house.clock.now_ns
    while not house.of(LedgerLost):
        house.clock.advance(0.25)
        house.till.beat()
        assert house.clock.now_ns <= started_ns + 8 * S
    assert gate.passed[-1] < started_ns + 8 * S
    await house.till.close("s1", "ledger_unavailable")


async def test_a_top_up_in_the_final_second_wakes_the_timer(house) -> None:
    await house.fund("ann", 299 * 60)
    await house.start(order())
    await house.run(59.5)
    assert not house.till._wake.is_set()
    await house.fund("ann", 299 * 5)
    assert house.till._wake.is_set()
    await house.till.tick()
    await house.run(3)
    assert house.of(Exhausted) == []
    await house.till.close("s1", "member_left")


async def test_a_new_gate_after_a_reconnect_goes_on_where_the_old_one_stopped(house) -> None:
    await house.fund("ann", PACKAGE)
    first = await house.start(order())
    await house.run(5.5)
    second = house.gate()
    house.till.attach("s1", Component.PRIVATE, second)
    assert (first.until_ns, second.until_ns > house.clock.now_ns) == (0, True)
    second.start()
    await house.run(5.5)
    summary = await house.till.close("s1", "member_left")
    first.run()  # its packets went on coming
    assert first.passed[-1] <= second.passed[0]
    assert summary.lines[0].seconds == 11


async def test_buying_in_the_middle_lets_the_session_go_on(house) -> None:
    await house.fund("ann", 299 * 60)
    gate = await house.start(order())
    await house.run(58)
    await house.fund("ann", 299 * 20)
    await house.run(10)
    assert house.of(Exhausted) == []
    summary = await house.till.close("s1", "member_left")
    assert summary.cost_units == 299 * gate.sum_held_s == 299 * 68


async def test_a_spend_limit_cuts_the_session_not_the_balance(house) -> None:
    await house.fund("ann", PACKAGE)
    gate = await house.start(order(spend_limit_units=299 * 20 + 100))
    await house.run(25)
    assert house.of(SpendLimit) == [SpendLimit(End.LIMIT_SESSION)]
    assert gate.sum_held_s in (19, 20)
    summary = await house.till.close("s1", "limit_session")
    assert summary.cost_units == 299 * 20


async def test_closing_twice_gives_the_first_summary_also_after_a_restart(house) -> None:
    await house.fund("ann", PACKAGE)
    await house.start(order())
    await house.run(3)
    first = await house.till.close("s1", "member_left")
    assert await house.till.close("s1", "expert_left") == first
    await house.restart()
    again = await house.till.close("s1", "expert_left")
    assert (again.cost_units, again.reason) == (first.cost_units, "member_left")
    record = await session_record(house.database, "s1")
    assert record is not None
    assert (record.open, record.member_id, record.summary.held_ms) == (False, "ann", first.held_ms)
    with pytest.raises(KeyError):
        await house.till.close("never", "x")


@pytest.mark.parametrize("fault", ["before", "during"])
async def test_with_the_ledger_gone_what_is_held_runs_out_and_then_media_is_cut(
    house, fault
) -> None:
    await house.fund("ann", PACKAGE)
    gate = await house.start(order())
    await house.run(2)
    durable = (await session_record(house.database, "s1")).summary.cost_units
    house.database.fault = fault
    await house.run(12)
    assert house.of(LedgerLost) == [LedgerLost()]
    grant_end_ns = gate.opened[-2]
    assert gate.passed[-1] < grant_end_ns
    assert gate.sum_held_s <= 8 + 2
    summary = await house.till.close("s1", "ledger_unavailable")
    assert (await session_record(house.database, "s1")).summary.cost_units == durable
    house.database.fault = None
    await house.run(1)
    stored = (await session_record(house.database, "s1")).summary
    assert (stored.cost_units, stored.reason) == (summary.cost_units, "ledger_unavailable")
    assert summary.cost_units - 299 <= 299 * gate.sum_held_s <= summary.cost_units


async def test_a_write_without_an_answer_is_read_back_and_not_repeated(house) -> None:
    await house.fund("ann", PACKAGE)
    gate = await house.start(order())
    await house.run(3)
    house.database.fault = "after"
    await house.run(2)
    house.database.fault = None
    await house.run(5)
    house.database.fault = "after"
    summary = await house.till.close("s1", "member_left")
    house.database.fault = None
    await house.run(1)
    assert house.till.open_sessions == 0
    assert summary.cost_units == 299 * gate.sum_held_s == 299 * 10
    assert (await house.wallet.balance("ann")).available == PACKAGE - 2_990


async def test_an_opening_without_an_answer_leaves_nothing_behind(house) -> None:
    await house.fund("ann", PACKAGE)
    await house.till.recover()
    house.database.fault = "after"
    assert await house.till.open(order()) == Refused("ledger_unavailable")
    house.database.fault = None
    await house.till.tick()
    assert (await house.wallet.balance("ann")).held_units == 0


@pytest.mark.threads
async def test_nor_does_one_while_another_is_being_settled(house) -> None:
    await house.fund("ann", PACKAGE)
    await house.till.recover()
    house.database.fault = "after"
    assert await house.till.open(order()) == Refused("ledger_unavailable")
    house.database.fault = None
    async with house.database.write():
        house.database.fault = "after"
        opening = asyncio.create_task(house.till.open(order("s2")))
        await turn()
        house.database.fault = None
        ticking = asyncio.create_task(house.till.tick())
        await turn()  # it knows of the first only, and waits behind the second
    assert await opening == Refused("ledger_unavailable")
    await ticking
    await house.till.tick()
    assert (await house.wallet.balance("ann")).held_units == 0


async def test_after_a_crash_sessions_are_settled_to_their_last_mark(house) -> None:
    await house.fund("ann", PACKAGE)
    gate = await house.start(order())
    await house.run(7)
    told = house.of(Ticked)[-1].snapshot
    house.clock.advance(0.9)
    house.till.beat()
    assert await house.restart() == 1
    record = await session_record(house.database, "s1")
    assert record is not None
    assert (record.open, record.summary.reason) == (False, "server_stopped")
    assert record.summary.cost_units == told.cost_units == 299 * 7
    assert gate.sum_held_s >= 7
    balance = await house.wallet.balance("ann")
    assert (balance.available, balance.held_units) == (PACKAGE - 299 * 7, 0)
    assert await house.restart() == 0


async def test_an_old_process_writes_nothing_after_a_new_one_took_over(house) -> None:
    await house.fund("ann", PACKAGE)
    gate = await house.start(order())
    await house.run(5)
    old = house.till
    house.till = house.new_till()
    assert await house.till.recover() == 1
    charged = (await session_record(house.database, "s1")).summary.cost_units
    house.clock.advance(3)
    old.beat()
    await old.tick()
    assert house.of(LedgerLost) == [LedgerLost()]
    house.clock.advance(1)
    gate.run()
    assert gate.passed[-1] <= house.clock.now_ns - S
    assert (await session_record(house.database, "s1")).summary.cost_units == charged
    assert await old.open(order("s9")) == Refused("ledger_unavailable")


async def test_a_lost_session_does_not_harm_the_others_of_its_tick(house) -> None:
    await house.fund("ann", PACKAGE)
    await house.fund("bob", PACKAGE)
    await house.start(order())
    gate = await house.start(order("s2", "bob"))
    await house.run(3)
    async with house.database.write() as connection:
        await connection.execute(
            sa.update(schema.sessions).where(schema.sessions.c.session_id == "s1").values(epoch=99)
        )
    await house.run(10)
    assert [name for name, event in house.events if isinstance(event, LedgerLost)] == ["s1"]
    summary = await house.till.close("s2", "member_left")
    assert summary.cost_units == 299 * gate.sum_held_s == 299 * 13
    await house.restart()


@pytest.mark.threads
@pytest.mark.slow
async def test_sessions_and_debits_race_for_the_last_credits(house) -> None:
    units = 299 * 70
    await house.fund("ann", units)
    ledger = house.wallet.ledger
    opened = await asyncio.gather(*(house.till.open(order(f"s{n}")) for n in range(6)))
    running = [n for n, result in enumerate(opened) if isinstance(result, Opened)]
    assert running
    gates = {}
    for n in running:
        gates[n] = house.gate()
        house.till.attach(f"s{n}", Component.PRIVATE, gates[n])
        gates[n].start()
    spent = 0
    for second in range(25):
        house.clock.advance(1)
        house.till.beat()
        debits = [
            ledger.execute(Debit(f"d{second}-{n}", "ann", "eve", 97, "surprise", "x"))
            for n in range(3)
        ]
        outcomes, _ = await asyncio.gather(asyncio.gather(*debits), house.till.tick())
        spent += 97 * sum(isinstance(outcome, Posted) for outcome in outcomes)
        balance = await house.wallet.balance("ann")
        assert balance.available >= 0
        assert balance.held_units >= 0
    costs = [(await house.till.close(f"s{n}", "balance_empty")).cost_units for n in running]
    assert sum(costs) + spent + (await house.wallet.balance("ann")).posted == units
    assert house.of(Exhausted)


async def test_a_session_that_nobody_closes_is_closed_by_the_till(house) -> None:
    await house.fund("ann", 299 * 60)
    await house.start(order())
    await house.run(68)
    record = await session_record(house.database, "s1")
    assert record is not None
    assert (record.open, record.summary.reason) == (False, "balance_empty")
    assert (await house.wallet.balance("ann")).posted == 0


@pytest.mark.threads
async def test_the_timer_ticks_by_itself_and_stops_cleanly(house) -> None:
    """The only test on real time: one second of it."""
    ticked = asyncio.Event()

    def on_event(_session: str, event: object) -> None:
        if isinstance(event, Ticked):
            ticked.set()

    till = house.new_till()
    till._on_event = on_event
    await house.fund("ann", PACKAGE)
    await till.recover()
    assert isinstance(await till.open(order()), Opened)
    till.start()
    await asyncio.wait_for(ticked.wait(), 20)
    await till.stop()
    assert till.open_sessions == 0
    record = await session_record(house.database, "s1")
    assert record is not None
    assert (record.open, record.summary.reason) == (False, "server_stopped")


async def test_what_passes_during_a_slow_commit_is_paid_out_of_the_grant(
    house, monkeypatch
) -> None:
    await house.fund("ann", PACKAGE)
    began_ns = house.clock.now_ns
    gate = await house.start(order(spend_limit_units=10 * TARIFF.private_units_per_s))
    await house.run(4.75)
    write = house.database.write

    @contextlib.asynccontextmanager
    async def slow():
        async with write() as connection:
            yield connection
            for _ in range(10):
                house.clock.advance(0.25)
                house.till.beat()

    monkeypatch.setattr(house.database, "write", slow)
    house.clock.advance(0.25)
    await house.till.tick()
    monkeypatch.undo()
    # Five seconds are posted and the last five held: what passed meanwhile is among those.
    assert gate.until_ns == began_ns + 10 * S
    await house.till.close("s1", "member_left")


async def test_a_surplus_that_went_back_unheard_opens_no_gate(house) -> None:
    await house.fund("ann", PACKAGE)
    began_ns = house.clock.now_ns
    gate = await house.start(order(wanted=frozenset({Component.CAM2CAM})))
    await house.run(0.5)
    house.database.fault = "after"
    assert isinstance(await house.till.switch("s1", Component.CAM2CAM, False), Switched)
    house.database.fault = None
    await house.run(0.5)
    # Eight seconds with Cam2Cam pay for ten without; but that went back, and the tick finds out.
    assert (await house.wallet.balance("ann")).held_units == 8 * TARIFF.private_units_per_s
    assert gate.until_ns == house.clock.now_ns + 8 * S
    house.database.fault = "before"
    await house.run(9.75)
    assert house.of(LedgerLost)
    assert began_ns + 9 * S >= gate.passed[-1]
    house.database.fault = None
    await house.till.close("s1", "member_left")
