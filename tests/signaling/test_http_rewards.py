"""The Reward Club over HTTP: points at once, a rank that open pages hear of."""

from __future__ import annotations

from billing_meter.ledger import Debit, Posted


async def test_points_show_at_once_and_a_rank_is_pushed(door) -> None:
    member = await door.member("mia", credits_units=60 * 6_000)
    expert, _ = await door.expert("luna")
    client = await door.signed_in("mia")
    socket = await door.socket(client)

    async def spend(key: str, points: int) -> None:
        debit = Debit(key, member.account_id, expert.account_id, points * 6_000, "surprise", "x")
        assert isinstance(await door.services.wallet.ledger.execute(debit), Posted)

    async def shown() -> dict[str, object]:
        return await (await client.get("/api/v1/wallet/rewards")).json()

    before = await shown()
    assert (before["rank"], before["points"], before["kept_until_ms"]) == ("none", 0, None)
    assert before["next"] == {"name": "signature", "points": 15}
    assert [rank["name"] for rank in before["ranks"]][-1] == "diamond"
    await spend("a", 14)
    await spend("b", 2)
    assert (await shown())["points"] == 16
    await door.services.rewards.count()
    after = await shown()
    assert (after["rank"], after["points"], after["next"]["name"]) == ("signature", 16, "bronze")
    assert after["kept_until_ms"] > after["month_ends_at_ms"] - 31 * 86_400_000
    while (news := await socket.receive_json(timeout=5))["type"] != "account.upgraded":
        assert news["type"] == "wallet.balance"
    assert news["you"]["rank"] == "signature"
    assert (await (await client.get("/api/v1/me")).json())["you"]["rank"] == "signature"
