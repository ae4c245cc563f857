"""Staff gives what members bought of experts back, over HTTP and on the command line."""

from __future__ import annotations

import pytest

from billing_meter.database import Database
from billing_meter.features import Buy, Feature
from billing_meter.purchases import Purchase, Purchases
from billing_meter.sales import Bought
from billing_meter.wallet import Wallet
from signaling import staff as staff_roles

CREDIT = 6_000
LIST = "/api/v1/staff/purchases"


@pytest.fixture
async def bought(door):
    """Mia bought an album and a surprise of luna's; stan is staff."""
    member = await door.member("mia", credits_units=60_000)
    expert, _ = await door.expert("luna")
    await door.staff("stan")
    purchases = Purchases(door.services.wallet)
    numbers = []
    for key, feature, units in (("a", Feature.CONTENT, 5 * CREDIT), ("b", Feature.STORY, CREDIT)):
        thing = "album" if feature is Feature.CONTENT else expert.account_id
        one = await purchases.buy(
            Buy(key, member.account_id, expert.account_id, feature, thing, units, units)
        )
        assert isinstance(one, Bought)
        numbers.append(one.transfer)
    return door, numbers


async def test_staff_finds_a_purchase_and_gives_it_back_once(bought, problem) -> None:
    door, (album, story) = bought
    staff = await door.signed_in("stan")
    page = await (await staff.get(f"{LIST}?member=mia")).json()
    assert [one["purchase"] for one in page["purchases"]] == [story, album]
    assert page["next"] is None
    line = page["purchases"][1]
    assert (line["member"], line["expert"], line["object"]) == ("mia", "luna", "album")
    assert (line["feature"], line["units"]) == ("content", 5 * CREDIT)
    assert line["access_until_ms"] > page["now_ms"]
    assert "own" not in line
    assert "refunded_units" not in line
    older = await (await staff.get(f"{LIST}?member=mia&before={story}")).json()
    assert [one["purchase"] for one in older["purchases"]] == [album]
    told = []
    door.services.wallet.on_balance = lambda who, balance: told.append(balance.posted)
    path, body = f"{LIST}/{album}/refund", {"reason": "  The pictures\n are dark. "}
    assert await problem(await staff.post(path, json={"granted_units": 30_001})) == (
        422,
        "exceeds_price",
    )
    for _ in range(2):
        reply = await staff.post(path, json=body)
        assert reply.status == 200, await reply.text()
    given = await reply.json()
    assert (given["refunded_units"], given["refunded_by"]) == (5 * CREDIT, "stan")
    assert given["reason"] == "The pictures are dark."
    assert given["access_until_ms"] <= given["refunded_at_ms"]
    assert told == [60_000 - CREDIT]
    other = await staff.post(path, json={"granted_units": 1})
    assert await problem(other) == (409, "already_refunded")
    part = await (await staff.post(f"{LIST}/{story}/refund", json={"granted_units": 7})).json()
    assert part["refunded_units"] == 7
    assert part["access_until_ms"] > part["refunded_at_ms"]


async def test_the_member_sees_it_in_the_wallet_and_in_the_file(bought) -> None:
    door, (album, _) = bought
    assert isinstance(await Purchases(door.services.wallet).refund(album, "x", 9_000), Purchase)
    mia = await door.signed_in("mia")
    line, *_ = (await (await mia.get("/api/v1/wallet/transactions")).json())["items"]
    assert (line["kind"], line["units"], line["expert"]) == ("content_refund", 9_000, "luna")
    text = await (await mia.get("/api/v1/wallet/transactions.csv")).text()
    assert "content_refund" in text.splitlines()[1]


async def test_nobody_decides_about_their_own_and_nobody_finds_what_is_not_there(
    bought, problem
) -> None:
    door, (album, _) = bought
    accounts, database = door.services.accounts, door.services.database
    staff = await door.signed_in("stan")
    for bad in ("4711", "0", "9" * 18, "9" * 40, "-1", "1e3", "%D9%A1", "x"):
        reply = await staff.post(f"{LIST}/{bad}/refund", json={})
        assert await problem(reply) == (404, "unknown_purchase"), bad
    for path in (f"{LIST}?member=luna", f"{LIST}?member=nobody", LIST):
        assert await problem(await staff.get(path)) == (404, "no_member")
    assert await problem(await staff.get(f"{LIST}?member=mia&before=x")) == (422, "invalid")
    mia = await accounts.by_name("mia")
    async with database.write() as connection:
        assert await staff_roles.give(connection, mia.account_id, "test", 1)
    mine = await door.signed_in("mia")
    reply = await mine.post(f"{LIST}/{album}/refund", json={})
    assert await problem(reply) == (403, "own_purchase")
    page = await (await mine.get(f"{LIST}?member=mia")).json()
    assert all(one["own"] for one in page["purchases"])


async def test_open_pages_hear_of_what_another_process_gave_back(bought) -> None:
    door, (album, story) = bought
    socket = await door.socket(await door.signed_in("mia"))
    other = await Database.open(door.config.database_url)
    try:
        purchases = Purchases(Wallet(other, utc_now=door.services.utc_now))
        assert isinstance(await purchases.refund(album, "cli", 700), Purchase)
        assert isinstance(await purchases.refund(story, "cli"), Purchase)
    finally:
        await other.close()
    for _ in range(2):
        await door.services.refund_watch.look()
    balance = await socket.receive_json(timeout=5)
    assert balance["type"] == "wallet.balance"
    assert balance["balance"]["available_units"] == 60_000 - 5 * CREDIT + 700
    changed = await socket.receive_json(timeout=5)
    assert (changed["type"], changed["part"]) == ("wallet.changed", "refunds")
