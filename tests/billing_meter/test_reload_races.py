"""Auto-reload under races and crashes: one purchase at a time, credited once, never too many."""

from __future__ import annotations

import asyncio

import pytest

from billing_meter.ledger import Debit, Posted
from billing_meter.orders import Orders, OrderState
from billing_meter.packages import PACKAGES, Package
from billing_meter.providers import Charge, ChargeResult, FakeProvider, ProviderUnavailable, Settled
from billing_meter.reload import BACKOFF_MS, THRESHOLD_UNITS, Reload, ReloadRefused
from billing_meter.verify import reconcile, verify

pytestmark = pytest.mark.threads

CREDITS_27, CREDITS_9 = 167_940, 59_940


class Bank(FakeProvider):
    """Loses answers on demand: before anything was charged, or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.loses: list[str] = []

    async def charge(self, charge: Charge) -> ChargeResult:
        fault = self.loses.pop(0) if self.loses else ""
        if fault == "before":
            raise ProviderUnavailable("no answer")
        result = await super().charge(charge)
        if fault == "after":
            raise ProviderUnavailable("no answer")
        return result


class Desk:
    """One process's orders and auto-reload; `another` is a second one on the same store."""

    def __init__(self, house, bank: Bank) -> None:
        self.house, self.bank = house, bank
        self.orders = Orders(
            house.database, house.wallet, bank, utc_now=house.clock.utc, poll_first_s=86_400.0
        )
        self.reload = Reload(house.database, house.wallet, self.orders, utc_now=house.clock.utc)

    def another(self) -> Desk:
        return Desk(self.house, self.bank)

    async def close(self) -> None:
        await self.reload.idle()
        await self.orders.close()


@pytest.fixture
async def desk(house):
    made = Desk(house, Bank())
    await house.wallet.credit_purchase("ann", 50_000, "p", "test")
    await house.wallet.open_expert("eve")
    yield made
    await made.close()
    assert (await verify(house.database)).findings == ()
    assert (await reconcile(house.database)).findings == ()


async def spend(house, units: int, key: str = "d") -> None:
    debit = Debit(key, "ann", "eve", units, "surprise", key)
    assert isinstance(await house.wallet.ledger.execute(debit), Posted)


async def posted(house) -> int:
    return (await house.wallet.balance("ann")).posted


async def test_any_debit_triggers_it_at_the_threshold_and_not_above(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True)
    await spend(house, 50_000 - THRESHOLD_UNITS - 1, "d1")
    await desk.reload.idle()
    assert desk.bank.charges == []
    await spend(house, 1, "d2")
    await desk.reload.idle()
    assert await posted(house) == THRESHOLD_UNITS + CREDITS_27
    assert len(desk.bank.charges) == 1


async def test_a_changed_package_counts_from_the_next_purchase(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True, token="tok_slow")
    await spend(house, 10_000)
    await desk.reload.idle()
    await desk.reload.set_settings("ann", enabled=True, package_id="credits-9")
    while await desk.orders.resume_pending():
        pass
    assert await posted(house) == 40_000 + CREDITS_27
    await desk.reload.check("ann")
    await spend(house, CREDITS_27, "d2")
    await desk.reload.idle()
    assert len(desk.bank.charges) == 2
    while await desk.orders.resume_pending():
        pass
    assert await posted(house) == 40_000 + CREDITS_9
    orders = await desk.orders.list("ann")
    assert sorted(order.package_id for order in orders) == ["credits-27", "credits-9"]


async def test_what_was_spent_while_one_was_in_flight_is_looked_at_when_it_ends(
    house, desk
) -> None:
    """A debit during the wait triggers nothing by itself; the purchase's end must look again."""
    await desk.reload.set_settings("ann", enabled=True, package_id="credits-9", token="tok_slow")
    await spend(house, 10_000, "d1")
    await desk.reload.idle()
    await spend(house, 35_000, "d2")  # told to wait: one is in flight
    await desk.reload.idle()
    while await desk.orders.resume_pending():
        await spend(house, 5_000, "d3")
    await desk.reload.idle()
    assert len(desk.bank.charges) == 1
    await spend(house, 20_000, "d4")  # in the same second
    await desk.reload.idle()
    assert len(desk.bank.charges) == 2


async def test_fifty_triggers_in_two_processes_are_one_purchase(house, desk) -> None:
    other = desk.another()
    await desk.reload.set_settings("ann", enabled=True, token="tok_slow")
    await other.reload.load()
    await spend(house, 10_000)
    both = (desk.reload, other.reload)
    await asyncio.gather(*(both[n % 2].check("ann") for n in range(50)))
    assert len(desk.bank.charges) == 1
    assert len(await desk.orders.list("ann")) == 1
    await asyncio.gather(desk.orders.resume_pending(), other.orders.resume_pending())
    while await other.orders.resume_pending():
        pass
    assert await posted(house) == 40_000 + CREDITS_27
    assert (await desk.reload.settings("ann")).state == "armed"
    await other.close()


async def test_a_purchase_that_is_confirmed_ten_times_is_credited_once(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True, token="tok_slow")
    await spend(house, 10_000)
    await desk.reload.idle()
    [charge] = desk.bank.charges
    settled = Settled("fake", charge.price_minor, charge.currency)
    await asyncio.gather(*(desk.orders.confirm(charge.attempt_id, settled) for _ in range(10)))
    while await desk.orders.resume_pending():
        pass
    await desk.reload.idle()
    assert await posted(house) == 40_000 + CREDITS_27
    assert len(desk.bank.charges) == 1


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_a_crash_around_the_charge_is_resumed_and_charged_once(house, desk, lost) -> None:
    """The row is in flight, the process is gone: the next one asks about the same attempt."""
    desk.bank.loses = [lost]
    await desk.reload.set_settings("ann", enabled=True)
    await spend(house, 10_000)
    await desk.reload.idle()
    assert (await desk.reload.settings("ann")).state == "in_flight"
    await desk.close()
    restarted = desk.another()
    await restarted.reload.load()
    assert await restarted.reload.check("ann") is None  # nothing new while that one is open
    assert await restarted.orders.resume_pending() == 0
    assert await posted(house) == 40_000 + CREDITS_27
    assert len(desk.bank.charges) == 1
    assert (await restarted.reload.settings("ann")).state == "armed"
    await restarted.close()


async def test_small_packages_are_bought_again_up_to_the_days_cap(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True, package_id="credits-9", daily_cap=3)
    for n in range(4):
        await spend(house, await posted(house), f"d{n}")
        await desk.reload.idle()
        await desk.reload.check("ann")
    assert await posted(house) == 0
    assert len(desk.bank.charges) == 3
    assert (await desk.reload.settings("ann")).notice == "daily_cap"


async def test_after_a_decline_nothing_is_tried_before_its_time_in_any_process(house, desk) -> None:
    other = desk.another()
    await desk.reload.set_settings("ann", enabled=True, token="tok_declined")
    await other.reload.load()
    await spend(house, 10_000)
    await desk.reload.idle()
    for wait_s in (0, BACKOFF_MS / 1_000 - 1):
        house.clock.advance(wait_s)
        await asyncio.gather(*(one.reload.check("ann") for one in (desk, other) * 5))
        assert len(desk.bank.charges) == 1
    house.clock.advance(1)
    await asyncio.gather(*(one.reload.check("ann") for one in (desk, other) * 5))
    assert len(desk.bank.charges) == 2
    settings = await other.reload.settings("ann")
    assert (settings.enabled, settings.notice) == (False, "declined")
    states = {order.state for order in await desk.orders.list("ann")}
    assert states == {OrderState.FAILED}
    assert await posted(house) == 40_000  # spent to zero by whoever wants, and nothing is charged
    await spend(house, 40_000, "rest")
    await asyncio.gather(desk.reload.idle(), other.reload.idle())
    assert len(desk.bank.charges) == 2
    await other.close()


async def test_a_package_that_would_land_on_the_threshold_is_refused(house, desk) -> None:
    seven = Package("credits-7", THRESHOLD_UNITS, 700, "EUR", False)
    desk.orders.catalog = {**PACKAGES, seven.id: seven}
    outcome = await desk.reload.set_settings("ann", enabled=True, package_id=seven.id)
    assert outcome == ReloadRefused("package_too_small")
