"""The till on a real database: vectors, gates, switches, exhaustion, recovery."""

from __future__ import annotations

from billing_meter.meter import Exhausted, SessionOrder
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened


async def test_125_seconds_at_2_99_cost_37375_units(house) -> None:
    await house.wallet.credit_purchase("ann", 167_940, "p1", "test")
    opened = await house.till.open(SessionOrder("s1", "ann", "eve", Tariff(299, 100, 50)))
    assert isinstance(opened, Opened)
    gate = house.gate()
    house.till.attach("s1", Component.PRIVATE, gate)
    gate.start()
    await house.run(125.5)
    summary = await house.till.close("s1", "member_left")
    assert summary.cost_units == 37_375
    balance = await house.wallet.balance("ann")
    assert (balance.available, balance.held_units) == (167_940 - 37_375, 0)
    assert summary.balance_units == balance.available
    assert summary.earned_units == 37_375 * 60 // 100


async def test_the_last_two_seconds_of_a_balance_are_sold_and_two_units_stay(house) -> None:
    # A session needs a minute to start, so 0.10 credits is what is left of it after 60 s.
    await house.wallet.credit_purchase("ann", 299 * 60 + 600, "p1", "test")
    await house.till.open(SessionOrder("s1", "ann", "eve", Tariff(299, 100, 50)))
    gate = house.gate()
    house.till.attach("s1", Component.PRIVATE, gate)
    gate.start()
    started_ns = house.clock.now_ns
    await house.run(65)
    assert house.of(Exhausted) == [Exhausted()]
    assert gate.passed[-1] < started_ns + 62 * 1_000_000_000
    summary = await house.till.close("s1", "balance_empty")
    assert summary.cost_units == 299 * 62
    assert (await house.wallet.balance("ann")).available == 2
