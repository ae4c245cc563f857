"""Random lives of earnings: after every step nobody was paid what could still be taken back.

Two experts, tips, private sessions, refunds, reversals, payouts with a bank that is slow, silent or
refuses, days that pass, restarts. Expected figures are kept beside it, from what was done alone.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa

from billing_meter import earnings, ledger, schema
from billing_meter.ledger import Debit, Posted, Reverse
from billing_meter.meter import SessionOrder
from billing_meter.payout_providers import (
    PayoutResult,
    ProviderUnavailable,
    Rejected,
    Sent,
    Transferred,
    Unknown,
)
from billing_meter.payout_rules import Payout, PayoutState
from billing_meter.payouts import Payouts
from billing_meter.refunds import Refund, Refunds
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Tariff

SEED = os.environ.get("PARLOUR_SEED")
DAY_MS = 24 * 60 * 60 * 1_000
EXPERTS = ("eve", "ida")
STEPS = 120


@dataclass
class Earning:
    """What was earned by one thing, and until when it may be asked back; None: until decided."""

    expert: str
    charged: int
    final_ms: int | None
    back: int = 0
    transfer: int = 0

    @property
    def net(self) -> int:
        return ledger.share(self.charged, 60) - self.back


class FitfulBank:
    """Takes each payout once; answers, or does not, or says no."""

    name = "bank"

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.results: dict[str, PayoutResult] = {}

    async def send(self, payout: Payout) -> PayoutResult:
        if self.chance.random() < 0.2:
            raise ProviderUnavailable
        said = self.chance.choice((Rejected("no such account"), Sent("s"), Sent("s"), None))
        self.results.setdefault(payout.payout_id, said or Transferred("r", payout.amount_minor))
        return await self.lookup(payout)

    async def lookup(self, payout: Payout) -> PayoutResult | Unknown:
        if self.chance.random() < 0.2:
            raise ProviderUnavailable
        result = self.results.get(payout.payout_id, Unknown())
        if isinstance(result, Sent) and self.chance.random() < 0.5:
            result = self.results[payout.payout_id] = Transferred("r", payout.amount_minor)
        return result

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Walk:
    """A house, what was done in it, and what should be there."""

    house: object
    chance: random.Random
    bank: FitfulBank
    things: dict[str, Earning] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    count: int = 0

    def __post_init__(self) -> None:
        self.desk()

    def desk(self) -> None:
        store = self.house.wallet.ledger
        self.refunds = Refunds(store)
        self.payouts = Payouts(store, self.bank, minimum_units=600, clock_ns=self.house.clock.ns)

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"

    @property
    def now_ms(self) -> int:
        return self.house.wallet.ledger.now_ms()

    async def tip(self) -> None:
        name, expert = self.name(), self.chance.choice(EXPERTS)
        units = self.chance.randrange(1, 9_000)
        request = Debit(name, "ann", expert, units, "surprise", name)
        outcome = await self.house.wallet.ledger.execute(request)
        assert isinstance(outcome, Posted)
        final_ms = self.now_ms + DAY_MS
        self.things[name] = Earning(expert, units, final_ms, transfer=outcome.transfer)

    async def session(self) -> None:
        name, expert = self.name(), self.chance.choice(EXPERTS)
        await self.house.start(SessionOrder(name, "ann", expert, Tariff(1_999, 0, 0)))
        await self.house.run(self.chance.choice((1.25, 2.5)))
        summary = await self.house.till.close(name, "member_left")
        ended_ms = round(summary.ended_at.timestamp() * 1_000)
        if summary.cost_units:
            self.things[name] = Earning(expert, summary.cost_units, ended_ms + DAY_MS)

    async def take_back(self) -> None:
        tips = [n for n, one in self.things.items() if one.transfer and not one.back]
        if not tips:
            return
        one = self.things[self.chance.choice(tips)]
        units = self.chance.randrange(1, one.charged + 1)
        request = Reverse(self.name(), one.transfer, units, "staff")
        assert isinstance(await self.house.wallet.ledger.execute(request), Posted)
        one.back = ledger.share(one.charged, 60) * units // one.charged

    async def complain(self) -> None:
        for name, one in self.things.items():
            if one.transfer or name in self.asked or (one.final_ms or 0) <= self.now_ms:
                continue
            assert isinstance(await self.refunds.request(name, "ann", "No sound."), Refund)
            self.asked.add(name)
            one.final_ms = None
            return

    async def decide(self) -> None:
        open_ones = [n for n, one in self.things.items() if one.final_ms is None]
        if not open_ones:
            return
        name = self.chance.choice(open_ones)
        one = self.things[name]
        units = self.chance.choice((0, 1, one.charged // 2, one.charged))
        if units:
            await self.refunds.approve(name, units, "staff")
        else:
            await self.refunds.deny(name, "staff")
        one.back = ledger.share(one.charged, 60) - ledger.share(one.charged - units, 60)
        record = await self.refunds.of_session(name)
        assert record is not None
        one.final_ms = await self._ended_ms(name) + DAY_MS

    async def _ended_ms(self, name: str) -> int:
        async with self.house.database.read() as connection:
            query = sa.select(schema.sessions.c.ended_at_ms)
            return int(await connection.scalar(query.where(schema.sessions.c.session_id == name)))

    async def ask(self) -> None:
        await self.payouts.request(self.chance.choice(EXPERTS), self.name())

    async def staff(self) -> None:
        for payout in await self.payouts.of_states(*PayoutState, limit=9):
            do = self.chance.randrange(6)
            payout_id = payout.payout_id
            match payout.state, do:
                case PayoutState.REQUESTED, 0 | 1 | 2:
                    await self.payouts.approve(payout_id, "staff", manual=do == 0)
                case PayoutState.REQUESTED, 3:
                    await self.payouts.deny(payout_id, "staff")
                case PayoutState.REQUESTED, 4:
                    await self.payouts.cancel(payout.expert_id, payout_id)
                case PayoutState.APPROVED, 0 | 1:
                    await self.payouts.paid(payout_id, "B", "staff")
                case PayoutState.APPROVED, 2:
                    await self.payouts.failed(payout_id, "closed", "staff")
                case PayoutState.APPROVED, _:
                    await self.payouts.send(payout_id)
                case PayoutState.PAID, 0:
                    await self.payouts.returned(payout_id, "closed", "staff")

    async def wait(self) -> None:
        self.house.clock.advance(self.chance.choice((60, 3_600, 40_000, 86_400)))
        await self.payouts.resume()

    async def restart(self) -> None:
        await self.house.restart()
        self.desk()

    async def judge(self) -> None:
        paid = {expert: 0 for expert in EXPERTS}
        held = dict(paid)
        for payout in await self.payouts.of_states(*PayoutState, limit=1_000):
            paid[payout.expert_id] += payout.units * (payout.state is PayoutState.PAID)
            held[payout.expert_id] += payout.units * (payout.closed_at_ms is None)
        for expert in EXPERTS:
            mine = [one for one in self.things.values() if one.expert == expert]
            now = await self.payouts.earned(expert)
            payable = sum(one.net for one in mine) - paid[expert] - held[expert]
            pending = sum(
                one.net for one in mine if one.final_ms is None or one.final_ms > self.now_ms
            )
            told = (now.payable_units, now.pending_units, now.in_payout_units)
            assert told == (payable, pending, held[expert]), expert


@pytest.mark.slow
@pytest.mark.parametrize("walk", range(2))
async def test_random_lives_of_earnings(house, walk) -> None:
    seed = int(SEED) if SEED else random.SystemRandom().randrange(2**32)
    print(f"PARLOUR_SEED={seed}")
    chance = random.Random(seed)
    await house.fund("ann", 10_000_000)
    await house.wallet.open_expert("ida")
    life = Walk(house, chance, FitfulBank(chance))
    for expert in EXPERTS:
        await life.payouts.set_destination(expert, expert, "NO9386011117947")
    steps = (
        *(life.tip,) * 4,
        *(life.session,) * 2,
        *(life.ask,) * 4,
        *(life.staff,) * 4,
        *(life.wait,) * 4,
        life.take_back,
        life.complain,
        life.decide,
        life.restart,
    )
    for number in range(STEPS):
        await chance.choice(steps)()
        await life.judge()
        if number % 30 == 29:
            assert (await verify(house.database)).findings == ()
            assert (await reconcile(house.database)).findings == ()
    for expert in EXPERTS:
        spans = await earnings.spans(house.database, expert, 0, 2**53, "week", 0)
        net = sum(p.earned_units - p.taken_back_units for span in spans for p in span.parts)
        assert net == sum(one.net for one in life.things.values() if one.expert == expert)
