"""Auto-reload: the edge at 7 credits, one purchase at a time, and no loop after declines."""

from __future__ import annotations

from datetime import timedelta

import pytest

from billing_meter.ledger import Debit
from billing_meter.limits import Span
from billing_meter.limits_store import SpendLimits
from billing_meter.meter import SessionOrder
from billing_meter.orders import OrderRefused, Orders, OrderState
from billing_meter.providers import FakeProvider
from billing_meter.reload import BACKOFF_MS, ROW_LOOK_MS, Reload, ReloadRefused, ReloadSettings
from billing_meter.tariff import Component, Tariff
from billing_meter.wallet import Wallet


class Desk:
    """Orders and auto-reload over the house."""

    def __init__(self, house) -> None:
        self.house = house
        self.token = "tok_ok"
        self.provider = FakeProvider()
        self.orders = Orders(house.database, house.wallet, self.provider, utc_now=house.clock.utc)
        self.reload = Reload(house.database, house.wallet, self.orders, utc_now=house.clock.utc)
        house.till.listen_spent(self.reload.on_spent)

    async def posted(self) -> int:
        return (await self.house.wallet.balance("ann")).posted

    async def second(self) -> None:
        await self.house.run(1)
        await self.reload.idle()


@pytest.fixture
async def desk(house):
    made = Desk(house)
    yield made
    await made.reload.idle()
    await made.orders.close()


async def _session(house, units: int) -> None:
    await house.wallet.credit_purchase("ann", units, "p1", "test")
    await house.till.open(SessionOrder("s1", "ann", "eve", Tariff(299, 100, 50)))
    gate = house.gate()
    house.till.attach("s1", Component.PRIVATE, gate)
    gate.start()


async def test_7_05_credits_reload_after_the_second_second(house, desk) -> None:
    settings = await desk.reload.set_settings("ann", enabled=True)
    assert isinstance(settings, ReloadSettings)
    assert (settings.enabled, settings.state) == (True, "armed")
    await _session(house, 42_300)
    await desk.second()
    assert (await desk.posted(), len(desk.provider.charges)) == (42_001, 0)
    await desk.second()
    assert (await desk.posted(), len(desk.provider.charges)) == (41_702 + 167_940, 1)
    await desk.second()
    assert (await desk.posted(), len(desk.provider.charges)) == (41_403 + 167_940, 1)
    [order] = await desk.orders.list("ann")
    assert (order.origin, order.state) == ("auto_reload", OrderState.SETTLED)
    assert (await desk.reload.settings("ann")).state == "armed"


async def test_it_is_off_until_the_member_opts_in(house, desk) -> None:
    await _session(house, 42_300)
    for _ in range(4):
        await desk.second()
    assert desk.provider.charges == []
    assert await desk.reload.settings("ann") == ReloadSettings(False, "off", "credits-27", 5)


async def test_a_session_that_starts_at_the_threshold_reloads(house, desk) -> None:
    await house.wallet.credit_purchase("ann", 42_000, "p1", "test")
    await desk.reload.set_settings("ann", enabled=True)
    assert desk.provider.charges == []
    await house.till.open(SessionOrder("s1", "ann", "eve", Tariff(299, 100, 50)))
    await desk.reload.idle()
    assert await desk.posted() == 42_000 + 167_940


async def test_one_retry_after_a_decline_then_off_until_the_member_acts(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True, token="tok_declined")
    await _session(house, 42_300)
    for _ in range(5):
        await desk.second()
    assert len(desk.provider.charges) == 1
    assert (await desk.reload.settings("ann")).state == "backoff"
    await house.run(BACKOFF_MS / 1_000)
    await desk.second()
    settings = await desk.reload.settings("ann")
    assert (settings.enabled, settings.notice) == (False, "declined")
    for _ in range(10):
        await desk.second()
    assert len(desk.provider.charges) == 2
    await desk.reload.set_settings("ann", enabled=True, token="tok_ok")
    await desk.second()
    assert len(desk.provider.charges) == 3
    assert (await desk.reload.settings("ann")).state == "armed"


async def test_who_opts_in_or_out_with_another_process_is_noticed(house, desk) -> None:
    """The session is here; the settings page was served by another process of the same ledger."""
    wallet = Wallet(house.database, utc_now=house.clock.utc)
    orders = Orders(house.database, wallet, FakeProvider(), utc_now=house.clock.utc)
    other = Reload(house.database, wallet, orders, utc_now=house.clock.utc)
    looked = count_looks(desk.reload)
    await _session(house, 42_300)
    await desk.second()
    await desk.second()  # at the threshold: nobody opted in
    assert len(looked) == 1
    await other.set_settings("ann", enabled=True, package_id="credits-9")
    for _ in range(ROW_LOOK_MS // 1_000 - 1):
        await desk.second()
    assert (len(looked), desk.provider.charges) == (1, [])
    await desk.second()
    assert (len(looked), len(desk.provider.charges)) == (2, 1)
    await other.set_settings("ann", enabled=False)
    await house.wallet.ledger.execute(Debit("tip", "ann", "eve", 70_000, "tip", "t"))
    for _ in range(ROW_LOOK_MS // 1_000):
        await desk.second()
    assert (len(looked), len(desk.provider.charges)) == (3, 1)  # it is known to be off again


def count_looks(reload: Reload) -> list[str]:
    """Whoever a reload looks up from now on, whether they opted in."""
    looked: list[str] = []
    ask = reload._look

    async def counted() -> None:
        looked.extend(reload._to_look)
        await ask()

    reload._look = counted
    return looked


async def test_the_back_off_outlives_a_restart(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True, token="tok_declined")
    await _session(house, 42_300)
    for _ in range(3):
        await desk.second()
    restarted = Reload(house.database, house.wallet, desk.orders, utc_now=house.clock.utc)
    await restarted.load()
    assert await restarted.check("ann") is None
    assert len(desk.provider.charges) == 1


async def test_a_slow_purchase_is_the_only_one_in_flight(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True, token="tok_slow")
    await _session(house, 42_300)
    for _ in range(6):
        await desk.second()
    assert len(desk.provider.charges) == 1
    assert (await desk.reload.settings("ann")).state == "in_flight"
    # Off and on again while it is under way must not buy a second one.
    await desk.reload.set_settings("ann", enabled=False)
    await desk.reload.set_settings("ann", enabled=True, token="tok_slow")
    for _ in range(4):
        await desk.second()
    assert len(desk.provider.charges) == 1
    while await desk.orders.resume_pending():
        pass
    assert await desk.posted() > 167_940


async def test_switched_off_in_flight_completes_and_none_follows(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True, token="tok_slow")
    await _session(house, 42_300)
    for _ in range(3):
        await desk.second()
    await desk.reload.set_settings("ann", enabled=False)
    while await desk.orders.resume_pending():
        pass
    assert (await desk.reload.settings("ann")).state == "off"
    assert await desk.posted() == 42_300 - 3 * 299 + 167_940
    assert len(desk.provider.charges) == 1


async def test_the_daily_cap_stops_it_until_the_next_day(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True, package_id="credits-9", daily_cap=1)
    await house.wallet.credit_purchase("ann", 42_000, "p1", "test")
    assert await desk.reload.check("ann") is not None
    assert await desk.reload.check("ann") is None
    debited = await house.wallet.credit_purchase("ann", 1, "p2", "test")
    assert debited
    # Still above the threshold: nothing to buy. Spend it, then the cap is what stops it.
    await house.till.open(SessionOrder("s1", "ann", "eve", Tariff(9_999, 0, 0)))
    # 101,941 units cannot start at 9,999 a second, so spend through a cheaper session.
    await house.till.open(SessionOrder("s2", "ann", "eve", Tariff(1_500, 0, 0)))
    gate = house.gate()
    house.till.attach("s2", Component.PRIVATE, gate)
    gate.start()
    for _ in range(50):
        await desk.second()
    assert len(desk.provider.charges) == 1
    assert (await desk.reload.settings("ann")).notice == "daily_cap"
    house.clock.advance(86_400)
    await desk.reload.check("ann")
    assert len(desk.provider.charges) == 2


async def test_a_calendar_that_goes_back_and_on_gives_no_second_cap(house, desk) -> None:
    await desk.reload.set_settings("ann", enabled=True, package_id="credits-9", daily_cap=1)
    await house.wallet.credit_purchase("ann", 42_000, "p1", "test")
    assert await desk.reload.check("ann") is not None

    async def spent(step: timedelta) -> None:
        house.clock.epoch += step
        units = (await desk.posted()) - 1
        await house.wallet.ledger.execute(Debit(f"d{step}", "ann", "eve", units, "tip", "t"))
        await desk.reload.idle()
        await desk.reload.check("ann")

    await spent(-timedelta(days=1))
    await house.wallet.credit_purchase("ann", 42_000, "p2", "test")
    await spent(timedelta(days=1))
    assert len(desk.provider.charges) == 1
    assert (await desk.reload.settings("ann")).notice == "daily_cap"


async def test_impossible_settings_are_refused(desk) -> None:
    cheap = await desk.reload.set_settings("ann", enabled=True, package_id="nope")
    assert cheap == ReloadRefused("unknown_package")
    capped = await desk.reload.set_settings("ann", enabled=True, daily_cap=0)
    assert capped == ReloadRefused("bad_cap")
    desk.provider.default_token = None
    carded = await desk.reload.set_settings("ann", enabled=True)
    assert carded == ReloadRefused("no_payment_method")


async def test_nothing_is_reloaded_beyond_what_the_members_limits_let_them_spend(
    house, desk
) -> None:
    limits = SpendLimits(house.database, house.wallet.ledger)
    await desk.reload.set_settings("ann", enabled=True)
    await limits.set_limit("ann", Span.DAY, 42_300)
    await _session(house, 42_300)
    for _ in range(5):
        await desk.second()
    assert desk.provider.charges == []
    settings = await desk.reload.settings("ann")
    assert (settings.enabled, settings.state, settings.notice) == (True, "armed", "limit_day")
    # A new day: the limit leaves more than the balance again.
    house.clock.advance(86_400)
    await house.till.close("s1", "member_left")
    await desk.reload.idle()
    await desk.reload.check("ann")
    assert len(desk.provider.charges) == 1
    assert (await desk.reload.settings("ann")).notice is None


async def test_nothing_is_reloaded_during_a_break_and_pending_purchases_complete(
    house, desk
) -> None:
    limits = SpendLimits(house.database, house.wallet.ledger)
    order = await desk.orders.create("ann", "credits-27", "card", "k1")
    await desk.orders.pay("ann", order.order_id, "tok_slow")
    await limits.take_break("ann", 1)
    await desk.reload.set_settings("ann", enabled=True, token="tok_ok")
    assert await desk.reload.check("ann") is None
    assert (await desk.reload.settings("ann")).notice == "on_break"
    assert await desk.orders.create("ann", "credits-27", "card", "k2") == OrderRefused("on_break")
    assert len(desk.provider.charges) == 1
    while (await desk.orders.order("ann", order.order_id)).state is not OrderState.SETTLED:
        await desk.orders.resume_pending()
    assert await desk.posted() == 167_940
