"""Purchases that staff gives back: what is unspent, once, whatever the network does."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from billing_meter import schema
from billing_meter.ledger import Debit, Hold, Posted
from billing_meter.order_refunds import NotRefunded, OrderRefund, Refundable
from billing_meter.order_store import OrderState
from billing_meter.providers import ProviderUnavailable

UNITS, PRICE = 167_940, 2_799


def given_back(stripe) -> int:
    """What Stripe's own books say."""
    return sum(charge["amount_refunded"] for charge in stripe.charges.values())


async def spend(shop, units: int) -> None:
    debit = Debit(f"spend:{units}", "ann", "eve", units, "surprise", "test")
    assert isinstance(await shop.house.wallet.ledger.execute(debit), Posted)


async def test_parts_and_the_rest(shop, stripe) -> None:
    order = await shop.bought()
    assert await shop.refunds.refundable(order) == Refundable(PRICE, UNITS)
    first = await shop.refund(order, 1_000, "k1")
    assert (first.state, first.units) == ("done", UNITS * 1_000 // PRICE)
    assert await shop.posted() == UNITS - first.units
    assert (await shop.now(order)).state is OrderState.SETTLED
    assert await shop.refund(order, 1_000, "k1") == first  # the same key is the same refund
    assert await shop.refunds.request(order.order_id, 999, "k1", "staff") == NotRefunded(
        "key_reused"
    )
    rest = await shop.refund(order, None, "k2")
    assert (rest.price_minor, rest.units) == (1_799, UNITS - first.units)
    assert (await shop.now(order)).state is OrderState.REFUNDED
    assert (await shop.posted(), given_back(stripe)) == (0, PRICE)
    assert await shop.refunds.request(order.order_id, 1, "k3", "staff") == NotRefunded(
        "not_refundable"
    )
    assert [refund.key for refund in await shop.refunds.of_order(order.order_id)] == ["k1", "k2"]


async def test_only_what_is_unspent_and_bought(shop, stripe) -> None:
    order = await shop.bought()
    await shop.house.wallet.grant_promo("ann", 50_000, "gift", "test")
    await spend(shop, 60_000)  # the gift first, then 10,000 of what was bought
    hold = Hold("h", "ann", "hold-1", 7_940, "test")
    assert isinstance(await shop.house.wallet.ledger.execute(hold), Posted)
    for price, code in (
        (None, "credits_spent"),
        (PRICE + 1, "exceeds_price"),
        (0, "exceeds_price"),
    ):
        refused = await shop.refunds.request(order.order_id, price, f"k{price}", "staff")
        assert refused == NotRefunded(code)
    possible = await shop.refunds.refundable(await shop.now(order))
    assert possible == Refundable(2_500, 150_000)
    assert (await shop.refund(order, possible.price_minor, "k")).state == "done"
    assert given_back(stripe) == 2_500
    assert await shop.house.wallet.debt_units("ann") == 0


async def test_what_is_no_settled_order_is_not_refunded(shop, stripe) -> None:
    assert await shop.refunds.request("nope", None, "k", "staff") == NotRefunded("unknown_order")
    unpaid = await shop.checkout()
    refused = await shop.refunds.request(unpaid.order_id, None, "k", "staff")
    assert refused == NotRefunded("unknown_order")
    for key in ("", "x" * 121):
        assert await shop.refunds.request("nope", None, key, "staff") == NotRefunded("key_invalid")
    assert stripe.pay(stripe.session["id"])
    paid = await shop.orders.check("ann", unpaid.order_id)
    dispute = stripe.dispute(stripe.session["payment_intent"])
    await shop.webhooks.take(*stripe.event("charge.dispute.created", dispute["id"]))
    refused = await shop.refunds.request(paid.order_id, None, "k", "staff")
    assert refused == NotRefunded("not_refundable")
    assert given_back(stripe) == 0


@pytest.mark.parametrize("fault", ["lost", "reset", "500"])
async def test_a_lost_answer_is_settled_by_asking_again(shop, stripe, fault) -> None:
    """The credits stay taken meanwhile, and the money goes back once."""
    order = await shop.bought()
    stripe.faults.extend(["", "", fault])
    begun = await shop.refund(order, 1_000, "k1")
    assert begun.state == "pending"
    assert await shop.posted() == UNITS - begun.units
    assert await shop.refunds.request(order.order_id, 500, "k2", "staff") == NotRefunded(
        "refund_pending"
    )
    for _ in range(3):  # Stripe repeats an error of the server for its key; the total tells
        if await shop.refunds.resume() == 0:
            break
        stripe._keys.clear()
    [refund] = await shop.refunds.of_order(order.order_id)
    assert (refund.state, given_back(stripe)) == ("done", 1_000)
    assert await shop.refund(order, 1_000, "k1") == refund


async def test_the_webhook_of_our_own_refund_takes_nothing_more(shop, stripe) -> None:
    order = await shop.bought()
    stripe.faults.extend(["", "", "lost"])
    begun = await shop.refund(order, None, "k1")
    event = stripe.event("charge.refunded", next(iter(stripe.charges)))
    assert await shop.webhooks.take(*event) == "applied"
    assert await shop.refunds.resume() == 0
    assert (await shop.posted(), given_back(stripe), begun.units) == (0, PRICE, UNITS)


async def test_a_refusal_of_the_provider_gives_the_credits_again(shop, stripe) -> None:
    order = await shop.bought()
    await shop.reload.set_settings("ann", enabled=True)
    stripe.faults.extend(["", "", "409"])  # an answer that says no
    stripe.refuses_refunds = True
    refused = await shop.refund(order, None, "k1")
    if refused.state == "pending":  # the 409 first, then the refusal
        await shop.refunds.resume()
    [refund] = await shop.refunds.of_order(order.order_id)
    assert refund.state == "refused"
    assert (await shop.posted(), given_back(stripe)) == (UNITS, 0)
    now = await shop.now(order)
    assert (now.state, now.refunded_units) == (OrderState.SETTLED, 0)
    assert (await shop.reload.settings("ann")).state == "armed"
    assert (await shop.house.wallet.standing("ann")).last_purchase_at_ms is not None
    stripe.refuses_refunds = False
    assert (await shop.refund(order, None, "k2")).state == "done"
    assert (await shop.reload.settings("ann")).notice == "money_back"


async def test_a_dispute_while_a_refund_has_no_answer_keeps_the_credits(shop, stripe) -> None:
    """The refund is refused, since the bank has taken the money: that much does not come again."""
    order = await shop.bought()
    await shop.reload.set_settings("ann", enabled=True)
    stripe.faults.extend(["", "", "409"])
    assert (await shop.refund(order, 1_000, "k1")).state == "pending"
    dispute = stripe.dispute(stripe.session["payment_intent"])
    created = stripe.event("charge.dispute.created", dispute["id"])
    dispute["amount"] = 1_799
    assert await shop.webhooks.take(*created) == "applied"
    assert await shop.posted() == 0  # the rest, beside what the refund has taken
    stripe.refuses_refunds = True
    dispute["amount"] = 2_700
    updated = stripe.event("charge.dispute.updated", dispute["id"])
    assert await shop.webhooks.take(*updated) == "applied"
    assert await shop.refunds.resume() == 0
    [refund] = await shop.refunds.of_order(order.order_id)
    assert (refund.state, await shop.posted()) == ("refused", UNITS * 99 // PRICE)
    assert (await shop.now(order)).state is OrderState.SETTLED
    assert (await shop.reload.settings("ann")).state == "off"
    dispute["status"] = "won"
    closed = stripe.event("charge.dispute.closed", dispute["id"])
    assert await shop.webhooks.take(*closed) == "applied"
    assert await shop.posted() == UNITS


async def test_what_a_bank_took_a_part_of_is_refunded_in_the_rest(shop, stripe) -> None:
    order = await shop.bought()
    dispute = stripe.dispute(stripe.session["payment_intent"], "lost")
    dispute["amount"] = 1_000
    created = stripe.event("charge.dispute.created", dispute["id"])
    assert await shop.webhooks.take(*created) == "applied"
    assert (await shop.now(order)).state is OrderState.SETTLED
    too_much = await shop.refunds.request(order.order_id, 1_800, "k1", "staff")
    assert too_much == NotRefunded("exceeds_price")
    rest = await shop.refund(order, None, "k2")
    assert (rest.state, rest.price_minor, await shop.posted()) == ("done", 1_799, 0)
    assert (await shop.now(order)).state is OrderState.CHARGED_BACK


async def test_nothing_is_begun_when_the_provider_is_out_of_reach(shop, stripe) -> None:
    order = await shop.bought()
    stripe.faults.append("500")
    with pytest.raises(ProviderUnavailable):
        await shop.refund(order, None, "k1")
    assert await shop.posted() == UNITS
    assert await shop.refunds.of_order(order.order_id) == []


@pytest.mark.threads
async def test_twenty_staff_at_once_give_it_back_once(shop, stripe) -> None:
    order = await shop.bought()
    outcomes = await asyncio.gather(
        *(shop.refunds.request(order.order_id, None, f"k{n}", "staff") for n in range(20))
    )
    done = [one for one in outcomes if isinstance(one, OrderRefund)]
    assert len(done) == 1
    assert {one.code for one in outcomes if isinstance(one, NotRefunded)} <= {
        "refund_pending",
        "not_refundable",
    }
    assert (await shop.posted(), given_back(stripe)) == (0, PRICE)


@pytest.mark.threads
async def test_spending_races_a_refund(shop, stripe) -> None:
    """Whoever comes first: nobody spends what went back, nothing goes back that was spent."""
    order = await shop.bought()
    debit = Debit("race", "ann", "eve", UNITS, "surprise", "test")
    refunded, spent = await asyncio.gather(
        shop.refunds.request(order.order_id, None, "k", "staff"),
        shop.house.wallet.ledger.execute(debit),
    )
    assert isinstance(refunded, OrderRefund) != isinstance(spent, Posted)
    assert given_back(stripe) == (PRICE if isinstance(refunded, OrderRefund) else 0)
    assert await shop.house.wallet.debt_units("ann") == 0


async def test_its_mail_is_queued_once_when_the_money_is_back(shop, house, stripe) -> None:
    order = await shop.bought()
    stripe.faults.extend(["", "", "lost"])
    await shop.refund(order, None, "k")

    async def mails() -> int:
        query = sa.select(sa.func.count()).where(schema.outbox.c.kind == "money_back")
        async with house.database.read() as connection:
            return await connection.scalar(query)

    assert await mails() == 0
    await shop.refunds.resume()
    await shop.refunds.resume()
    assert await mails() == 1
