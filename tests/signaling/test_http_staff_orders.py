"""Staff gives purchases back over HTTP and on the command line."""

from __future__ import annotations

import pytest

from billing_meter.ledger import Debit
from signaling import staff as staff_roles

UNITS, PRICE = 167_940, 2_799


@pytest.fixture
async def bought(door):
    """Mia's paid order; luna and staff are there, too."""
    member = await door.member("mia")
    await door.expert("luna")
    await door.staff("stan")
    orders = door.services.orders
    order = await orders.create(member.account_id, "credits-27", "card", "k")
    await orders.pay(member.account_id, order.order_id, "tok_ok")
    return door, order.order_id


async def test_staff_finds_an_order_and_gives_it_back_once(bought, problem) -> None:
    door, order = bought
    staff = await door.signed_in("stan")
    listed = await (await staff.get("/api/v1/staff/orders?member=mia")).json()
    assert [one["id"] for one in listed["orders"]] == [order]
    path = f"/api/v1/staff/orders/{order}"
    seen = await (await staff.get(path)).json()
    assert (seen["member"], seen["refundable_minor"]) == ("mia", PRICE)
    assert seen["refundable_units"] == UNITS
    for _ in range(2):
        reply = await staff.post(
            f"{path}/refunds", json={"price_minor": 1_000}, headers={"Idempotency-Key": "a"}
        )
        assert reply.status == 201, await reply.text()
    shown = await reply.json()
    [refund] = shown["refunds"]
    assert (refund["state"], refund["price_minor"], refund["decided_by"]) == ("done", 1_000, "stan")
    assert shown["order"]["refunded_units"] == refund["units"] == UNITS * 1_000 // PRICE
    for key, body, refused in (
        (None, {}, (400, "key_missing")),
        ("x" * 121, {}, (400, "key_invalid")),
        ("a", {"price_minor": 999}, (409, "key_reused")),
        ("b", {"price_minor": 1_800}, (422, "exceeds_price")),
    ):
        headers = {} if key is None else {"Idempotency-Key": key}
        reply = await staff.post(f"{path}/refunds", json=body, headers=headers)
        assert await problem(reply) == refused
    mia = (await (await staff.get(path)).json())["order"]
    assert mia["refunded_units"] == refund["units"]


async def test_spent_credits_unknown_orders_and_ones_own(bought, problem) -> None:
    door, order = bought
    services = door.services
    member = await services.accounts.by_name("mia")
    expert = await services.accounts.by_name("luna")
    await services.wallet.ledger.execute(
        Debit("d", member.account_id, expert.account_id, 1, "surprise", "test")
    )
    staff = await door.signed_in("stan")
    key = {"Idempotency-Key": "a"}
    reply = await staff.post(f"/api/v1/staff/orders/{order}/refunds", json={}, headers=key)
    assert await problem(reply) == (409, "credits_spent")
    for path in ("/api/v1/staff/orders/nope", "/api/v1/staff/orders?member=luna"):
        assert (await problem(await staff.get(path)))[0] == 404
    async with services.database.write() as connection:
        assert await staff_roles.give(connection, member.account_id, "test", 1)
    mine = await door.signed_in("mia")
    reply = await mine.post(f"/api/v1/staff/orders/{order}/refunds", json={}, headers=key)
    assert await problem(reply) == (403, "own_order")
