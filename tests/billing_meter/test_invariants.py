"""Invariants of the books that no other file is about (docs/MONEY.md has all twenty)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa

from billing_meter import ledger, schema
from billing_meter.database import Database
from billing_meter.ledger import Debit, Hold, Posted, PostHold, Refused, Reverse, VoidHold
from billing_meter.ledger_store import LedgerStore
from billing_meter.meter import SessionOrder
from billing_meter.refunds import Refund, Refunds
from billing_meter.sessions import session_record
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Switched
from tests.stores import Store

RATE = 299
FUNDS_UNITS = 200_000
MAY_OWE = ("platform:", "expert:")
"""Accounts that may be below zero; of a member only `debt` may."""
PLEDGES = 12
PLEDGE_UNITS = 7_001


@pytest.fixture(autouse=True)
async def books_stay_clean(house):
    yield
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


def order(session_id: str = "s1") -> SessionOrder:
    return SessionOrder(session_id, "ann", "eve", Tariff(RATE, 100, 50))


def judged(house) -> list[int]:
    """From now on every commit is looked at before it is one; grows with each."""
    commits: list[int] = []
    write, accounts, postings = house.database.write, schema.accounts.c, schema.postings.c
    uneven = sa.select(postings.transfer).group_by(postings.transfer)
    uneven = uneven.having(sa.func.sum(postings.units) != 0)

    @asynccontextmanager
    async def looked_at():
        async with write() as connection:
            yield connection
            rows = await connection.execute(sa.select(accounts.account, accounts.units))
            units = {account: units for account, units in rows}
            assert sum(units.values()) == 0
            below = {account for account in units if units[account] < 0}
            assert {one for one in below if not one.startswith(MAY_OWE)} <= {"member:ann:debt"}
            assert (await connection.execute(uneven)).all() == []
            commits.append(1)

    house.database.write = looked_at
    return commits


@pytest.mark.threads
async def test_every_commit_sums_to_zero_and_leaves_no_member_below_it(house) -> None:
    commits = judged(house)
    await house.fund("ann", FUNDS_UNITS)
    await house.wallet.grant_promo("ann", 5_000, "gift", "welcome")
    await house.start(order())
    await house.run(3)
    cam = house.gate()
    assert isinstance(await house.till.switch("s1", Component.CAM2CAM, True), Switched)
    house.till.attach("s1", Component.CAM2CAM, cam)
    cam.start()
    await house.run(6)
    tips = [Debit(f"tip{n}", "ann", "eve", 30_000, "surprise", "x") for n in range(9)]
    paid = await asyncio.gather(*map(house.wallet.counter.debit, tips))
    posted = [one for one in paid if isinstance(one, Posted)]
    assert 0 < len(posted) < len(tips)
    await house.run(4)
    cost = (await house.till.close("s1", "member_left")).cost_units
    refunds, store = Refunds(house.wallet.ledger), house.wallet.ledger
    await refunds.request("s1", "ann", "No sound.")
    assert isinstance(await refunds.approve("s1", cost - 1, "staff"), Refund)
    back = Reverse("back", posted[0].transfer, 29_999, "tip")
    assert isinstance(await store.execute(back), Posted)
    assert len(commits) > 20


async def outcome_of(store: LedgerStore, request: PostHold | VoidHold) -> str:
    outcome = await store.execute(request)
    return type(request).__name__ if isinstance(outcome, Posted) else outcome.code


@pytest.mark.threads
async def test_a_pledge_is_released_or_refunded_and_never_both(house, databases: Store) -> None:
    """The goal is reached in one process while the group is cancelled in another."""
    elsewhere = await Database.open(house.url)
    here, there = house.wallet.ledger, LedgerStore(elsewhere, utc_now=house.clock.utc)
    members = [f"m{n}" for n in range(PLEDGES)]
    for n, member in enumerate(members):
        await house.fund(member, PLEDGE_UNITS + n)
        pledge = Hold(f"pledge-{member}", member, f"hold-{member}", PLEDGE_UNITS, "group:1")
        assert isinstance(await here.execute(pledge), Posted)
    release = [
        PostHold(f"release-{m}", f"hold-{m}", "eve", PLEDGE_UNITS, "group", "group:1")
        for m in members
    ]
    cancel = [VoidHold(f"cancel-{m}", f"hold-{m}", "group:1") for m in reversed(members)]
    ends = await asyncio.gather(
        *(outcome_of(here, request) for request in release),
        *(outcome_of(there, request) for request in cancel),
    )
    released, refunded = ends.count("PostHold"), ends.count("VoidHold")
    assert released + refunded == PLEDGES
    assert ends.count("hold_voided") == refunded
    assert ends.count("hold_posted") == released
    left = [await house.wallet.balance(member) for member in members]
    assert sum(one.held_units for one in left) == 0
    spent = sum(PLEDGE_UNITS + n - one.posted for n, one in enumerate(left))
    assert spent == released * PLEDGE_UNITS
    async with house.database.read() as connection:
        payable = schema.accounts.c.account == ledger.payable_account("eve")
        earned = await connection.scalar(sa.select(schema.accounts.c.units).where(payable))
    assert earned == released * ledger.share(PLEDGE_UNITS, 60)
    again = await here.execute(VoidHold("again", f"hold-{members[0]}", "group:1"))
    assert isinstance(again, Refused)
    await elsewhere.close()


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=-400)])
async def test_a_step_of_the_calendar_changes_no_charge_and_no_hold(house, step) -> None:
    """Forth and back in the middle of a session, at ticks and between them."""
    await house.fund("ann", FUNDS_UNITS)
    gate = await house.start(order())
    hold = Hold("h", "ann", "hold-1", 1_000, "x", house.wallet.ledger.now_ms() + 3_600_000)
    assert isinstance(await house.wallet.ledger.execute(hold), Posted)
    for n in range(24):
        house.clock.epoch += step if n % 2 == 0 else -step
        before = house.clock.now_ns
        await house.run(0.5 + n % 3)
        assert house.till.open_sessions == 1
        assert gate.until_ns > house.clock.now_ns > before
    summary = await house.till.close("s1", "member_left")
    assert summary.cost_units == gate.sum_held_s * RATE
    assert summary.held_ms == (gate.passed[-1] - gate.passed[0]) // 1_000_000
    assert gate.sum_held_s >= 34
    record = await session_record(house.database, "s1")
    assert record is not None
    assert record.summary.held_ms == summary.held_ms
    assert isinstance(await house.wallet.ledger.execute(VoidHold("v", "hold-1", "x")), Posted)
    assert (await house.wallet.balance("ann")).posted == FUNDS_UNITS - summary.cost_units
