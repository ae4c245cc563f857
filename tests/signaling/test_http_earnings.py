"""Earnings and payouts over HTTP: the expert's own alone, and staff's decisions."""

from __future__ import annotations

import csv
import datetime as dt
import io

import pytest

from billing_meter.ledger import Debit, Posted
from billing_meter.ledger_store import LedgerStore
from billing_meter.statements import reconcile
from signaling import staff

CREDIT = 6_000
ACCOUNT = {"holder": "Luna Hart", "iban": "NO93 8601 1117 947"}
STAFF = "/api/v1/staff/payouts"


@pytest.fixture
async def earned(door) -> object:
    """Luna earned 120 credits two days ago and 60 just now; sam is staff, ida another expert."""
    member = await door.member("mia", credits_units=1_000 * CREDIT)
    expert, _ = await door.expert("luna")
    await door.expert("ida")
    await door.staff("sam")
    now = dt.datetime.now(dt.UTC)
    for key, units, days in (("old", 200, 2), ("new", 100, 0)):
        store = LedgerStore(
            door.services.database, utc_now=lambda days=days: now - dt.timedelta(days=days)
        )
        ids = (member.account_id, expert.account_id)
        outcome = await store.execute(Debit(key, *ids, units * CREDIT, "surprise", key))
        assert isinstance(outcome, Posted)
    yield door
    assert (await reconcile(door.services.database)).findings == ()


async def asked(client, key: str = "k1", **body: object):
    return await client.post("/api/v1/payouts", json=body, headers={"Idempotency-Key": key})


async def test_an_expert_sees_what_was_earned_and_nobody_elses(earned) -> None:
    luna, ida = await earned.signed_in("luna"), await earned.signed_in("ida")
    report = await (await luna.get("/api/v1/earnings?period=month")).json()
    assert report["now"] == {
        "available_units": 120 * CREDIT,
        "pending_units": 60 * CREDIT,
        "in_payout_units": 0,
        "owed_units": 0,
    }
    assert {one["feature"]: one["share_percent"] for one in report["shares"]} == dict.fromkeys(
        ("private", "cam2cam", "two_way_audio", "surprise", "story", "content", "message", "group"),
        60,
    )
    assert sum(span["earned_units"] for span in report["spans"]) == 180 * CREDIT
    assert {part["feature"] for span in report["spans"] for part in span["features"]} == {
        "surprise"
    }
    lines = await (await luna.get("/api/v1/earnings/lines")).json()
    assert [line["state"] for line in lines["lines"]] == ["pending", "final"]
    assert lines["more"] is False
    reply = await luna.get("/api/v1/earnings.csv")
    assert reply.content_type == "text/csv"
    assert reply.headers["Content-Disposition"].startswith('attachment; filename="earnings-20')
    rows = list(csv.DictReader(io.StringIO(await reply.text())))
    assert [row["earned_units"] for row in rows] == [str(60 * CREDIT), str(120 * CREDIT)]
    assert [row["earned_credits"] for row in rows] == ["60.00", "120.00"]
    assert [row["state"] for row in rows] == ["pending", "final"]
    assert {row["share_percent"] for row in rows} == {""}  # bare debits
    assert sum(span["pending_units"] for span in report["spans"]) == 60 * CREDIT
    assert all(row["seconds"] == "" and row["time_utc"].endswith("+00:00") for row in rows)
    assert (await (await ida.get("/api/v1/earnings")).json())["spans"] == []
    assert (await (await ida.get("/api/v1/earnings/lines")).json())["lines"] == []


BAD_DAYS = [
    ("period=year", "invalid"),
    ("from=soon", "bad_days"),
    ("from=2026-01-02&to=2026-01-01", "bad_days"),
    ("from=0001-01-01", "bad_days"),
    ("from=2020-01-01&to=2026-01-01", "bad_days"),
    ("to=9999-12-31", "bad_days"),
]


async def test_days_are_days(door, problem) -> None:
    await door.expert("luna")
    luna = await door.signed_in("luna")
    for path in ("earnings", "earnings/lines", "earnings.csv"):
        for query, code in BAD_DAYS:
            assert await problem(await luna.get(f"/api/v1/{path}?{query}")) == (422, code), query


async def test_a_payout_is_asked_for_decided_and_paid(earned, problem) -> None:
    luna, sam = await earned.signed_in("luna"), await earned.signed_in("sam")
    assert await problem(await asked(luna)) == (409, "no_destination")
    reply = await luna.put("/api/v1/payouts/destination", json=ACCOUNT)
    assert await reply.json() == {"holder": "Luna Hart", "iban": "NO…7947"}
    assert await problem(await asked(luna, "")) == (400, "key_invalid")
    assert await problem(await asked(luna, units=121 * CREDIT)) == (409, "exceeds_available")
    assert await problem(await asked(luna, units=CREDIT)) == (409, "below_minimum")
    reply = await asked(luna, "k1")
    assert reply.status == 201
    payout = (await reply.json())["payout"]
    assert (payout["state"], payout["amount_minor"], payout["iban"]) == (
        "requested",
        12_000,
        "NO…7947",
    )
    assert (await (await asked(luna, "k1")).json())["payout"] == payout
    assert await problem(await asked(luna, "k2")) == (409, "payout_in_flight")
    (waiting,) = (await (await sam.get(STAFF)).json())["payouts"]
    assert (waiting["expert"], waiting["iban"]) == ("luna", "NO9386011117947")
    path = f"{STAFF}/{payout['id']}"
    assert await problem(await sam.post(path, json={"do": "paid", "reference": "B"})) == (
        409,
        "wrong_state",
    )
    done = await (await sam.post(path, json={"do": "approve"})).json()
    assert (done["state"], done["decided_by"], done["closed_by"]) == ("paid", "sam", "fake")
    assert await problem(await sam.post(path, json={"do": "deny"})) == (409, "wrong_state")
    listed = await (await luna.get("/api/v1/payouts")).json()
    assert listed["now"]["available_units"] == listed["now"]["in_payout_units"] == 0
    assert [one["state"] for one in listed["payouts"]] == ["paid"]
    assert "decided_by" not in listed["payouts"][0]
    (closed,) = (await (await sam.get(f"{STAFF}?state=closed")).json())["payouts"]
    assert closed == done
    back = await (await sam.post(path, json={"do": "returned", "reason": "closed"})).json()
    assert (back["state"], back["returned_by"], back["closed_by"]) == ("returned", "sam", "fake")


async def test_staff_pays_by_hand(earned, problem) -> None:
    luna, sam = await earned.signed_in("luna"), await earned.signed_in("sam")
    await luna.put("/api/v1/payouts/destination", json=ACCOUNT)
    path = f"{STAFF}/{(await (await asked(luna)).json())['payout']['id']}"
    done = await (await sam.post(path, json={"do": "approve_manual"})).json()
    assert (done["state"], done["manual"]) == ("approved", True)
    for body in ({"do": "paid"}, {"do": "failed"}, {"do": "failed", "reason": " "}):
        assert await problem(await sam.post(path, json=body)) == (422, "invalid")
    paid = {"do": "paid", "reference": "B-1"}
    done = await (await sam.post(path, json=paid)).json()
    assert (done["state"], done["reference"], done["closed_by"]) == ("paid", "B-1", "sam")
    assert await (await sam.post(path, json=paid)).json() == done


async def test_nobody_decides_about_their_own_payout(earned, problem) -> None:
    luna = await earned.signed_in("luna")
    await luna.put("/api/v1/payouts/destination", json=ACCOUNT)
    payout = (await (await asked(luna)).json())["payout"]
    path = f"{STAFF}/{payout['id']}"
    assert await problem(await luna.post(path, json={"do": "approve"})) == (403, "staff_only")
    account = await earned.services.accounts.by_name("luna")
    async with earned.services.database.write() as connection:
        assert await staff.give(connection, account.account_id, "test", 1)
    assert (await (await luna.get(STAFF)).json())["payouts"][0]["own"] is True
    assert await problem(await luna.post(path, json={"do": "approve"})) == (403, "own_payout")
    ida = await earned.signed_in("ida")
    cancel = f"/api/v1/payouts/{payout['id']}/cancel"
    assert await problem(await ida.post(cancel)) == (404, "no_payout")
    assert (await (await luna.post(cancel)).json())["payout"]["state"] == "cancelled"
    assert await problem(await luna.post(cancel)) == (409, "wrong_state")


BAD_ACCOUNTS = [
    {"holder": "L", "iban": "NO9386011117948"},
    {"holder": "L", "iban": "x" * 65},
    {"holder": "", "iban": ACCOUNT["iban"]},
    {"holder": "x" * 71, "iban": ACCOUNT["iban"]},
    {"holder": "L\u202e", "iban": ACCOUNT["iban"]},
    {"holder": 1, "iban": 2},
    ACCOUNT | {"expert": "ida"},
]
BAD_PAYOUTS = [
    {"units": 0},
    {"units": -1},
    {"units": 10**18},
    {"units": 1.5},
    {"units": "60"},
    {"amount": 60},
]


async def test_bad_input_is_refused(door, problem) -> None:
    await door.expert("luna")
    luna = await door.signed_in("luna")
    for body in BAD_ACCOUNTS:
        reply = await luna.put("/api/v1/payouts/destination", json=body)
        assert (await problem(reply))[0] == 422, body
    for body in BAD_PAYOUTS:
        assert (await problem(await asked(luna, **body)))[0] == 422, body
    listed = await (await luna.get("/api/v1/payouts")).json()
    assert (listed["destination"], listed["payouts"]) == (None, [])


BAD_STEPS = [
    ({}, (422, "invalid")),
    ({"do": "steal"}, (422, "invalid")),
    ({"do": "paid", "reference": "x" * 121}, (422, "invalid")),
    ({"do": "approve", "units": 1}, (422, "invalid")),
    ({"do": "approve"}, (404, "no_payout")),
]


async def test_bad_steps_are_refused(door, problem) -> None:
    await door.staff("sam")
    sam = await door.signed_in("sam")
    for body, expected in BAD_STEPS:
        assert await problem(await sam.post(f"{STAFF}/none", json=body)) == expected, body
    assert await problem(await sam.get(f"{STAFF}?state=lost")) == (422, "invalid")
