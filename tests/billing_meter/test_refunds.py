"""Refunds of private sessions: a day to ask, one decision, and money goes where it came from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from billing_meter import ledger, schema
from billing_meter.ledger import Debit
from billing_meter.ledger_store import Balance
from billing_meter.meter import SessionOrder
from billing_meter.refunds import COMPLAINT_CHARS_MAX, Past, Refund, RefundRefused, Refunds
from billing_meter.statements import reconcile, statement, verify
from billing_meter.tariff import Tariff

DAY_S = 24 * 60 * 60
MINUTE_UNITS = 60 * 299


@pytest.fixture
async def refunds(house) -> AsyncIterator[Refunds]:
    """A house in which ann had a minute with eve, paid with 5,000 given units and bought ones."""
    await house.fund("ann", 100_000)
    await house.wallet.grant_promo("ann", 5_000, "gift", "welcome")
    await house.start(SessionOrder("s1", "ann", "eve", Tariff(299, 100, 50)))
    await house.run(60.5)
    summary = await house.till.close("s1", "member_left")
    assert summary.cost_units == MINUTE_UNITS
    yield Refunds(house.wallet.ledger)
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def units(house, account: str) -> int:
    table = schema.accounts
    async with house.database.read() as connection:
        query = sa.select(table.c.units).where(table.c.account == account)
        return int(await connection.scalar(query) or 0)


async def test_a_full_refund_puts_everything_back_where_it_came_from(house, refunds) -> None:
    asked = await refunds.request("s1", "ann", " No sound. ")
    assert isinstance(asked, Refund)
    assert (asked.state, asked.complaint, asked.granted_units) == ("requested", "No sound.", 0)
    assert await refunds.of_state("requested", limit=9) == [asked]
    done = await refunds.approve("s1", MINUTE_UNITS, "staff")
    assert isinstance(done, Refund)
    assert (done.state, done.granted_units, done.decided_by) == ("approved", MINUTE_UNITS, "staff")
    assert await house.wallet.balance("ann") == Balance(100_000, 5_000, 0)
    assert await units(house, ledger.payable_account("eve")) == 0
    assert await units(house, ledger.REVENUE) == 0
    listed = await statement(house.database, "ann", 0, 2**53)
    assert [(line.kind, line.units) for line in listed.lines][-2:] == [
        ("session", -MINUTE_UNITS),
        ("session_refund", MINUTE_UNITS),
    ]


async def test_a_part_goes_back_to_what_was_taken_last(house, refunds) -> None:
    await refunds.request("s1", "ann", "Late.")
    done = await refunds.approve("s1", 1_001, "staff")
    assert isinstance(done, Refund)
    assert await house.wallet.balance("ann") == Balance(105_000 - MINUTE_UNITS + 1_001, 0, 0)
    kept = ledger.share(MINUTE_UNITS - 1_001, 60)
    assert await units(house, ledger.payable_account("eve")) == kept
    # What whoever decides, and whoever is to be told, finds of it.
    assert await refunds.decided(limit=9) == [done]
    assert await refunds.of_sessions({"s1", "none"}) == {"s1": done}
    assert await refunds.past({"ann", "bob"}) == {"ann": Past(1, 1, 1_001)}
    assert done.decided_at_ms is not None
    assert await refunds.decided_since(done.decided_at_ms) == [done]
    assert await refunds.decided_since(done.decided_at_ms + 1) == []


async def test_what_is_owed_is_paid_from_what_comes_back(house, refunds, shop, stripe) -> None:
    await shop.bought()
    await house.wallet.ledger.execute(
        Debit("spend", "ann", "eve", (await house.wallet.balance("ann")).available, "tip", "t1")
    )
    dispute = stripe.dispute(stripe.session["payment_intent"])
    await shop.webhooks.take(*stripe.event("charge.dispute.created", dispute["id"]))
    owed = await house.wallet.debt_units("ann")
    assert owed > MINUTE_UNITS
    await refunds.request("s1", "ann", "No sound.")
    await refunds.approve("s1", MINUTE_UNITS, "staff")
    promo = 5_000
    assert await house.wallet.debt_units("ann") == owed - (MINUTE_UNITS - promo)
    assert await house.wallet.balance("ann") == Balance(0, promo, 0)


@pytest.mark.parametrize(("late_ms", "code"), [(-1, None), (0, "window_closed")])
async def test_a_day_after_the_end_it_is_too_late(house, refunds, late_ms, code) -> None:
    table = schema.sessions
    async with house.database.read() as connection:
        ended_ms = await connection.scalar(sa.select(table.c.ended_at_ms))
    wait_ms = ended_ms + DAY_S * 1_000 + late_ms - house.wallet.ledger.now_ms()
    house.clock.advance(wait_ms / 1_000)
    asked = await refunds.request("s1", "ann", "Late.")
    assert asked == RefundRefused(code) if code else isinstance(asked, Refund)


async def test_who_may_ask_for_what(house, refunds) -> None:
    await house.fund("bob", 100_000)
    assert await refunds.request("s1", "bob", "Mine?") == RefundRefused("no_session")
    assert await refunds.request("s2", "ann", "None.") == RefundRefused("no_session")
    gate = await house.start(SessionOrder("s3", "bob", "eve", Tariff(299, 100, 50)))
    assert await refunds.request("s3", "bob", "Soon.") == RefundRefused("not_ended")
    gate.silence()
    await house.till.close("s3", "member_left")
    assert await refunds.request("s3", "bob", "Free.") == RefundRefused("nothing_charged")
    for complaint in ("", " ", "x" * (COMPLAINT_CHARS_MAX + 1)):
        with pytest.raises(ValueError, match="characters"):
            await refunds.request("s1", "ann", complaint)


@pytest.mark.threads
async def test_a_decision_is_one_and_final(house, refunds) -> None:
    assert await refunds.deny("s1", "staff") == RefundRefused("no_refund")
    asked = await asyncio.gather(*(refunds.request("s1", "ann", "Twice.") for _ in range(5)))
    assert sorted(isinstance(one, Refund) for one in asked) == [False] * 4 + [True]
    too_much = await refunds.approve("s1", MINUTE_UNITS + 1, "staff")
    assert too_much == RefundRefused("exceeds_charge")
    with pytest.raises(ValueError, match="gives something back"):
        await refunds.approve("s1", 0, "staff")
    decided = await asyncio.gather(
        *(refunds.approve("s1", 100 * n, "staff") for n in range(1, 4)),
        *(refunds.deny("s1", "other") for _ in range(3)),
    )
    assert sum(isinstance(one, Refund) for one in decided) == 1
    assert decided.count(RefundRefused("already_decided")) == 5
    stored = await refunds.of_session("s1")
    assert stored is not None
    back = 105_000 - MINUTE_UNITS + stored.granted_units
    assert (await house.wallet.balance("ann")).available == back
    assert await refunds.request("s1", "ann", "Again.") == RefundRefused("already_requested")


@pytest.mark.parametrize("fault", ["before", "during"])
async def test_without_a_database_nothing_is_decided(house, refunds, fault) -> None:
    await refunds.request("s1", "ann", "Late.")
    house.database.fault = fault
    with pytest.raises(Exception, match="disk"):
        await refunds.approve("s1", 100, "staff")
    house.database.fault = None
    stored = await refunds.of_session("s1")
    assert stored is not None
    assert (stored.state, stored.granted_units) == ("requested", 0)
    assert isinstance(await refunds.approve("s1", 100, "staff"), Refund)


async def test_reconcile_sees_a_refund_that_does_not_add_up(house, refunds) -> None:
    await refunds.request("s1", "ann", "Late.")
    await refunds.approve("s1", 1_000, "staff")

    async def granted(units_granted: int) -> set[str]:
        async with house.database.write() as connection:
            await connection.execute(sa.update(schema.refunds).values(granted_units=units_granted))
        return {finding.code for finding in (await reconcile(house.database)).findings}

    assert await granted(999) == {"refund_wrong"}
    assert await granted(1_000) == set()
