"""Promotions: at most 90 percent, to the second, never stacked, frozen in the order."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from billing_meter import promotion_store
from billing_meter.ledger_store import utc_ms
from billing_meter.order_store import Order
from billing_meter.orders import OrderRefused, Orders
from billing_meter.promotions import (
    NEVER_REDUCED,
    PERCENT_MAX,
    Promotion,
    applies,
    fault,
    price,
    reduced,
)
from billing_meter.providers import FakeProvider
from billing_meter.reload import Reload

START = utc_ms(datetime(2026, 12, 1, tzinfo=UTC))
END = utc_ms(datetime(2026, 12, 24, 18, tzinfo=UTC))
SALE = Promotion("sale", 50, START, END)


def cost(*promotions: Promotion, method: str = "card", country: str | None = "NO") -> int:
    return price(promotions, "credits-27", 2_799, method, country, START).price_minor


@pytest.mark.parametrize(
    ("list_minor", "percent", "expected"),
    [(2_799, 50, 1_400), (999, 90, 100), (1_000, 90, 100), (999, 1, 990), (1, 90, 1), (0, 90, 0)],
)
def test_a_price_is_rounded_up_to_a_whole_cent(list_minor, percent, expected) -> None:
    assert reduced(list_minor, percent) == expected


@given(st.integers(0, 10**12), st.integers(1, PERCENT_MAX))
def test_no_discount_is_more_than_its_percentage(list_minor: int, percent: int) -> None:
    paid = reduced(list_minor, percent)
    assert 0 <= paid <= list_minor
    assert (list_minor - paid) * 100 <= list_minor * percent < (list_minor - paid + 1) * 100


def test_the_window_is_exact() -> None:
    at = {START - 1: False, START: True, END - 1: True, END: False}
    assert {ms: applies(SALE, "credits-27", "card", None, ms) for ms in at} == at


@pytest.mark.parametrize("method", sorted(NEVER_REDUCED))
def test_some_ways_to_pay_are_never_reduced(method: str) -> None:
    assert {"pay_by_phone", "paysafecard", "bitcoin", "gift_card"} == NEVER_REDUCED
    assert cost(SALE, method=method) == 2_799


def test_packages_countries_and_methods_limit_it() -> None:
    assert cost(Promotion("p", 50, START, END, packages=frozenset({"credits-9"}))) == 2_799
    here = Promotion("p", 50, START, END, countries=frozenset({"NO", "SE"}))
    assert [cost(here, country=c) for c in ("NO", "DE", None)] == [1_400, 2_799, 2_799]
    no_cards = Promotion("p", 50, START, END, excluded_methods=frozenset({"card"}))
    assert [cost(no_cards), cost(no_cards, method="transfer")] == [2_799, 1_400]


def test_the_best_one_counts_and_they_do_not_stack() -> None:
    small, large = Promotion("a", 20, START, END), Promotion("b", 60, START, END)
    assert cost(small, large) == cost(large, small) == cost(large) == 1_120
    twin = Promotion("aa", 60, START, END)
    for order in ((large, twin), (twin, large)):
        assert price(order, "credits-27", 2_799, "card", None, START).promotion == twin


@pytest.mark.parametrize(
    "promotion",
    [
        Promotion("p", 91, START, END),
        Promotion("p", 0, START, END),
        Promotion("p", -5, START, END),
        Promotion("p", 50, END, START),
        Promotion("p", 50, START, START),
        Promotion("Not an id", 50, START, END),
        Promotion("", 50, START, END),
        Promotion("p", 50, START, END, countries=frozenset({"norway"})),
    ],
)
def test_impossible_promotions_are_refused(promotion: Promotion) -> None:
    assert fault(promotion) is not None
    assert fault(SALE) is None


# --- with orders -----------------------------------------------------------------------------


@pytest.fixture
async def orders(house):
    countries = {"paysafecard": frozenset({"NO", "AT"})}
    made = Orders(
        house.database,
        house.wallet,
        FakeProvider(),
        method_countries=countries,
        utc_now=house.clock.utc,
    )
    yield made
    await made.close()


async def add(house, promotion: Promotion) -> None:
    async with house.database.write() as connection:
        await promotion_store.add(connection, promotion, 0)


def running(house, promotion_id: str = "sale", percent: int = 50, **limits) -> Promotion:
    now_ms = house.wallet.ledger.now_ms()
    return Promotion(promotion_id, percent, now_ms, now_ms + 60_000, **limits)


async def test_an_order_keeps_the_price_that_it_was_placed_at(house, orders) -> None:
    await add(house, running(house))
    order = await orders.create("ann", "credits-27", "card", "k1")
    assert isinstance(order, Order)
    assert (order.price_minor, order.list_price_minor, order.promotion_id) == (1_400, 2_799, "sale")
    house.clock.advance(59.999)
    late = await orders.create("ann", "credits-27", "card", "k2")
    house.clock.advance(0.001)
    later = await orders.create("ann", "credits-27", "card", "k3")
    assert [late.price_minor, later.price_minor] == [1_400, 2_799]
    assert await orders.create("ann", "credits-27", "card", "k1") == order
    paid = await orders.pay("ann", order.order_id, "tok_ok")
    assert paid.price_minor == 1_400
    assert orders._provider.charges[-1].price_minor == 1_400
    assert (await house.wallet.balance("ann")).paid_units == 167_940


async def test_a_buyer_who_saw_another_price_is_asked_again(house, orders) -> None:
    await add(house, running(house))
    refused = await orders.create("ann", "credits-27", "card", "k", accepted_price_minor=2_799)
    assert refused == OrderRefused("price_changed")
    placed = await orders.create("ann", "credits-27", "card", "k", accepted_price_minor=1_400)
    assert isinstance(placed, Order)
    house.clock.advance(60)
    again = await orders.create("ann", "credits-27", "card", "k", accepted_price_minor=1_400)
    assert again == placed
    other = await orders.create("ann", "credits-27", "card", "k", accepted_price_minor=2_799)
    assert other == OrderRefused("key_reused")


async def test_an_ended_promotion_is_over_at_once_and_its_id_is_not_free_again(
    house, orders
) -> None:
    await add(house, running(house))
    async with house.database.write() as connection:
        assert await promotion_store.end(connection, "sale", house.wallet.ledger.now_ms())
        assert not await promotion_store.end(connection, "sale", house.wallet.ledger.now_ms())
        assert not await promotion_store.end(connection, "none", 0)
    order = await orders.create("ann", "credits-27", "card", "k1")
    assert order.price_minor == 2_799
    with pytest.raises(IntegrityError):
        await add(house, running(house))


async def test_a_promotion_that_has_not_begun_can_be_ended(house, orders) -> None:
    now_ms = house.wallet.ledger.now_ms()
    await add(house, Promotion("later", 50, now_ms + 1_000, now_ms + 2_000))
    async with house.database.write() as connection:
        assert await promotion_store.end(connection, "later", now_ms)
    house.clock.advance(1.5)
    assert (await orders.create("ann", "credits-27", "card", "k")).price_minor == 2_799


async def test_the_price_list_is_that_of_the_country(house, orders) -> None:
    await add(house, running(house, countries=frozenset({"NO"})))
    here, there = await orders.prices("NO"), await orders.prices("DE")
    assert here["credits-27", "card"].price_minor == 1_400
    assert here["credits-27", "paysafecard"].price_minor == 2_799
    assert there["credits-27", "card"].price_minor == 2_799
    assert ("credits-27", "paysafecard") not in there
    assert "paysafecard" not in {method.id for method in orders.methods_in(None)}
    refused = await orders.create("ann", "credits-27", "paysafecard", "k", country="DE")
    assert refused == OrderRefused("unknown_method")
    taken = await orders.create("ann", "credits-27", "paysafecard", "k", country="NO")
    assert (taken.country, taken.price_minor) == ("NO", 2_799)


async def test_auto_reload_gets_promotions_of_the_country_of_the_last_order(house, orders) -> None:
    await add(house, running(house, countries=frozenset({"NO"})))
    reload = Reload(house.database, house.wallet, orders, utc_now=house.clock.utc)
    await orders.create("ann", "credits-9", "card", "k", country="NO")
    await reload.set_settings("ann", enabled=True, package_id="credits-27")
    order = await reload.check("ann")
    assert order is not None
    assert (order.origin, order.price_minor, order.country) == ("auto_reload", 1_400, "NO")
