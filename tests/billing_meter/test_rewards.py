"""Reward Club: points are what was spent, each transfer counts once, ranks are kept 60 days."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from billing_meter import rewards, rewards_store, schema
from billing_meter.database import DatabaseUnavailable
from billing_meter.ledger import Debit, Posted, Reverse
from billing_meter.rewards_store import Rewards
from tests.billing_meter.conftest import House

CREDIT = 6_000
DAY_S = 24 * 60 * 60


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1_000


def test_what_points_reach_which_rank() -> None:
    assert [rank.points for rank in rewards.RANKS] == [15, 50, 250, 1_000, 5_000, 15_000]
    assert (rewards.points(-1), rewards.points(5_999), rewards.points(6_000)) == (0, 0, 1)
    assert rewards.reached(0, 15 * CREDIT - 1) == []
    assert rewards.reached(15 * CREDIT - 1, 15 * CREDIT) == ["signature"]
    assert rewards.reached(15 * CREDIT, 16 * CREDIT) == []
    assert rewards.reached(-CREDIT, 300 * CREDIT) == ["signature", "bronze", "silver"]
    assert rewards.reached(300 * CREDIT, 0) == []
    for points, name in ((0, "signature"), (15, "bronze"), (14_999, "diamond")):
        following = rewards.following(points)
        assert following is not None
        assert following.name == name
    assert rewards.following(15_000) is None


def test_a_rank_is_kept_sixty_days_to_the_millisecond_and_the_highest_counts() -> None:
    reached = {"signature": 1_000, "gold": 500}
    end_ms = 500 + rewards.RANK_KEPT_MS
    held = rewards.held(reached, end_ms - 1)
    assert held is not None
    assert (held.rank.name, held.until_ms) == ("gold", end_ms)
    held = rewards.held(reached, end_ms)
    assert held is not None
    assert held.rank.name == "signature"
    assert rewards.held(reached, 1_000 + rewards.RANK_KEPT_MS) is None


def test_months_begin_at_midnight_utc() -> None:
    day_ms = rewards.DAY_MS
    assert rewards.month_of((ms(2027, 1, 1) - 1) // day_ms) == 202612
    assert rewards.month_of(ms(2027, 1, 1) // day_ms) == 202701
    assert rewards.month_end_ms(ms(2026, 12, 31, 23, 59)) == ms(2027, 1, 1)
    assert rewards.month_end_ms(ms(2028, 2, 1)) == ms(2028, 3, 1)


class Spender:
    """Ann, who spends with eve and gets some of it back."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.made = 0

    async def spend(self, units: int) -> int:
        self.made += 1
        debit = Debit(f"d{self.made}", "ann", "eve", units, "surprise", "x")
        outcome = await self.house.wallet.ledger.execute(debit)
        assert isinstance(outcome, Posted), outcome
        return outcome.transfer

    async def back(self, transfer: int, units: int) -> None:
        self.made += 1
        reverse = Reverse(f"r{self.made}", transfer, units, "x")
        assert isinstance(await self.house.wallet.ledger.execute(reverse), Posted)


async def test_spending_rises_and_what_comes_back_takes_points_but_no_rank(house) -> None:
    await house.fund("ann", 2_000 * CREDIT)
    await house.wallet.grant_promo("ann", 100 * CREDIT, "gift", "welcome")
    told: list[str] = []
    house.wallet.on_standing = told.append
    club, ann = Rewards(house.wallet), Spender(house)
    await club.count()
    assert (await club.rank("ann"), told) == ("none", []), "buying is not spending"
    first = await ann.spend(260 * CREDIT)
    assert (await club.standing("ann")).points == 260, "before it was counted"
    await club.count()
    assert (await club.rank("ann"), told) == ("silver", ["ann"])
    await ann.back(first, 60 * CREDIT)
    await club.count()
    standing = await club.standing("ann")
    assert standing.held is not None
    assert (standing.points, standing.held.rank.name) == (200, "silver")
    assert told == ["ann"]
    house.clock.advance(59 * DAY_S)
    assert (await club.standing("ann")).points == 0, "another month"
    await ann.spend(15 * CREDIT)
    await club.count()
    assert (await club.rank("ann"), told) == ("silver", ["ann", "ann"])
    house.clock.advance(2 * DAY_S)
    assert await club.rank("ann") == "signature"
    assert await club.rank("nobody") == "none"


@pytest.mark.threads
@pytest.mark.parametrize("seed", [1, 2])
async def test_each_transfer_counts_once_whatever_fails_and_whoever_counts(
    house, seed, monkeypatch
) -> None:
    """Two processes count at once, in small steps, with writes that fail before and after."""
    monkeypatch.setattr(rewards_store, "TRANSFERS_PER_STEP", 3)
    rolls = random.Random(seed)
    await house.fund("ann", 100_000 * CREDIT)
    clubs, ann = (Rewards(house.wallet), Rewards(house.wallet)), Spender(house)
    spent: dict[int, int] = {}
    for _ in range(30):
        house.clock.advance(rolls.randrange(1, 3 * DAY_S))
        day = house.wallet.ledger.now_ms() // rewards.DAY_MS
        month, units = rewards.month_of(day), rolls.randrange(2, 40 * CREDIT)
        transfer = await ann.spend(units)
        if rolls.random() < 0.3:
            back = rolls.randrange(1, units)
            await ann.back(transfer, back)
            units -= back
        spent[month] = spent.get(month, 0) + units
        if rolls.random() < 0.5:
            house.database.fault = rolls.choice([None, "before", "during", "after"])
            ends = await asyncio.gather(*(one.count() for one in clubs), return_exceptions=True)
            assert all(end is None or isinstance(end, DatabaseUnavailable) for end in ends)
            house.database.fault = None
    await clubs[0].count()
    table = schema.reward_months
    async with house.database.read() as connection:
        rows = (await connection.execute(sa.select(table))).all()
    assert {row.month: row.units for row in rows} == spent
    assert len(spent) >= 2
    month = max(spent)
    assert (await clubs[1].standing("ann")).points == rewards.points(spent[month])
