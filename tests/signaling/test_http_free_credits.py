"""Claiming the free credits over HTTP: fifty connections at once, a second account, an upgrade."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from billing_meter import schema
from signaling.accounts import NewAccount

PATH = "/api/v1/wallet/free-credits"
GOOD = {"token": "tok_ok"}
PASSWORD = "correct-horse-9"


async def newcomer(door, name: str, email: str | None = None):
    account = await door.services.accounts.add(
        NewAccount("member", name, PASSWORD, email or f"{name}@mail.test")
    )
    return account, await door.signed_in(name)


async def test_a_new_member_claims_once_and_is_upgraded_at_once(door) -> None:
    _, client = await newcomer(door, "mia")
    offer = await (await client.get(PATH)).json()
    assert offer == {"state": "eligible", "units": 59_940}
    ticket = (await (await client.post("/api/v1/ws-ticket")).json())["ticket"]
    async with client.ws_connect("/ws", headers={"Origin": door.origin}) as socket:
        await socket.send_json({"type": "hello", "ticket": ticket})
        assert (await socket.receive_json(timeout=5))["you"]["premium"] is False
        reply = await client.post(PATH, json=GOOD)
        assert (reply.status, await reply.json()) == (200, {"state": "granted", "units": 59_940})
        told = [await socket.receive_json(timeout=5) for _ in range(2)]
        messages = {message["type"]: message for message in told}
        assert messages["account.upgraded"]["you"]["premium"] is True
        assert messages["wallet.balance"]["balance"]["promo_units"] == 59_940


@pytest.mark.threads
@pytest.mark.slow
async def test_fifty_connections_get_one_grant(door) -> None:
    account, client = await newcomer(door, "mia")
    clients = [await door.signed_in("mia") for _ in range(4)] + [client]
    replies = await asyncio.gather(
        *(clients[n % len(clients)].post(PATH, json=GOOD) for n in range(50))
    )
    statuses = {reply.status for reply in replies}
    assert statuses <= {200, 429}
    states = {(await reply.json())["state"] for reply in replies if reply.status == 200}
    assert states == {"granted"}
    assert (await door.services.wallet.balance(account.account_id)).posted == 59_940


async def test_the_card_of_every_purchase_is_kept_as_a_mark(door) -> None:
    _, client = await newcomer(door, "mia")
    body = {"package": "credits-9", "method": "card"}
    made = await client.post("/api/v1/orders", json=body, headers={"Idempotency-Key": "k"})
    order = (await made.json())["order"]
    assert (await client.post(f"/api/v1/orders/{order['id']}/pay", json=GOOD)).status == 200
    async with door.services.database.read() as connection:
        kinds = (await connection.scalars(sa.select(schema.free_marks.c.kind))).all()
    assert kinds == ["paid"]


async def test_a_second_account_with_the_same_card_or_address_is_refused(door, problem) -> None:
    _, mia = await newcomer(door, "mia")
    assert (await mia.post(PATH, json=GOOD)).status == 200
    _, noah = await newcomer(door, "noah")
    assert await problem(await noah.post(PATH, json=GOOD)) == (409, "not_eligible")
    assert (await (await noah.get(PATH)).json())["state"] == "not_eligible"
    _, twin = await newcomer(door, "twin", "MIA@mail.test")
    reply = await twin.post(PATH, json={"token": "tok_ok_2"})
    assert await problem(reply) == (409, "not_eligible")


async def test_an_address_that_bought_on_another_account_is_no_newcomer(door) -> None:
    old, _ = await newcomer(door, "mia")
    await door.services.wallet.credit_purchase(old.account_id, 6_000, "k", "import")
    _, client = await newcomer(door, "mia2", "mia@MAIL.test")
    assert (await (await client.get(PATH)).json())["state"] == "not_eligible"


async def test_declined_cards_and_bad_bodies(door, problem) -> None:
    _, client = await newcomer(door, "mia")
    for body in ({"token": "4111111111111111"}, {"token": "tok_ok", "units": 10**9}):
        assert await problem(await client.post(PATH, json=body)) == (422, "invalid")
    assert await problem(await client.post(PATH, json={})) == (422, "token_unusable")
    declined = await (await client.post(PATH, json={"token": "tok_expired"})).json()
    assert declined == {"state": "declined", "units": 59_940, "failure": "card_expired"}
    for _ in range(4):
        assert (await client.post(PATH, json={"token": "tok_declined"})).status == 200
    assert await problem(await client.post(PATH, json=GOOD)) == (409, "too_many_cards")


async def test_experts_and_guests_have_none(door, problem) -> None:
    await door.expert("luna")
    luna = await door.signed_in("luna")
    assert await problem(await luna.post(PATH, json=GOOD)) == (403, "members_only")
    assert await problem(await door.client().post(PATH, json=GOOD)) == (401, "not_signed_in")


@pytest.mark.parametrize("flags", [{"money": {"provider": "none"}}])
async def test_without_a_provider_there_is_no_offer(door, problem) -> None:
    _, client = await newcomer(door, "mia")
    assert (await (await client.get(PATH)).json())["state"] == "unavailable"
    assert await problem(await client.post(PATH, json=GOOD)) == (503, "payments_unavailable")


async def test_the_salt_outlives_a_restart(door) -> None:
    file = door.config.data_dir / "eligibility.secret"
    assert len(file.read_text()) == 64
    assert file.stat().st_mode & 0o077 == 0
