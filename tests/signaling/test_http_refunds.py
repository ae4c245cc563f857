"""Asking for a session's price back over HTTP, and staff's decision about it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from billing_meter import schema
from billing_meter.database import Database
from billing_meter.ledger import Debit, Posted
from billing_meter.ledger_store import LedgerStore
from billing_meter.refunds import Refund, Refunds
from billing_meter.tariff import Component, Tariff
from billing_meter.till_store import SESSION_CHARGE
from signaling import staff

PATH = "/api/v1/sessions/session-1/refund"
COMPLAINT = {"complaint": "There was no sound."}


@pytest.fixture
async def ended(door) -> object:
    """A closed session of mia's with luna; what it cost is written by `cost`."""
    member = await door.member("mia", credits_units=60_000)
    await door.member("noah")
    expert, _ = await door.expert("luna")
    await door.ended_session("session-1", member, expert)
    return door


async def cost(door, seconds: int) -> None:
    """As if the session had taken this long."""
    units = seconds * Tariff().rate(Component.PRIVATE)
    change = {
        "private_s": seconds,
        "held_ms": seconds * 1_000,
        "charged_units": units,
        "posted_units": units,
    }
    async with door.services.database.write() as connection:
        await connection.execute(sa.update(schema.sessions).values(change))


async def charge(door, units: int) -> None:
    """The transfer that took it."""
    member, expert = [await door.services.accounts.by_name(name) for name in ("mia", "luna")]
    debit = Debit(
        "k", member.account_id, expert.account_id, units, SESSION_CHARGE, "session:session-1"
    )
    posted = await door.services.wallet.ledger.execute(debit)
    assert isinstance(posted, Posted)
    async with door.services.database.write() as connection:
        await connection.execute(sa.update(schema.sessions).values(last_charge=posted.transfer))


async def test_a_member_asks_once_and_sees_what_becomes_of_it(ended, problem) -> None:
    client = await ended.signed_in("mia")
    assert await problem(await client.post(PATH, json=COMPLAINT)) == (409, "nothing_charged")
    await cost(ended, 10)
    assert await problem(await client.get(PATH)) == (404, "no_refund")
    reply = await client.post(PATH, json=COMPLAINT)
    assert reply.status == 201, await reply.text()
    asked = await reply.json()
    assert (asked["state"], asked["granted_units"]) == ("requested", 0)
    assert asked["charged_units"] == 10 * Tariff().rate(Component.PRIVATE)
    assert await (await client.get(PATH)).json() == asked
    assert await problem(await client.post(PATH, json=COMPLAINT)) == (409, "already_requested")


async def test_nobody_else_learns_of_it(ended, problem) -> None:
    await cost(ended, 10)
    mine = await ended.signed_in("mia")
    assert (await mine.post(PATH, json=COMPLAINT)).status == 201
    other = await ended.signed_in("noah")
    assert await problem(await other.post(PATH, json=COMPLAINT)) == (404, "no_session")
    assert await problem(await other.get(PATH)) == (404, "no_refund")
    expert = await ended.signed_in("luna")
    assert (await problem(await expert.post(PATH, json=COMPLAINT)))[0] == 403
    assert await problem(await ended.client().get(PATH)) == (401, "not_signed_in")


@pytest.mark.parametrize(
    "body",
    [{}, {"complaint": ""}, {"complaint": " \n"}, {"complaint": 7}, {"complaint": "x" * 1_001}],
)
async def test_a_complaint_says_something(ended, problem, body) -> None:
    await cost(ended, 10)
    client = await ended.signed_in("mia")
    assert (await problem(await client.post(PATH, json=body)))[0] in (400, 422)
    assert await problem(await client.get(PATH)) == (404, "no_refund")


STAFF = "/api/v1/staff/refunds"


@pytest.fixture
async def asked(ended) -> object:
    """Mia spent 4,000 units with luna and wants them back; sam is staff."""
    await cost(ended, 10)
    await charge(ended, 10 * Tariff().rate(Component.PRIVATE))
    client = await ended.signed_in("mia")
    assert (await client.post(PATH, json=COMPLAINT)).status == 201
    await ended.staff("sam")
    return ended


async def test_staff_sees_the_facts_and_gives_a_part_back(asked, problem) -> None:
    client = await asked.signed_in("sam")
    member = await asked.services.accounts.by_name("mia")
    charged = 10 * Tariff().rate(Component.PRIVATE)
    queue = await (await client.get(STAFF)).json()
    assert queue["more"] is False
    (item,) = queue["refunds"]
    assert (item["member"], item["expert"], item["state"]) == ("mia", "luna", "requested")
    assert (item["complaint"], item["charged_units"]) == (COMPLAINT["complaint"], charged)
    assert item["facts"]["held_ms"] == 10_000
    assert item["facts"]["lines"][0]["seconds"] == 10
    assert item["past"] == {"requested": 1, "approved": 0, "granted_units": 0}
    assert "own" not in item
    told = []
    asked.services.wallet.on_balance = lambda who, balance: told.append((who, balance.posted))
    for units, refusal in ((-1, "invalid"), ("1", "invalid"), (charged + 1, "exceeds_charge")):
        reply = await client.post(f"{STAFF}/session-1", json={"granted_units": units})
        assert await problem(reply) == (422, refusal)
    assert told == []
    reply = await client.post(f"{STAFF}/session-1", json={"granted_units": 1_000})
    assert reply.status == 200, await reply.text()
    decided = await reply.json()
    assert (decided["state"], decided["granted_units"]) == ("approved", 1_000)
    assert decided["decided_by"] == "sam"
    assert told == [(member.account_id, 60_000 - charged + 1_000)]
    again = await client.post(f"{STAFF}/session-1", json={"granted_units": 1_000})
    assert await again.json() == decided
    assert len(told) == 1
    other = await client.post(f"{STAFF}/session-1", json={"granted_units": 0})
    assert await problem(other) == (409, "already_decided")
    assert (await (await client.get(STAFF)).json())["refunds"] == []
    listed = await (await client.get(STAFF, params={"state": "decided"})).json()
    assert [one["session"] for one in listed["refunds"]] == ["session-1"]
    assert await problem(await client.get(STAFF, params={"state": "x"})) == (422, "invalid")


async def test_the_wallet_shows_a_session_as_one_line_with_what_became_of_its_refund(
    asked, problem
) -> None:
    client, rate = await asked.signed_in("mia"), Tariff().rate(Component.PRIVATE)
    page = await (await client.get("/api/v1/wallet/transactions")).json()
    session, gift = page["items"]
    assert (session["kind"], session["units"], gift["kind"]) == (
        "session",
        -10 * rate,
        "promo_grant",
    )
    assert "private" not in gift
    shown = session["private"]
    assert (shown["session"], shown["expert"]) == ("session-1", "luna")
    assert [(line["component"], line["seconds"]) for line in shown["lines"]] == [
        ("private", 10),
        ("cam2cam", 0),
        ("two_way_audio", 0),
    ]
    day_ms = 24 * 60 * 60 * 1_000
    assert shown["refund"] == {"state": "requested", "until_ms": shown["ended_at_ms"] + day_ms}
    assert 0 <= page["now_ms"] - shown["ended_at_ms"] < day_ms
    await Refunds(asked.services.wallet.ledger).approve("session-1", 900, "staff")
    back, session, _ = (await (await client.get("/api/v1/wallet/transactions")).json())["items"]
    assert (back["kind"], back["units"]) == ("session_refund", 900)
    assert back["private"]["session"] == "session-1"
    assert session["private"]["refund"]["granted_units"] == 900
    assert session["private"]["refund"]["state"] == "approved"


async def test_a_refund_can_be_asked_for_until_the_end_of_its_day(ended, problem) -> None:
    await cost(ended, 10)
    client = await ended.signed_in("mia")
    await charge(ended, 10)

    async def standing() -> str:
        page = await (await client.get("/api/v1/wallet/transactions")).json()
        return page["items"][0]["private"]["refund"]["state"]

    assert await standing() == "possible"
    ended_at = sa.update(schema.sessions).values(ended_at_ms=1_000, marked_at_ms=1_000)
    async with ended.services.database.write() as connection:
        await connection.execute(ended_at)
    assert await standing() == "over"
    assert await problem(await client.post(PATH, json=COMPLAINT)) == (409, "window_closed")


async def test_open_pages_hear_of_a_decision_that_another_process_made(asked) -> None:
    member = await asked.services.accounts.by_name("mia")
    socket = await asked.socket(await asked.signed_in("mia"))
    other = await Database.open(asked.config.database_url)
    try:
        store = LedgerStore(other, utc_now=asked.services.utc_now)
        assert isinstance(await Refunds(store).approve("session-1", 700, "cli"), Refund)
    finally:
        await other.close()
    await asked.services.refund_watch.look()
    balance = await socket.receive_json(timeout=5)
    posted = (await asked.services.wallet.balance(member.account_id)).posted
    assert (balance["type"], balance["balance"]["available_units"]) == ("wallet.balance", posted)
    news = await socket.receive_json(timeout=5)
    assert (news["type"], news["part"]) == ("wallet.changed", "refunds")
    await asked.services.refund_watch.look()
    client = await asked.signed_in("mia")
    await client.put("/api/v1/wallet/limits/day", json={"units": 600_000})
    news = await socket.receive_json(timeout=5)
    assert (news["type"], news["part"]) == ("wallet.changed", "limits"), "told once"


async def test_nobody_decides_about_their_own_session_nor_without_the_role(asked, problem) -> None:
    database, accounts = asked.services.database, asked.services.accounts
    body = {"granted_units": 0}
    for name in ("mia", "luna"):
        client = await asked.signed_in(name)
        assert await problem(await client.get(STAFF)) == (403, "staff_only")
        account = await accounts.by_name(name)
        async with database.write() as connection:
            assert await staff.give(connection, account.account_id, "test", 1)
        assert (await (await client.get("/api/v1/me")).json())["staff"] is True
        assert (await (await client.get(STAFF)).json())["refunds"][0]["own"] is True
        reply = await client.post(f"{STAFF}/session-1", json=body)
        assert await problem(reply) == (403, "own_session")
        async with database.write() as connection:
            assert await staff.take(connection, account.account_id, "test", 2)
            assert not await staff.take(connection, account.account_id, "test", 2)
        reply = await client.post(f"{STAFF}/session-1", json=body)
        assert await problem(reply) == (403, "staff_only")
    client = await asked.signed_in("sam")
    assert await problem(await client.post(f"{STAFF}/none", json=body)) == (404, "no_refund")
    denied = await (await client.post(f"{STAFF}/session-1", json=body)).json()
    assert (denied["state"], denied["granted_units"]) == ("denied", 0)
