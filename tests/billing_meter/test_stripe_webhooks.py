"""Stripe's webhooks: believed only when signed, counted once, taken in any order."""

from __future__ import annotations

import asyncio

import pytest
import stripe as official
from hypothesis import given
from hypothesis import strategies as st

from billing_meter.ledger import Debit, Posted
from billing_meter.order_store import OrderState
from billing_meter.providers import EventRefused, ProviderUnavailable
from billing_meter.stripe_objects import read_event
from billing_meter.stripe_signature import TOLERANCE_S, signature_fault, signature_of
from tests.billing_meter.fake_stripe import SECRET

UNITS = 167_940
COMPLETED = "checkout.session.completed"


async def _refused(shop, body: bytes, signature: str) -> str:
    with pytest.raises(EventRefused) as refused:
        await shop.webhooks.take(body, signature)
    assert await shop.posted() == 0
    return refused.value.code


async def _paid(shop, stripe) -> str:
    """An order that is paid at Stripe, and we do not know it yet; gives the session's id."""
    await shop.checkout()
    stripe.pay(stripe.session["id"])
    return stripe.session["id"]


async def test_a_webhook_settles_once_however_often_it_comes(shop, stripe) -> None:
    session = await _paid(shop, stripe)
    event = stripe.event(COMPLETED, session)
    assert await shop.webhooks.take(*event) == "applied"
    assert await shop.posted() == UNITS
    asked = len(stripe.requests)
    assert await shop.webhooks.take(*event) == "duplicate"
    assert len(stripe.requests) == asked
    again = stripe.event(COMPLETED, session)  # another event about the same purchase
    assert await shop.webhooks.take(*again) == "applied"
    assert await shop.posted() == UNITS


@pytest.mark.threads
async def test_ten_deliveries_at_once_count_once(shop, stripe) -> None:
    event = stripe.event(COMPLETED, await _paid(shop, stripe))
    taken = await asyncio.gather(*(shop.webhooks.take(*event) for _ in range(10)))
    assert sorted(taken) == ["applied"] + ["duplicate"] * 9
    assert await shop.posted() == UNITS


async def test_a_webhook_before_the_answer_to_our_own_request(shop, stripe) -> None:
    stripe.faults.append("lost")
    order = await shop.checkout()
    stripe.pay(stripe.session["id"])
    assert await shop.webhooks.take(*stripe.event(COMPLETED, stripe.session["id"])) == "applied"
    assert (await shop.now(order)).state is OrderState.SETTLED
    assert await shop.orders.resume_pending() == 0


async def test_forged_stale_and_foreign_signatures_are_refused(shop, stripe) -> None:
    session = await _paid(shop, stripe)
    body, signature = stripe.event(COMPLETED, session)
    assert await _refused(shop, body, "") == "signature_missing"
    assert await _refused(shop, body.replace(b"evt", b"EVT"), signature) == "signature_wrong"
    assert await _refused(shop, body + b"\n", signature) == "signature_wrong"
    other = stripe.event(COMPLETED, session, secret="whsec_of_another_endpoint")
    assert await _refused(shop, *other) == "signature_wrong"
    now_s = stripe.now_s()
    for at_s in (now_s - TOLERANCE_S - 1, now_s + TOLERANCE_S + 1):
        stale = stripe.event(COMPLETED, session, at_s=at_s)
        assert await _refused(shop, *stale) == "signature_stale"
    assert await shop.webhooks.take(*stripe.event(COMPLETED, session, at_s=now_s - TOLERANCE_S))


async def test_events_that_do_not_concern_us_are_ignored(shop, stripe) -> None:
    session = await _paid(shop, stripe)
    assert await shop.webhooks.take(*stripe.event("customer.created", "cus_1")) == "ignored"
    assert await shop.webhooks.take(*stripe.event("v9.unheard.of", "")) == "ignored"
    intent = stripe.session["payment_intent"]
    assert await shop.webhooks.take(*stripe.event("payment_intent.succeeded", intent)) == "ignored"
    stripe.session["metadata"] = {"shop": "another one of this account"}
    assert await shop.webhooks.take(*stripe.event(COMPLETED, session)) == "ignored"
    assert await shop.posted() == 0


async def test_wrong_amount_currency_and_order_have_no_effect(shop, stripe) -> None:
    session = await _paid(shop, stripe)
    event = stripe.event(COMPLETED, session)
    stripe.session["amount_total"] = 2_798
    assert await _refused(shop, *event) == "payment_mismatch"
    stripe.session.update(amount_total=2_799, currency="nok")
    assert await _refused(shop, *event) == "payment_mismatch"
    stripe.session["currency"] = "eur"
    notes = stripe.session["metadata"]
    other = await shop.order("credits-9")
    for changed in ({"order": other.order_id}, {"order": "none"}, {"attempt": "none"}):
        stripe.session["metadata"] = notes | changed
        assert await _refused(shop, *event) == "order_mismatch"
    stripe.session["metadata"] = notes
    twin = stripe.sessions["cs_twin"] = stripe.session | {"id": "cs_twin"}
    assert await _refused(shop, *stripe.event(COMPLETED, twin["id"])) == "order_mismatch"
    assert await _refused(shop, *stripe.event(COMPLETED, "cs_none")) == "object_unknown"
    assert await shop.webhooks.take(*event) == "applied"


async def test_stripe_out_of_reach_leaves_the_event_for_its_next_delivery(shop, stripe) -> None:
    event = stripe.event(COMPLETED, await _paid(shop, stripe))
    stripe.faults.append("500")
    with pytest.raises(ProviderUnavailable):
        await shop.webhooks.take(*event)
    assert await shop.webhooks.take(*event) == "applied"


# --- money that goes back ----------------------------------------------------------------------


async def test_a_refund_takes_the_credits_and_no_more(shop, stripe) -> None:
    order = await shop.bought()
    given = await shop.refund(order, 1_399, "r1")
    half = await shop.now(order)
    assert (half.state, half.refunded_units) == (OrderState.SETTLED, UNITS * 1_399 // 2_799)
    assert await shop.posted() == UNITS - half.refunded_units
    assert await shop.refund(order, 1_399, "r1") == given
    event = stripe.event("charge.refunded", next(iter(stripe.charges)))
    assert await shop.webhooks.take(*event) == "applied"
    assert await shop.posted() == UNITS - half.refunded_units
    stripe.refund(stripe.session["payment_intent"], 1_400)  # the rest, from Stripe's dashboard
    event = stripe.event("charge.refunded", next(iter(stripe.charges)))
    assert await shop.webhooks.take(*event) == "applied"
    whole = await shop.now(order)
    assert (whole.state, whole.refunded_units) == (OrderState.REFUNDED, UNITS)
    assert await shop.posted() == 0
    standing = await shop.house.wallet.standing("ann")
    assert (standing.premium, standing.last_purchase_at_ms) == (True, None)


async def _spend(shop, units: int) -> None:
    debit = Debit(f"spend:{units}", "ann", "eve", units, "surprise", "test")
    assert isinstance(await shop.house.wallet.ledger.execute(debit), Posted)


async def test_a_charge_back_of_spent_credits_is_a_debt_that_purchases_pay(shop, stripe) -> None:
    order = await shop.bought()
    await _spend(shop, 100_000)
    await shop.reload.set_settings("ann", enabled=True)
    dispute = stripe.dispute(stripe.session["payment_intent"])
    event = stripe.event("charge.dispute.created", dispute["id"])
    assert await shop.webhooks.take(*event) == "applied"
    assert (await shop.now(order)).state is OrderState.CHARGED_BACK
    assert await shop.posted() == 0
    assert await shop.house.wallet.debt_units("ann") == 100_000
    settings = await shop.reload.settings("ann")
    assert (settings.state, settings.notice) == ("off", "money_back")
    for kind in ("funds_withdrawn", "updated", "closed"):
        more = stripe.event(f"charge.dispute.{kind}", dispute["id"])
        assert await shop.webhooks.take(*more) == "applied"
    assert await shop.house.wallet.debt_units("ann") == 100_000
    await shop.sound()
    await shop.bought()
    assert await shop.house.wallet.debt_units("ann") == 0
    assert await shop.posted() == UNITS - 100_000


async def test_a_debt_greater_than_a_purchase_takes_all_of_it(shop, stripe) -> None:
    await shop.bought()
    await _spend(shop, UNITS)
    dispute = stripe.dispute(stripe.session["payment_intent"])
    await shop.webhooks.take(*stripe.event("charge.dispute.created", dispute["id"]))
    small = await shop.order("credits-9")
    await shop.orders.pay("ann", small.order_id)
    stripe.pay(stripe.session["id"])
    settled = await shop.orders.check("ann", small.order_id)
    assert settled.state is OrderState.SETTLED
    assert await shop.posted() == 0
    assert await shop.house.wallet.debt_units("ann") == UNITS - 59_940


async def test_a_dispute_that_is_won_gives_the_credits_again(shop, stripe) -> None:
    order = await shop.bought()
    await _spend(shop, 100_000)
    dispute = stripe.dispute(stripe.session["payment_intent"])
    created = stripe.event("charge.dispute.created", dispute["id"])
    await shop.webhooks.take(*created)
    dispute["status"] = "won"
    for kind in ("funds_reinstated", "closed"):
        event = stripe.event(f"charge.dispute.{kind}", dispute["id"])
        assert await shop.webhooks.take(*event) == "applied"
    won = await shop.now(order)
    assert (won.state, won.refunded_units) == (OrderState.SETTLED, 0)
    assert await shop.posted() == UNITS - 100_000
    assert await shop.house.wallet.debt_units("ann") == 0
    await shop.sound()
    left = await shop.refunds.refundable(won)
    assert left.units == UNITS - 100_000
    assert (await shop.refund(order, left.price_minor, "after")).state == "done"


async def test_a_dispute_of_what_was_not_refunded(shop, stripe) -> None:
    """The news of a dispute carries the refund, whose own event has not come."""
    order = await shop.bought()
    intent = stripe.session["payment_intent"]
    stripe.refund(intent, 1_399)
    dispute = stripe.dispute(intent)
    dispute["amount"] = 1_400
    await shop.webhooks.take(*stripe.event("charge.dispute.created", dispute["id"]))
    gone = await shop.now(order)
    assert (gone.state, gone.refunded_units) == (OrderState.CHARGED_BACK, UNITS)
    refund = stripe.event("charge.refunded", next(iter(stripe.charges)))
    await shop.webhooks.take(*refund)
    assert await shop.posted() == 0
    dispute["status"] = "won"
    await shop.webhooks.take(*stripe.event("charge.dispute.closed", dispute["id"]))
    for _ in range(2):
        again = stripe.event("charge.refunded", next(iter(stripe.charges)))
        await shop.webhooks.take(*again)
    won = await shop.now(order)
    assert (won.state, won.refunded_units) == (OrderState.SETTLED, 1_399 * UNITS // 2_799)
    assert await shop.posted() == UNITS - won.refunded_units


async def test_an_inquiry_takes_nothing(shop, stripe) -> None:
    order = await shop.bought()
    dispute = stripe.dispute(stripe.session["payment_intent"], "warning_needs_response")
    event = stripe.event("charge.dispute.created", dispute["id"])
    assert await shop.webhooks.take(*event) == "applied"
    assert (await shop.now(order)).state is OrderState.SETTLED
    assert await shop.posted() == UNITS


async def test_a_charge_back_that_is_told_before_the_payment(shop, stripe) -> None:
    session = await _paid(shop, stripe)
    dispute = stripe.dispute(stripe.session["payment_intent"])
    event = stripe.event("charge.dispute.created", dispute["id"])
    assert await shop.webhooks.take(*event) == "applied"
    assert await shop.webhooks.take(*stripe.event(COMPLETED, session)) == "applied"
    [order] = await shop.orders.list("ann")
    assert (order.state, order.refunded_units) == (OrderState.CHARGED_BACK, UNITS)
    assert await shop.posted() == 0
    assert await shop.house.wallet.debt_units("ann") == 0


# --- the signature alone -------------------------------------------------------------------------


def test_the_signature_is_that_of_the_official_library() -> None:
    body = '{"id": "evt_1"}'
    header = official.WebhookSignature.generate_signature_header(body, SECRET, 1_700_000_000)
    assert signature_fault(body.encode(), header, SECRET, 1_700_000_000) is None
    ours = f"t=1700000000,v1={signature_of(body.encode(), SECRET, '1700000000')}"
    assert ours == header
    rolled = f"t=1700000000,v1=00,v0=11,{header.partition(',')[2]}"
    assert signature_fault(body.encode(), rolled, SECRET, 1_700_000_000) is None


@given(st.text(max_size=200), st.binary(max_size=200))
def test_no_header_and_no_body_break_the_check(header: str, body: bytes) -> None:
    assert signature_fault(body, header, SECRET, 1_700_000_000) is not None
    event = read_event(body)
    assert event is None or event.event_id
