"""The Stripe adapter against a local fake of Stripe: paying, unknown outcomes, stored cards."""

from __future__ import annotations

import logging

import pytest

from billing_meter.order_store import Order, OrderState
from billing_meter.orders import OrderRefused
from billing_meter.stripe_line import CHECKOUT_LIFE_S, StripeSettings
from billing_meter.stripe_provider import EXPIRY_GRACE_S, KEY_LIFE_S
from tests.billing_meter.fake_stripe import KEY, SECRET
from tests.billing_meter.stripe_shop import Shop

UNITS = 167_940


async def test_buying_on_stripes_page(shop, stripe) -> None:
    order = await shop.checkout()
    assert order.state is OrderState.CREATED
    assert await shop.orders.redirect(order) == stripe.session["url"]
    [(method, path, params)] = stripe.requests
    assert (method, path) == ("POST", "checkout/sessions")
    assert params["line_items[0][price_data][unit_amount]"] == "2799"
    assert params["line_items[0][price_data][currency]"] == "eur"
    assert params["metadata[order]"] == params["client_reference_id"] == order.order_id
    assert params["success_url"] == f"https://site.test/wallet?order={order.order_id}"
    assert params["cancel_url"].startswith("https://site.test/wallet?")
    assert params["payment_intent_data[setup_future_usage]"] == "off_session"
    assert not [name for name in params if "descriptor" in name], "cards take the account's own"
    assert stripe.pay(stripe.session["id"])
    settled = await shop.orders.check("ann", order.order_id)
    assert settled.state is OrderState.SETTLED
    assert await shop.posted() == UNITS
    assert await shop.orders.check("ann", order.order_id) == settled
    assert await shop.posted() == UNITS
    assert await shop.orders.redirect(settled) is None


async def test_the_second_purchase_is_the_same_customer_to_stripe(shop, stripe) -> None:
    await shop.bought()
    await shop.checkout()
    assert stripe.session["customer"] == next(iter(stripe.sessions.values()))["customer"]
    assert "customer_creation" not in stripe.requests[-1][2]


async def test_a_customer_removed_at_stripe_is_a_new_one(shop, stripe) -> None:
    await shop.bought()
    stored = await shop.orders.stored_token("ann")
    assert stored == f"{stripe.session['customer']}:pm_ok"
    async with shop.house.database.write() as connection:
        await connection.exec_driver_sql("UPDATE payment_cards SET customer = 'cus_gone'")
    order = await shop.checkout()
    assert await shop.orders.redirect(order) is not None
    assert stripe.session["customer"] is None


async def test_paying_again_leads_to_the_same_page(shop, stripe) -> None:
    order = await shop.checkout()
    again = await shop.orders.pay("ann", order.order_id)
    assert await shop.orders.redirect(again) == stripe.session["url"]
    assert len(stripe.sessions) == 1


@pytest.mark.parametrize("fault", ["lost", "reset", "garbage", "409", "429", "500"])
async def test_an_unknown_outcome_is_settled_by_asking_again(shop, stripe, fault) -> None:
    stripe.faults.append(fault)
    order = await shop.checkout()
    assert await shop.orders.redirect(order) is None
    if fault == "500":  # Stripe repeats the failure for as long as it knows the key
        await shop.orders.resume_pending()
        assert stripe.sessions == {}
        shop.house.clock.advance(CHECKOUT_LIFE_S)
        await shop.orders.resume_pending()
        assert (await shop.now(order)).failure == "not_paid"
        return
    await shop.orders.resume_pending()
    assert len(stripe.sessions) == 1
    assert await shop.orders.redirect(order) == stripe.session["url"]
    keys = {params["metadata[attempt]"] for _, path, params in stripe.requests if params}
    assert len(keys) == 1


async def test_an_answer_repeated_for_its_key_is_not_taken_for_news(shop, stripe) -> None:
    """Stripe replays its first answer, "open", even when the page was paid since."""
    stripe.faults.append("lost")
    order = await shop.checkout()
    assert stripe.pay(stripe.session["id"])
    await shop.orders.resume_pending()
    assert (await shop.now(order)).state is OrderState.SETTLED


async def test_a_declined_card_leaves_the_page_open(shop, stripe) -> None:
    order = await shop.checkout()
    assert not stripe.pay(stripe.session["id"], "pm_poor")
    checked = await shop.orders.check("ann", order.order_id)
    assert checked.state is OrderState.CREATED
    assert stripe.pay(stripe.session["id"], "pm_ok")
    assert (await shop.orders.check("ann", order.order_id)).state is OrderState.SETTLED


@pytest.mark.parametrize(
    ("card", "failure"),
    [
        (None, "not_paid"),
        ("pm_poor", "funds"),
        ("pm_old", "card_expired"),
        ("pm_blocked", "bank_blocked"),
        ("pm_odd", "other"),
    ],
)
async def test_an_expired_page_fails_with_the_last_reason(shop, stripe, card, failure) -> None:
    order = await shop.checkout()
    if card is not None:
        stripe.pay(stripe.session["id"], card)
    stripe.expire(stripe.session["id"])
    assert await shop.orders.resume_pending() == 0
    failed = await shop.now(order)
    assert (failed.state, failed.failure) == (OrderState.FAILED, failure)
    async with shop.house.database.read() as connection:
        mails = (await connection.exec_driver_sql("SELECT kind FROM outbox")).all()
    assert mails == ([] if failure == "not_paid" else [("purchase_failed",)])


async def test_a_page_past_its_time_is_closed_by_us(shop, stripe) -> None:
    order = await shop.checkout()
    shop.house.clock.advance(CHECKOUT_LIFE_S + 1)
    assert await shop.orders.redirect(order) is None
    await shop.orders.resume_pending()
    assert (await shop.now(order)).state is OrderState.CREATED
    shop.house.clock.advance(EXPIRY_GRACE_S)
    await shop.orders.resume_pending()
    assert stripe.session["status"] == "expired"
    assert (await shop.now(order)).failure == "not_paid"


async def test_cancelling_closes_the_page(shop, stripe) -> None:
    order = await shop.checkout()
    assert await shop.orders.cancel("bob", order.order_id) == OrderRefused("unknown_order")
    assert (stripe.session["status"], (await shop.now(order)).state) == ("open", "created")
    cancelled = await shop.orders.cancel("ann", order.order_id)
    assert (cancelled.state, cancelled.failure) == (OrderState.FAILED, "not_paid")
    assert stripe.session["status"] == "expired"
    assert await shop.orders.cancel("bob", order.order_id) == OrderRefused("unknown_order")


async def test_cancelling_too_late_is_a_purchase(shop, stripe) -> None:
    order = await shop.checkout()
    stripe.pay(stripe.session["id"])
    assert (await shop.orders.cancel("ann", order.order_id)).state is OrderState.SETTLED
    assert await shop.posted() == UNITS


async def test_an_order_that_nobody_tried_to_pay_is_closed_after_a_day(shop) -> None:
    order = await shop.order()
    assert await shop.orders.close_forgotten() == 0
    shop.house.clock.advance(86_401)
    tried = await shop.checkout()
    assert await shop.orders.close_forgotten() == 1
    assert (await shop.now(order)).failure == "not_paid"
    assert (await shop.now(tried)).state is OrderState.CREATED


async def test_money_that_comes_after_all_is_credited(shop, stripe) -> None:
    order = await shop.checkout()
    stripe.expire(stripe.session["id"])
    await shop.orders.resume_pending()
    stripe.session["status"] = "open"
    stripe.pay(stripe.session["id"])
    body, signature = stripe.event("checkout.session.completed", stripe.session["id"])
    assert await shop.webhooks.take(body, signature) == "applied"
    late = await shop.now(order)
    assert (late.state, late.failure) == (OrderState.SETTLED, None)
    assert await shop.posted() == UNITS


async def test_another_amount_than_ordered_is_not_credited(shop, stripe) -> None:
    order = await shop.checkout()
    stripe.session["amount_total"] = 1
    stripe.pay(stripe.session["id"])
    checked = await shop.orders.check("ann", order.order_id)
    assert checked.state is OrderState.CREATED
    assert await shop.posted() == 0


async def test_a_token_of_our_own_page_is_refused(shop) -> None:
    order = await shop.order()
    refused = await shop.orders.pay("ann", order.order_id, "tok_ok")
    assert refused == OrderRefused("token_unusable")


async def test_the_descriptor_that_members_see_is_what_statements_say(
    house, stripe, caplog
) -> None:
    shop = Shop(house, stripe, descriptor="SERVICES", descriptor_prefix="PRL")
    assert shop.provider.descriptor == "PRL* SERVICES"
    stripe.statement = "PRL* SERVICES"
    await shop.bought()
    create = next(params for _, path, params in stripe.requests if path == "checkout/sessions")
    assert create["payment_intent_data[statement_descriptor_suffix]"] == "SERVICES"
    assert "statements say" not in caplog.text
    stripe.statement = "TAROT HEAVEN"
    await shop.bought()
    assert "statements say 'TAROT HEAVEN'" in caplog.text
    await shop.close()


# --- stored cards ----------------------------------------------------------------------------


async def _emptied(shop: Shop) -> None:
    """Bought once, so that a card is known; nothing left; auto-reload on."""
    first = await shop.bought()
    await shop.refund(first, 2_799, "test")
    settings = await shop.reload.set_settings("ann", enabled=True)
    assert settings.enabled, settings


async def _reload(shop: Shop, card: str = "pm_ok") -> Order:
    """Bought once; then the balance is at the threshold, and auto-reload buys."""
    await _emptied(shop)
    async with shop.house.database.write() as connection:
        await connection.exec_driver_sql(f"UPDATE auto_reloads SET token = 'cus_1:{card}'")
    await shop.reload.check("ann")
    await shop.reload.idle()
    [order] = [o for o in await shop.orders.list("ann") if o.origin == "auto_reload"]
    return order


async def test_auto_reload_charges_the_stored_card_without_the_member(shop, stripe) -> None:
    order = await _reload(shop)
    assert order.state is OrderState.SETTLED
    [params] = [
        p for method, path, p in stripe.requests if (method, path) == ("POST", "payment_intents")
    ]
    assert (params["off_session"], params["confirm"]) == ("true", "true")
    assert (params["customer"], params["payment_method"]) == ("cus_1", "pm_ok")
    assert await shop.posted() == UNITS


@pytest.mark.parametrize(
    ("card", "failure", "state", "notice"),
    [
        ("pm_poor", "funds", "backoff", None),
        ("pm_absent", "needs_action", "off", "needs_action"),
        ("pm_action", "needs_action", "off", "needs_action"),
    ],
)
async def test_a_declined_stored_card(shop, stripe, card, failure, state, notice) -> None:
    order = await _reload(shop, card)
    assert (order.state, order.failure) == (OrderState.FAILED, failure)
    settings = await shop.reload.settings("ann")
    assert (settings.state, settings.notice) == (state, notice)
    if card == "pm_action":
        assert list(stripe.intents.values())[-1]["status"] == "canceled"


@pytest.mark.parametrize("fault", ["lost", "reset", "409", "500"])
async def test_a_stored_card_is_charged_once_whatever_the_network_does(shop, stripe, fault) -> None:
    await _emptied(shop)
    stripe.faults.append(fault)
    await shop.reload.check("ann")
    await shop.reload.idle()
    [order] = [o for o in await shop.orders.list("ann") if o.origin == "auto_reload"]
    before = len(stripe.intents)
    await shop.orders.resume_pending()
    if fault == "500":
        shop.house.clock.advance(KEY_LIFE_S + 1)
        await shop.orders.resume_pending()
        assert (await shop.now(order)).state is OrderState.FAILED
        assert len(stripe.intents) == before
        return
    assert (await shop.now(order)).state is OrderState.SETTLED
    assert len(stripe.intents) == 2
    assert await shop.posted() == UNITS


async def test_a_lost_answer_older_than_its_key_is_looked_for(shop, stripe) -> None:
    """Asking again after a day would charge again: Stripe has forgotten the key."""
    await _emptied(shop)
    stripe.faults.append("lost")
    await shop.reload.check("ann")
    await shop.orders.close()
    shop.house.clock.advance(KEY_LIFE_S + 1)
    stripe._keys.clear()
    await shop.orders.resume_pending()
    assert len(stripe.intents) == 2
    assert await shop.posted() == UNITS


async def test_a_slow_stored_card_is_authorized_first(shop, stripe) -> None:
    order = await _reload(shop, "pm_slow")
    assert order.state is OrderState.AUTHORIZED
    intent = list(stripe.intents.values())[-1]
    stripe._attempt(intent, "pm_ok")
    body, signature = stripe.event("payment_intent.succeeded", intent["id"])
    assert await shop.webhooks.take(body, signature) == "applied"
    assert (await shop.now(order)).state is OrderState.SETTLED


# --- secrets ---------------------------------------------------------------------------------


async def test_secrets_are_in_no_log_and_no_text(house, stripe, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    shop = Shop(house, stripe)
    stripe.faults.extend(["429", "reset"])
    await shop.checkout()
    await shop.orders.resume_pending()
    await shop.bought()
    settings = StripeSettings(KEY, SECRET, "PRL SERVICES")
    for text in (caplog.text, repr(settings), repr(shop.provider)):
        assert KEY not in text
        assert SECRET not in text
    await shop.close()
