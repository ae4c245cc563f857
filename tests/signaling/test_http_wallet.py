"""Buying credits, history and auto-reload over HTTP; studio settings; session summaries."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from billing_meter import promotion_store
from billing_meter import schema as billing_schema
from billing_meter.promotions import Promotion

ORDER = {"package": "credits-27", "method": "card"}
UNITS = 167_940


async def bought(client, key: str = "k1", token: str = "tok_ok") -> dict[str, object]:
    reply = await client.post("/api/v1/orders", json=ORDER, headers={"Idempotency-Key": key})
    assert reply.status == 201, await reply.text()
    order = (await reply.json())["order"]
    paid = await client.post(f"/api/v1/orders/{order['id']}/pay", json={"token": token})
    assert paid.status == 200, await paid.text()
    return (await paid.json())["order"]


async def test_three_steps_of_buying(door) -> None:
    await door.member()
    client = await door.signed_in("mia")
    price_list = await (await client.get("/api/v1/wallet/packages")).json()
    chosen = [p for p in price_list["packages"] if p["preselected"]]
    assert [p["credits_units"] for p in chosen] == [UNITS]
    assert price_list["descriptor"] == "PRL SERVICES"
    order = await bought(client)
    assert order["state"] == "settled"
    assert order["settled_at_ms"] >= order["created_at_ms"]
    wallet = await (await client.get("/api/v1/wallet")).json()
    assert wallet["balance"] == {
        "paid_units": UNITS,
        "promo_units": 0,
        "held_units": 0,
        "available_units": UNITS,
    }
    assert wallet["premium"] is True
    assert wallet["auto_reload"]["enabled"] is False
    assert wallet["auto_reload"]["threshold_units"] == 42_000
    items = (await (await client.get("/api/v1/wallet/transactions")).json())["items"]
    assert [(item["kind"], item["units"], item["balance_after_units"]) for item in items] == [
        ("purchase", UNITS, UNITS)
    ]


async def test_the_balance_is_pushed_and_the_member_upgraded(door) -> None:
    await door.member()
    client = await door.signed_in("mia")
    ticket = (await (await client.post("/api/v1/ws-ticket")).json())["ticket"]
    async with client.ws_connect("/ws", headers={"Origin": door.origin}) as socket:
        await socket.send_json({"type": "hello", "ticket": ticket})
        welcome = await socket.receive_json(timeout=5)
        assert welcome["you"]["premium"] is False
        await bought(client)
        messages = {}
        for _ in range(2):
            message = await socket.receive_json(timeout=5)
            messages[message["type"]] = message
        assert messages["wallet.balance"]["balance"]["paid_units"] == UNITS
        assert messages["account.upgraded"]["you"]["premium"] is True


async def test_repeating_an_order_or_a_payment_buys_once(door, problem) -> None:
    await door.member()
    client = await door.signed_in("mia")
    first = await bought(client)
    again = await bought(client)
    assert again == first
    wallet = await (await client.get("/api/v1/wallet")).json()
    assert wallet["balance"]["paid_units"] == UNITS
    other = ORDER | {"package": "credits-9"}
    reply = await client.post("/api/v1/orders", json=other, headers={"Idempotency-Key": "k1"})
    assert await problem(reply) == (409, "key_reused")


async def test_the_same_key_of_two_members_is_two_orders(door) -> None:
    await door.member("mia")
    await door.member("noah")
    mine = await bought(await door.signed_in("mia"))
    theirs = await bought(await door.signed_in("noah"))
    assert mine["id"] != theirs["id"]


@pytest.mark.parametrize(
    ("token", "failure"),
    [("tok_declined", "funds"), ("tok_expired", "card_expired"), ("tok_blocked", "bank_blocked")],
)
async def test_declined_payment_gives_nothing(door, token: str, failure: str) -> None:
    await door.member()
    client = await door.signed_in("mia")
    order = await bought(client, token=token)
    assert (order["state"], order["failure"]) == ("failed", failure)
    wallet = await (await client.get("/api/v1/wallet")).json()
    assert wallet["balance"]["available_units"] == 0
    assert wallet["premium"] is False
    orders = (await (await client.get("/api/v1/orders")).json())["orders"]
    assert [o["state"] for o in orders] == ["failed"]


async def test_order_refusals(door, problem) -> None:
    await door.member("mia")
    await door.member("noah")
    client = await door.signed_in("mia")
    key = {"Idempotency-Key": "k"}
    for body, headers, refusal in (
        (ORDER, {}, (400, "key_missing")),
        (ORDER, {"Idempotency-Key": "x" * 200}, (400, "key_invalid")),
        (ORDER | {"package": "credits-1"}, key, (422, "unknown_package")),
        (ORDER | {"method": "shells"}, key, (422, "unknown_method")),
        (ORDER | {"price_minor": 1}, key, (422, "invalid")),
    ):
        reply = await client.post("/api/v1/orders", json=body, headers=headers)
        assert await problem(reply) == refusal
    order = await bought(await door.signed_in("noah"), token="tok_declined")
    path = f"/api/v1/orders/{order['id']}/pay"
    assert await problem(await client.post(path, json={"token": "tok_ok"})) == (
        404,
        "unknown_order",
    )
    noah = await door.signed_in("noah")
    assert await problem(await noah.post(path, json={"token": "tok_ok"})) == (409, "order_closed")


async def test_the_price_list_shows_what_is_cheaper_and_how(door, problem) -> None:
    await door.member()
    now_ms = int(door.services.utc_now().timestamp() * 1000)
    sale = Promotion("sale", 50, now_ms - 1, now_ms + 600_000, frozenset({"credits-27"}))
    async with door.services.database.write() as connection:
        await promotion_store.add(connection, sale, now_ms)
    client = await door.signed_in("mia")
    price_list = await (await client.get("/api/v1/wallet/packages")).json()
    cheaper = {one["id"]: one["reductions"] for one in price_list["packages"] if one["reductions"]}
    assert cheaper == {
        "credits-27": [
            {"method": "card", "price_minor": 1_400, "percent": 50, "ends_at_ms": now_ms + 600_000}
        ]
    }
    key = {"Idempotency-Key": "k"}
    seen = ORDER | {"accepted_price_minor": 2_799}
    reply = await client.post("/api/v1/orders", json=seen, headers=key)
    assert await problem(reply) == (409, "price_changed")
    for bad in (-1, 10**10, 1.5, "1400"):
        body = ORDER | {"accepted_price_minor": bad}
        reply = await client.post("/api/v1/orders", json=body, headers=key)
        assert await problem(reply) == (422, "invalid")
    order = await bought(client)
    assert (order["price_minor"], order["list_price_minor"]) == (1_400, 2_799)


@pytest.mark.parametrize(
    "flags",
    [
        {
            "server": {"trusted_proxies": ["127.0.0.1/32"], "country_header": "X-Country"},
            "money": {"country": "SE", "method_countries": ["paysafecard=NO AT", "bitcoin=SE"]},
        }
    ],
)
async def test_methods_follow_the_country_that_our_proxy_names(door, monkeypatch) -> None:
    async def methods(country: str | None) -> set[str]:
        headers = {} if country is None else {"X-Country": country}
        reply = await door.client().get("/api/v1/wallet/packages", headers=headers)
        return {method["id"] for method in (await reply.json())["methods"]}

    everywhere = {"card", "pay_by_phone", "gift_card"}
    assert await methods("NO") == everywhere | {"paysafecard"}
    assert await methods("at") == everywhere | {"paysafecard"}
    assert await methods("DE") == everywhere
    for unknown in (None, "XX", "T1", "NORWAY", "N\u00d8"):
        assert await methods(unknown) == everywhere | {"bitcoin"}
    monkeypatch.setattr(type(door.services.proxies), "trusts", lambda self, address: False)
    assert await methods("NO") == everywhere | {"bitcoin"}


async def test_a_card_number_is_not_a_token(door, problem) -> None:
    await door.member()
    client = await door.signed_in("mia")
    reply = await client.post("/api/v1/orders/o/pay", json={"token": "4111111111111111"})
    assert await problem(reply) == (422, "invalid")


async def test_orders_are_limited_per_member(door) -> None:
    await door.member()
    client = await door.signed_in("mia")
    statuses = [
        (
            await client.post(
                "/api/v1/orders", json=ORDER, headers={"Idempotency-Key": f"k{number}"}
            )
        ).status
        for number in range(22)
    ]
    assert statuses[:20] == [201] * 20
    assert statuses[-1] == 429


async def test_auto_reload_settings(door, problem) -> None:
    await door.member()
    client = await door.signed_in("mia")
    body = {"enabled": True, "package": "credits-59", "daily_cap": 3}
    reply = await client.put("/api/v1/wallet/auto-reload", json=body)
    assert reply.status == 200, await reply.text()
    await door.services.reload.idle()
    wallet = await (await client.get("/api/v1/wallet")).json()
    assert wallet["auto_reload"]["enabled"] is True
    assert wallet["auto_reload"]["package"] == "credits-59"
    for change, refusal in (
        ({"package": "credits-1"}, (422, "unknown_package")),
        ({"daily_cap": 0}, (422, "invalid")),
        ({"daily_cap": 51}, (422, "invalid")),
    ):
        reply = await client.put("/api/v1/wallet/auto-reload", json=body | change)
        assert await problem(reply) == refusal


async def test_history_has_pages(door, problem) -> None:
    account = await door.member()
    for number in range(35):
        await door.services.wallet.grant_promo(account.account_id, 10, f"g{number}", "test")
    client = await door.signed_in("mia")
    first = await (await client.get("/api/v1/wallet/transactions")).json()
    assert len(first["items"]) == 30
    rest = await (await client.get(f"/api/v1/wallet/transactions?before={first['next']}")).json()
    assert len(rest["items"]) == 5
    assert rest["next"] is None
    assert first["items"][-1]["balance_after_units"] == 60
    assert await problem(await client.get("/api/v1/wallet/transactions?before=x")) == (
        422,
        "invalid",
    )


def test_every_refusal_of_the_money_has_an_answer() -> None:
    from typing import get_args

    from billing_meter import orders, reload
    from signaling.routes_wallet import REFUSALS

    codes = {*get_args(orders.RefusedCode), *get_args(reload.RefusedCode)}
    assert codes == set(REFUSALS)


# --- studio ----------------------------------------------------------------------------------


async def test_studio_shows_and_changes_settings(door) -> None:
    await door.expert("luna")
    client = await door.signed_in("luna")
    studio = await (await client.get("/api/v1/studio")).json()
    assert studio["whip_url"] == f"{door.origin}/whip/luna"
    assert len(studio["stream_key_hint"]) == 4
    body = {
        "prices": {"private": 399, "cam2cam": 0, "two_way_audio": 60},
        "cam2cam": False,
        "headline": "New headline",
    }
    changed = await client.put("/api/v1/studio/settings", json=body)
    assert changed.status == 200, await changed.text()
    expert = await (await client.get("/api/v1/experts/luna")).json()
    assert expert["prices"] == body["prices"]
    assert expert["cam2cam"] is False
    assert expert["two_way_audio"] is True
    assert expert["headline"] == "New headline"
    assert expert["about"] == "About Luna"


async def test_a_changed_price_reaches_the_grid(door) -> None:
    await door.expert("luna")
    client = await door.signed_in("luna")
    ticket = (await (await client.post("/api/v1/ws-ticket")).json())["ticket"]
    async with client.ws_connect("/ws", headers={"Origin": door.origin}) as socket:
        await socket.send_json({"type": "hello", "ticket": ticket})
        await socket.receive_json(timeout=5)
        await socket.send_json({"type": "presence.subscribe", "id": 1})
        await socket.receive_json(timeout=5)
        body = {"prices": {"private": 500, "cam2cam": 0, "two_way_audio": 0}}
        await client.put("/api/v1/studio/settings", json=body)
        message = await socket.receive_json(timeout=5)
        assert message["type"] == "presence.changed"
        assert message["expert"]["prices"]["private"] == 500


async def test_studio_refusals(door, problem, monkeypatch) -> None:
    await door.expert("luna")
    client = await door.signed_in("luna")
    prices = {"private": 299, "cam2cam": 100, "two_way_audio": 50}
    for body, refusal in (
        ({"prices": prices | {"private": 98}}, (422, "bad_price")),
        ({"prices": prices | {"private": 10_000}}, (422, "bad_price")),
        ({"prices": prices | {"cam2cam": -1}}, (422, "invalid")),
        ({"prices": prices | {"private": 299.5}}, (422, "invalid")),
        ({"headline": "x" * 121}, (422, "invalid")),
        ({"verified": True}, (422, "invalid")),
    ):
        reply = await client.put("/api/v1/studio/settings", json=body)
        assert await problem(reply) == refusal, body
    monkeypatch.setattr(type(door.services.house), "in_session", lambda self, expert_id: True)
    reply = await client.put("/api/v1/studio/settings", json={"prices": prices})
    assert await problem(reply) == (409, "locked_in_session")


# --- sessions --------------------------------------------------------------------------------


async def test_a_session_is_seen_by_its_two_people_only(door, problem) -> None:
    member = await door.member("mia", credits_units=60_000)
    await door.member("noah")
    expert, _ = await door.expert("luna")
    await door.expert("orion")
    await door.ended_session("session-1", member, expert)
    path = "/api/v1/sessions/session-1"
    mine = await (await (await door.signed_in("mia")).get(path)).json()
    assert (mine["expert"], mine["member"], mine["reason"]) == ("luna", "mia", "member_left")
    assert mine["total_units"] == 0
    assert mine["balance_units"] == 60_000
    assert "earned_units" not in mine
    theirs = await (await (await door.signed_in("luna")).get(path)).json()
    assert theirs["earned_units"] == 0
    assert "balance_units" not in theirs
    for stranger in ("noah", "orion"):
        reply = await (await door.signed_in(stranger)).get(path)
        assert await problem(reply) == (404, "no_session")
    assert await problem(await door.client().get(path)) == (401, "not_signed_in")


async def test_extras_are_locked_after_30_days_and_unlocked_by_a_purchase(door) -> None:
    account = await door.member()
    long_ago = sa.update(billing_schema.members).values(created_at_ms=0)
    async with door.services.database.write() as connection:
        await connection.execute(long_ago)
    client = await door.signed_in("mia")
    me = await (await client.get("/api/v1/me")).json()
    assert me["you"]["locked"] == ["albums", "emoji", "likes", "translator"]
    await door.expert("luna")
    ticket = (await (await client.post("/api/v1/ws-ticket")).json())["ticket"]

    async def answer(socket, **message: object) -> dict[str, object]:
        await socket.send_json({"id": 7, **message})
        while (reply := await socket.receive_json(timeout=5)).get("id") != 7:
            pass
        return reply

    async with client.ws_connect("/ws", headers={"Origin": door.origin}) as socket:
        await socket.send_json({"type": "hello", "ticket": ticket})
        assert (await socket.receive_json(timeout=5))["you"]["locked"] != []
        await answer(socket, type="room.enter", expert="luna")
        refused = await answer(socket, type="chat.send", text="hi 🙂")
        assert (refused["type"], refused["code"]) == ("error", "feature_locked:emoji")
        order = await door.services.orders.create(account.account_id, "credits-9", "card", "k")
        await door.services.orders.pay(account.account_id, order.order_id, "tok_ok")
        while (told := await socket.receive_json(timeout=5))["type"] != "account.upgraded":
            pass
        assert told["you"]["locked"] == []
        assert (await answer(socket, type="chat.send", text="hi 🙂"))["type"] != "error"
