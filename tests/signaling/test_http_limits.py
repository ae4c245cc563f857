"""Spend limits over HTTP: set, see, wait, take a break; and buying nothing during one."""

from __future__ import annotations

import pytest

LIMITS = "/api/v1/wallet/limits"
ORDER = {"package": "credits-27", "method": "card"}
DAY_MS = 86_400_000


async def member(door, name: str = "mia"):
    await door.member(name)
    return await door.signed_in(name)


async def shown(reply) -> dict[str, dict[str, object]]:
    assert reply.status == 200, await reply.text()
    return {limit["span"]: limit for limit in (await reply.json())["limits"]}


async def test_limits_are_open_at_first_in_the_zone_that_is_asked_for(door) -> None:
    client = await member(door)
    reply = await client.get(f"{LIMITS}?time_zone=Europe/Oslo")
    body = await reply.json()
    assert (body["time_zone"], body["break_until_ms"]) == ("Europe/Oslo", None)
    assert [limit["span"] for limit in body["limits"]] == ["session", "day", "week", "month"]
    assert all(limit["units"] is None for limit in body["limits"])
    day = body["limits"][1]
    assert day["used_units"] == 0
    # Midnight in Oslo is 22:00 or 23:00 UTC.
    assert day["resets_at_ms"] % DAY_MS in (22 * 3_600_000, 23 * 3_600_000)


async def test_lowering_counts_at_once_and_raising_shows_when(door) -> None:
    client = await member(door)
    wish = {"units": 60_000, "time_zone": "Europe/Oslo"}
    day = (await shown(await client.put(f"{LIMITS}/day", json=wish)))["day"]
    assert (day["units"], day["left_units"], day.get("pending")) == (60_000, 60_000, None)
    day = (await shown(await client.put(f"{LIMITS}/day", json={"units": 90_000})))["day"]
    assert day["units"] == 60_000
    assert day["pending"]["units"] == 90_000
    later_ms = day["pending"]["at_ms"]
    day = (await shown(await client.put(f"{LIMITS}/day", json={"units": None})))["day"]
    assert day["pending"]["units"] is None
    assert 0 <= day["pending"]["at_ms"] - later_ms < 60_000
    day = (await shown(await client.put(f"{LIMITS}/day", json={"units": 6_000})))["day"]
    assert (day["units"], day.get("pending")) == (6_000, None)
    limits = await shown(await client.get(LIMITS))
    assert limits["day"] == day
    assert limits["session"] == {"span": "session", "units": None}


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("day", {"units": -1}, 422, "invalid"),
        ("day", {"units": 6_000_000_000_001}, 422, "invalid"),
        ("day", {"units": 10**40}, 422, "invalid"),
        ("day", {"units": 1.5}, 422, "invalid"),
        ("day", {"units": "5"}, 422, "invalid"),
        ("day", {"units": True}, 422, "invalid"),
        ("day", {}, 422, "invalid"),
        ("day", {"units": 5, "member": "eve"}, 422, "invalid"),
        ("day", {"units": 5, "time_zone": ""}, 422, "invalid"),
        ("day", {"units": 5, "time_zone": "x" * 65}, 422, "invalid"),
        ("day", {"units": 5, "time_zone": "Moon/Base"}, 422, "unknown_time_zone"),
        ("day", {"units": 5, "time_zone": "../../etc/passwd"}, 422, "unknown_time_zone"),
        ("year", {"units": 5}, 404, "unknown_limit"),
    ],
)
async def test_bad_limits_are_refused_and_change_nothing(
    door, problem, path, body, status, code
) -> None:
    client = await member(door)
    reply = await client.put(f"{LIMITS}/{path}", json=body)
    assert await problem(reply) == (status, code)
    assert all(limit["units"] is None for limit in (await shown(await client.get(LIMITS))).values())


async def test_another_zone_is_refused_while_a_limit_is_in_force(door, problem) -> None:
    client = await member(door)
    await client.put(f"{LIMITS}/day", json={"units": 5, "time_zone": "Europe/Oslo"})
    reply = await client.put(f"{LIMITS}/week", json={"units": 5, "time_zone": "Asia/Tokyo"})
    assert await problem(reply) == (409, "time_zone_fixed")
    assert await problem(await client.get(f"{LIMITS}?time_zone=Nope")) == (422, "unknown_time_zone")


async def test_only_members_have_limits_and_each_their_own(door, problem) -> None:
    guest = door.client()
    for reply in (
        await guest.get(LIMITS),
        await guest.put(f"{LIMITS}/day", json={"units": 5}),
        await guest.post("/api/v1/wallet/break", json={"days": 1}),
    ):
        assert (await problem(reply))[0] in (401, 403)
    mia, noa = await member(door), await member(door, "noa")
    await mia.put(f"{LIMITS}/day", json={"units": 5})
    assert (await shown(await noa.get(LIMITS)))["day"]["units"] is None


async def test_nothing_is_bought_during_a_break_and_it_is_not_shortened(door, problem) -> None:
    client = await member(door)
    open_order = await client.post("/api/v1/orders", json=ORDER, headers={"Idempotency-Key": "k1"})
    order_id = (await open_order.json())["order"]["id"]
    first = await (await client.post("/api/v1/wallet/break", json={"days": 30})).json()
    again = await (await client.post("/api/v1/wallet/break", json={"days": 1})).json()
    assert again["break_until_ms"] == first["break_until_ms"]
    reply = await client.post("/api/v1/orders", json=ORDER, headers={"Idempotency-Key": "k2"})
    assert await problem(reply) == (409, "on_break")
    reply = await client.post(f"/api/v1/orders/{order_id}/pay", json={"token": "tok_ok"})
    assert await problem(reply) == (409, "on_break")
    wallet = await (await client.get("/api/v1/wallet")).json()
    assert wallet["balance"]["paid_units"] == 0


@pytest.mark.parametrize("days", [0, 2, -1, "7", 31, None])
async def test_breaks_are_of_three_lengths(door, problem, days) -> None:
    client = await member(door)
    reply = await client.post("/api/v1/wallet/break", json={"days": days})
    assert await problem(reply) == (422, "invalid")
