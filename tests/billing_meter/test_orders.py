"""Buying: three steps, each settled once whatever the provider does, premium in one transaction."""

from __future__ import annotations

import pytest

from billing_meter.order_store import Order, OrderState
from billing_meter.orders import OrderRefused, Orders
from billing_meter.packages import DEFAULT_PACKAGE_ID, PACKAGES
from billing_meter.providers import (
    Declined,
    DeclineReason,
    FakeProvider,
    NoProvider,
    Pending,
    ProviderUnavailable,
    Settled,
)


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider()


@pytest.fixture
async def orders(house, provider):
    made = Orders(house.database, house.wallet, provider, utc_now=house.clock.utc)
    yield made
    await made.close()


async def _order(orders: Orders, key: str = "k1") -> Order:
    order = await orders.create("ann", DEFAULT_PACKAGE_ID, "card", key)
    assert isinstance(order, Order)
    return order


def test_the_price_list_has_2799_preselected() -> None:
    chosen = [package for package in PACKAGES.values() if package.preselected]
    assert [package.credits_units for package in chosen] == [167_940]
    assert [p.credits_units for p in PACKAGES.values()] == [59_940, 167_940, 359_940, 599_940]


async def test_a_settled_order_credits_and_makes_premium_in_one_go(house, orders) -> None:
    upgraded: list[str] = []
    pushed: list[int] = []
    house.wallet.on_premium = upgraded.append
    house.wallet.on_balance = lambda _member, balance: pushed.append(balance.available)
    assert not await house.wallet.is_premium("ann")
    order = await _order(orders)
    assert order.state is OrderState.CREATED
    paid = await orders.pay("ann", order.order_id, "tok_ok")
    assert isinstance(paid, Order)
    assert paid.state is OrderState.SETTLED
    assert paid.settled_at_ms is not None
    assert (upgraded, pushed) == (["ann"], [167_940])
    assert await house.wallet.is_premium("ann")
    again = await orders.pay("ann", order.order_id, "tok_ok")
    assert again == paid
    assert (await house.wallet.balance("ann")).paid_units == 167_940


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("tok_declined", DeclineReason.FUNDS),
        ("tok_expired", DeclineReason.CARD_EXPIRED),
        ("tok_blocked", DeclineReason.BANK_BLOCKED),
        ("tok_anything", DeclineReason.OTHER),
    ],
)
async def test_a_declined_order_fails_with_its_reason(house, orders, token, reason) -> None:
    order = await _order(orders)
    paid = await orders.pay("ann", order.order_id, token)
    assert isinstance(paid, Order)
    assert (paid.state, paid.failure) == (OrderState.FAILED, reason.value)
    assert (await house.wallet.balance("ann")).posted == 0
    assert not await house.wallet.is_premium("ann")
    assert await orders.pay("ann", order.order_id, "tok_ok") == OrderRefused("order_closed")


async def test_a_slow_payment_is_authorized_first_and_credited_once(house, orders) -> None:
    order = await _order(orders)
    paid = await orders.pay("ann", order.order_id, "tok_slow")
    assert isinstance(paid, Order)
    assert paid.state is OrderState.AUTHORIZED
    assert (await house.wallet.balance("ann")).posted == 0
    assert await orders.resume_pending() == 1
    assert await orders.resume_pending() == 0
    [settled] = await orders.list("ann")
    assert settled.state is OrderState.SETTLED
    assert (await house.wallet.balance("ann")).posted == 167_940


async def test_a_confirmation_counts_once_however_often_it_comes(house, orders, provider) -> None:
    order = await _order(orders)
    await orders.pay("ann", order.order_id, "tok_slow")
    [charge] = provider.charges
    for _ in range(3):
        confirmed = await orders.confirm(charge.attempt_id, Settled("webhook"))
        assert confirmed is not None
        assert confirmed.state is OrderState.SETTLED
    await orders.confirm(charge.attempt_id, Declined(DeclineReason.OTHER))
    await orders.confirm(charge.attempt_id, Pending("late"))
    [settled] = await orders.list("ann")
    assert settled.state is OrderState.SETTLED
    assert (await house.wallet.balance("ann")).posted == 167_940
    assert await orders.confirm("never-heard-of", Settled("x")) is None


async def test_the_same_key_gives_the_same_order_and_another_body_is_refused(orders) -> None:
    first = await _order(orders)
    assert await _order(orders) == first
    other = await orders.create("ann", "credits-9", "card", "k1")
    assert other == OrderRefused("key_reused")
    theirs = await orders.create("bob", DEFAULT_PACKAGE_ID, "card", "k1")
    assert isinstance(theirs, Order)
    assert theirs.order_id != first.order_id


async def test_what_is_unknown_is_refused_by_name(house, orders) -> None:
    assert await orders.create("ann", "nope", "card", "k") == OrderRefused("unknown_package")
    assert await orders.create("ann", "credits-9", "cash", "k") == OrderRefused("unknown_method")
    assert await orders.create("ann", "credits-9", "card", "") == OrderRefused("key_invalid")
    mine = await _order(orders)
    assert await orders.pay("bob", mine.order_id, "tok_ok") == OrderRefused("unknown_order")
    assert await orders.order("bob", mine.order_id) is None
    closed = Orders(house.database, house.wallet, NoProvider(), utc_now=house.clock.utc)
    refused = await closed.create("ann", "credits-9", "card", "k")
    assert refused == OrderRefused("unknown_method")


async def test_after_a_crash_before_the_provider_was_asked_it_is_asked_once(house) -> None:
    class Dead(FakeProvider):
        async def charge(self, charge):
            raise ProviderUnavailable

    crashed = Orders(house.database, house.wallet, Dead(), utc_now=house.clock.utc)
    order = await crashed.create("ann", DEFAULT_PACKAGE_ID, "card", "k1")
    assert isinstance(order, Order)
    pending = await crashed.pay("ann", order.order_id, "tok_ok")
    assert isinstance(pending, Order)
    assert pending.state is OrderState.CREATED
    await crashed.close()
    provider = FakeProvider()
    orders = Orders(house.database, house.wallet, provider, utc_now=house.clock.utc)
    assert await orders.resume_pending() == 0
    assert await orders.resume_pending() == 0
    assert len(provider.charges) == 1
    assert (await house.wallet.balance("ann")).posted == 167_940
    await orders.close()


async def test_the_extras_of_a_premium_member_end_after_30_days(house, orders) -> None:
    assert not (await house.wallet.standing("ann")).extras
    await house.wallet.grant_promo("ann", 59_940, "free", "welcome")
    standing = await house.wallet.standing("ann")
    assert (standing.premium, standing.extras) == (True, True)
    assert standing.last_purchase_at_ms is None
    house.clock.advance(30 * 86_400 - 1)
    assert (await house.wallet.standing("ann")).extras
    house.clock.advance(1)
    standing = await house.wallet.standing("ann")
    assert (standing.premium, standing.extras) == (True, False)
    order = await _order(orders)
    await orders.pay("ann", order.order_id, "tok_ok")
    assert (await house.wallet.standing("ann")).extras
