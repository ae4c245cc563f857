"""The door with Stripe behind it: configuration, redirects, webhooks as HTTP, an order's life."""

from __future__ import annotations

import asyncio

import pytest

from signaling.config import ConfigError, load
from tests.billing_meter.fake_stripe import KEY, SECRET

ORDER = {"package": "credits-27", "method": "card"}
WEBHOOK = "/api/v1/webhooks/stripe"
UNITS = 167_940


@pytest.fixture
def flags(stripe_flags: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return stripe_flags


async def _ordered(client) -> dict[str, object]:
    reply = await client.post("/api/v1/orders", json=ORDER, headers={"Idempotency-Key": "k"})
    order = (await reply.json())["order"]
    reply = await client.post(f"/api/v1/orders/{order['id']}/pay", json={})
    assert reply.status == 200, await reply.text()
    return (await reply.json())["order"]


async def _sent(door, event: tuple[bytes, str]):
    body, signature = event
    headers = {"Stripe-Signature": signature} if signature else {}
    return await door.client().post(WEBHOOK, data=body, headers=headers)


async def test_a_purchase_by_redirect_and_webhook(door, stripe) -> None:
    await door.member()
    client = await door.signed_in("mia")
    offer = await (await client.get("/api/v1/wallet/packages")).json()
    assert (offer["redirects"], offer["descriptor"]) == (True, "PRL SERVICES")
    order = await _ordered(client)
    assert order["redirect_url"] == stripe.session["url"]
    assert stripe.session["success_url"] == f"{door.origin}/wallet?order={order['id']}"
    stripe.pay(stripe.session["id"])
    event = stripe.event("checkout.session.completed", stripe.session["id"])
    for outcome in ("applied", "duplicate"):
        reply = await _sent(door, event)
        assert (reply.status, await reply.json()) == (200, {"outcome": outcome})
    [settled] = (await (await client.get("/api/v1/orders")).json())["orders"]
    assert settled["state"] == "settled"
    assert settled["settled_at_ms"] >= settled["created_at_ms"]
    wallet = await (await client.get("/api/v1/wallet")).json()
    assert (wallet["balance"]["paid_units"], wallet["debt_units"]) == (UNITS, 0)


async def test_coming_back_asks_stripe(door, stripe, problem) -> None:
    await door.member("mia")
    await door.member("noah")
    client = await door.signed_in("mia")
    order = await _ordered(client)
    path = f"/api/v1/orders/{order['id']}"
    open_still = (await (await client.post(f"{path}/check")).json())["order"]
    assert open_still["redirect_url"] == order["redirect_url"]
    stripe.pay(stripe.session["id"])
    noah = await door.signed_in("noah")
    for what in ("check", "cancel"):
        assert await problem(await noah.post(f"{path}/{what}")) == (404, "unknown_order")
    settled = (await (await client.post(f"{path}/check")).json())["order"]
    assert settled["state"] == "settled"
    assert "redirect_url" not in settled


async def test_cancelling(door, stripe) -> None:
    await door.member()
    client = await door.signed_in("mia")
    order = await _ordered(client)
    reply = await client.post(f"/api/v1/orders/{order['id']}/cancel")
    cancelled = (await reply.json())["order"]
    assert (cancelled["state"], cancelled["failure"]) == ("failed", "not_paid")
    assert stripe.session["status"] == "expired"


async def test_a_token_is_refused_where_one_pays_elsewhere(door, problem) -> None:
    await door.member()
    client = await door.signed_in("mia")
    reply = await client.post("/api/v1/orders", json=ORDER, headers={"Idempotency-Key": "k"})
    path = f"/api/v1/orders/{(await reply.json())['order']['id']}/pay"
    assert await problem(await client.post(path, json={"token": "tok_ok"})) == (
        422,
        "token_unusable",
    )
    for token in ("cus_1:pm_1", "4111111111111111"):
        assert await problem(await client.post(path, json={"token": token})) == (422, "invalid")


async def test_webhooks_that_are_refused(door, stripe, problem) -> None:
    await door.member()
    client = await door.signed_in("mia")
    await _ordered(client)
    await door.services.orders.close()  # on a busy machine its own look would come in between
    stripe.pay(stripe.session["id"])
    body, signature = stripe.event("checkout.session.completed", stripe.session["id"])
    other = stripe.event("checkout.session.completed", stripe.session["id"], secret="whsec_other")
    old = stripe.event("checkout.session.completed", stripe.session["id"], at_s=1)
    for event, refusal in (
        ((body, ""), (400, "signature_missing")),
        ((body + b" ", signature), (400, "signature_wrong")),
        (other, (400, "signature_wrong")),
        (old, (400, "signature_stale")),
        ((b"x" * 300_000, signature), (413, "too_large")),
        (stripe.event("checkout.session.completed", "cs_none"), (422, "object_unknown")),
    ):
        assert await problem(await _sent(door, event)) == refusal
    stripe.session["amount_total"] = 1
    assert await problem(await _sent(door, (body, signature))) == (422, "payment_mismatch")
    stripe.faults.append("500")
    reply = await _sent(door, (body, signature))
    assert reply.headers["Retry-After"] == "60"
    assert await problem(reply) == (503, "provider_unavailable")
    wallet = await (await client.get("/api/v1/wallet")).json()
    assert wallet["balance"]["available_units"] == 0
    ignored = await _sent(door, stripe.event("product.created", "prod_1"))
    assert (ignored.status, await ignored.json()) == (200, {"outcome": "ignored"})


async def test_without_an_answer_the_order_waits_and_is_paid_by_itself(door, stripe) -> None:
    await door.member()
    client = await door.signed_in("mia")
    stripe.faults.append("lost")
    order = await _ordered(client)
    assert order["state"] == "created"
    assert "redirect_url" not in order
    pushed = asyncio.Event()
    door.services.wallet.ledger.listen(lambda _member, _balance: pushed.set())
    stripe.pay(stripe.session["id"])
    await asyncio.wait_for(pushed.wait(), 10)  # nobody asks but the server itself


def test_a_half_configuration_is_refused_by_name() -> None:
    keys = {"secret_key": KEY, "webhook_secret": SECRET}
    production = {"mode": "production", "public_url": "https://star-room.example"}
    for layers, named in (
        ({"money": {"provider": "stripe"}}, "stripe.secret_key"),
        ({"money": {"provider": "stripe"}, "stripe": {"secret_key": KEY}}, "stripe.webhook_secret"),
        ({"money": {"provider": "stripe"}, "stripe": keys | {"secret_key": "pk_1"}}, "secret_key"),
        ({"money": {"provider": "stripe"}, "stripe": keys | {"webhook_secret": "x"}}, "whsec_"),
        ({"money": {"provider": "stripe"}, "stripe": keys | {"api_base": "x"}}, "stripe.api_base"),
        ({"stripe": keys}, "money.provider"),
        ({"money": {"statement_descriptor": "TAROT LINE"}}, "money.statement_descriptor"),
        ({"money": {"statement_descriptor": "ABC"}}, "money.statement_descriptor"),
        ({"money": {"statement_descriptor": "A_B*CDEF"}}, "money.statement_descriptor"),
        ({"money": {"statement_descriptor": "12345"}}, "money.statement_descriptor"),
        (
            {
                "money": {"statement_descriptor": "STAR ROOM AS"},
                "server": {"public_url": "https://star-room.example"},
            },
            "money.statement_descriptor",
        ),
        ({"stripe": {"descriptor_prefix": "PSYCHICS"}}, "stripe.descriptor_prefix"),
        ({"stripe": {"descriptor_prefix": "ABCDEFGHIJ"}}, "stripe.descriptor_prefix"),
        (
            {"money": {"provider": "stripe"}, "stripe": keys, "server": production},
            "stripe.secret_key",
        ),
    ):
        with pytest.raises(ConfigError) as refused:
            load(None, {}, layers)
        assert named in str(refused.value)
        assert KEY not in str(refused.value)
        assert SECRET not in str(refused.value)
