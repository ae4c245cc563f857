"""Buying: three steps, each settled once whatever the provider does, premium in one transaction."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from billing_meter import schema
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
from billing_meter.wallet import recount_purchases


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
    assert await orders.cancel("bob", mine.order_id) == OrderRefused("unknown_order")
    assert await orders.order("ann", mine.order_id) == mine
    cancelled = await orders.cancel("ann", mine.order_id)
    assert isinstance(cancelled, Order)
    assert cancelled.state is OrderState.FAILED
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


DAY_MS = 86_400_000


async def test_the_extras_are_counted_from_the_last_purchase_that_stands(house, orders) -> None:
    async def until() -> int:
        return (await house.wallet.standing("ann")).extras_until_ms - 30 * DAY_MS

    now_ms = house.wallet.ledger.now_ms
    made_ms = now_ms()
    assert await until() == made_ms  # a basic account: since it was made
    house.clock.advance(40 * 86_400)
    await house.wallet.grant_promo("ann", 59_940, "free", "welcome")
    premium_ms = now_ms()
    standing = await house.wallet.standing("ann")
    assert (standing.premium, standing.last_purchase_at_ms) == (True, None)
    assert await until() == premium_ms == made_ms + 40 * DAY_MS
    house.clock.advance(86_400)
    await house.wallet.grant_promo("ann", 100, "more", "sorry")
    assert await until() == premium_ms  # a gift is no purchase
    order = await _order(orders)
    assert await until() == premium_ms  # nor is an order that is not settled
    await orders.pay("ann", order.order_id, "tok_ok")
    first_ms = now_ms()
    assert await until() == first_ms
    house.clock.advance(86_400)
    failed = await _order(orders, "k2")
    await orders.pay("ann", failed.order_id, "tok_declined")
    assert await until() == first_ms
    house.clock.advance(86_400)
    second = await _order(orders, "k3")
    await orders.pay("ann", second.order_id, "tok_ok")
    assert await until() == now_ms()


@pytest.mark.parametrize("state", ["refunded", "charged_back"])
async def test_a_purchase_that_went_back_does_not_count(house, orders, state) -> None:
    first = await _order(orders)
    await orders.pay("ann", first.order_id, "tok_ok")
    first_ms = house.wallet.ledger.now_ms()
    house.clock.advance(86_400)
    second = await _order(orders, "k2")
    await orders.pay("ann", second.order_id, "tok_ok")
    told: list[str] = []
    house.wallet.on_standing = told.append
    for order, last_ms in ((second, first_ms), (first, None)):
        async with house.wallet.ledger.transaction() as transaction:
            changed = sa.update(schema.orders).values(state=state)
            mine = changed.where(schema.orders.c.order_id == order.order_id)
            await transaction.connection.execute(mine)
            await recount_purchases(transaction, "ann")
        assert (await house.wallet.standing("ann")).last_purchase_at_ms == last_ms
    assert told == ["ann", "ann"]
    assert await house.wallet.is_premium("ann")
    house.clock.advance(1)
    await house.fund("ann", 6_000)  # an import
    async with house.wallet.ledger.transaction() as transaction:
        await recount_purchases(transaction, "ann")
    standing = await house.wallet.standing("ann")
    assert standing.last_purchase_at_ms == house.wallet.ledger.now_ms()


async def test_every_settled_purchase_says_that_rights_changed(house, orders) -> None:
    told: list[str] = []
    house.wallet.on_standing = told.append
    for key in ("k1", "k2"):
        order = await _order(orders, key)
        await orders.pay("ann", order.order_id, "tok_ok")
    assert told == ["ann", "ann"]
