"""Asking for a session's price back over HTTP, and deciding on the command line."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from billing_meter import schema
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, SessionOrder, Till

PATH = "/api/v1/sessions/session-1/refund"
COMPLAINT = {"complaint": "There was no sound."}


@pytest.fixture
async def ended(door) -> object:
    """A closed session of mia's with luna; what it cost is written by `cost`."""
    member = await door.member("mia", credits_units=60_000)
    await door.member("noah")
    expert, _ = await door.expert("luna")
    till = Till(door.services.database, door.services.wallet, on_event=lambda name, event: None)
    await till.recover()
    order = SessionOrder("session-1", member.account_id, expert.account_id, Tariff(), None)
    assert isinstance(await till.open(order), Opened)
    await till.close("session-1", "member_left")
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
