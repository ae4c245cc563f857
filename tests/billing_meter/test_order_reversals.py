"""Refunds and disputes of one payment in any order: credits are those of the money that stayed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa

from billing_meter import schema
from billing_meter.ledger import Debit, Posted
from billing_meter.order_store import Order, OrderState
from billing_meter.orders import Orders
from billing_meter.packages import Package
from billing_meter.providers import (
    Disputed,
    DisputeState,
    FakeProvider,
    News,
    ProviderEvent,
    Settled,
)
from billing_meter.verify import reconcile, verify
from billing_meter.webhooks import Webhooks

UNITS, PRICE = 59_941, 997  # no whole number of units for a cent
ENDS = (DisputeState.WON, DisputeState.LOST)
THEIRS = (DisputeState.OPEN, DisputeState.LOST)


@dataclass
class Payment:
    """A payment as the bank has it, and what it has told of it without being heard yet."""

    order: Order
    attempt_id: str
    refunded_minor: int = 0
    disputes: dict[str, Disputed] = field(default_factory=dict)
    on_the_way: list[News] = field(default_factory=list)
    spent: int = 0

    @property
    def disputed_minor(self) -> int:
        return sum(d.price_minor for d in self.disputes.values() if d.state in THEIRS)

    @property
    def kept_units(self) -> int:
        """Of the price that stayed, each begun unit: what went is rounded down."""
        kept = max(0, PRICE - self.refunded_minor - self.disputed_minor)
        return -(-UNITS * kept // PRICE)

    def told(self, dispute_id: str | None) -> News:
        dispute = None if dispute_id is None else self.disputes[dispute_id]
        paid = Settled(f"fake-{self.attempt_id}", PRICE, self.order.currency)
        return News(self.order.order_id, self.attempt_id, paid, self.refunded_minor, dispute)


class Bank:
    """One payment for each member; its events carry what was true when they were asked about."""

    name = FakeProvider.name

    def __init__(self, house) -> None:
        self.house = house
        catalog = {"odd": Package("odd", UNITS, PRICE, "EUR")}
        self.orders = Orders(
            house.database, house.wallet, FakeProvider(), catalog=catalog, utc_now=house.clock.utc
        )
        self.webhooks = Webhooks(house.database, house.wallet, self.orders, self)
        self._news: dict[str, News] = {}

    def open_event(self, body: bytes, signature: str) -> ProviderEvent:
        return ProviderEvent(json.loads(body), signature, "")

    async def news(self, event: ProviderEvent) -> News:
        return self._news[event.event_id]

    async def paid(self, member: str) -> Payment:
        await self.house.wallet.open_member(member)
        order = await self.orders.create(member, "odd", "card", "k")
        order = await self.orders.pay(member, order.order_id, "tok_ok")
        query = sa.select(schema.attempts.c.attempt_id).where(
            schema.attempts.c.order_id == order.order_id
        )
        async with self.house.database.read() as connection:
            return Payment(order, await connection.scalar(query))

    async def tell(self, news: News) -> None:
        event_id = f"ev{len(self._news)}"
        self._news[event_id] = news
        assert await self.webhooks.take(json.dumps(event_id).encode(), "news") == "applied"

    async def told(self, payment: Payment, dispute_id: str | None = None) -> None:
        await self.tell(payment.told(dispute_id))

    async def have(self, payment: Payment) -> int:
        """What the member has, less what they owe: never both."""
        wallet, member = self.house.wallet, payment.order.member_id
        posted = (await wallet.balance(member)).posted
        debt = await wallet.debt_units(member)
        assert posted == 0 or debt == 0
        return posted - debt

    async def now(self, payment: Payment) -> Order:
        found = await self.orders.order(payment.order.member_id, payment.order.order_id)
        assert found is not None
        return found

    async def sound(self) -> None:
        assert (await verify(self.house.database)).findings == ()
        assert (await reconcile(self.house.database)).findings == ()


@pytest.fixture
async def bank(house):
    made = Bank(house)
    yield made
    await made.sound()
    await made.orders.close()


async def _moves(bank: Bank, payment: Payment, chance: random.Random) -> list[str]:
    """A life of a payment: what happens at the bank, what is told of it and when, what is spent."""
    trail = []
    for _ in range(chance.randint(3, 14)):
        free = PRICE - payment.refunded_minor - payment.disputed_minor
        open_ids = [d for d, one in payment.disputes.items() if one.state not in ENDS]
        match chance.choice(("refund", "dispute", "dispute", "goes on", "goes on", "spend")):
            case "refund" if free > 0:
                payment.refunded_minor += chance.choice((free, chance.randint(1, free)))
                trail.append(f"refunded {payment.refunded_minor}")
            case "dispute" if payment.disputed_minor < PRICE:
                # A bank may take what was refunded before, but no more than the price.
                most = PRICE - payment.disputed_minor
                minor = chance.choice((most, max(free, 1), chance.randint(1, most)))
                state = chance.choice((DisputeState.INQUIRY, DisputeState.OPEN))
                name = f"dp{len(payment.disputes)}"
                payment.disputes[name] = Disputed(name, minor, state)
                trail.append(f"{name} {state} {minor}")
            case "goes on" if open_ids:
                name = chance.choice(open_ids)
                known = payment.disputes[name]
                left = PRICE - payment.disputed_minor
                if known.state is DisputeState.INQUIRY and left:
                    minor = min(known.price_minor, left)
                    state = DisputeState.OPEN
                else:
                    minor, state = known.price_minor, chance.choice(ENDS)
                    if known.state is DisputeState.INQUIRY:
                        state = DisputeState.WON
                payment.disputes[name] = Disputed(name, minor, state)
                trail.append(f"{name} {state} {minor}")
            case "spend":
                have = max(await bank.have(payment), 0)
                units = min(have, chance.randint(1, UNITS))
                if units:
                    key = f"spend:{payment.order.order_id}:{payment.spent}"
                    debit = Debit(key, payment.order.member_id, "eve", units, "surprise", "x")
                    assert isinstance(await bank.house.wallet.ledger.execute(debit), Posted)
                    payment.spent += units
                    trail.append(f"spent {units}")
        subjects = [None, *payment.disputes]
        payment.on_the_way += [payment.told(chance.choice(subjects))] * chance.randint(0, 2)
        for _ in range(chance.randint(0, 2)):
            if payment.on_the_way:
                news = payment.on_the_way[chance.randrange(len(payment.on_the_way))]
                await bank.tell(news)  # perhaps an old one, perhaps not for the last time
                trail.append(f"told {news.dispute or news.refunded_minor}")
    return trail


async def _lives(bank: Bank, seeds: range) -> None:
    for seed in seeds:
        chance = random.Random(seed)
        payment = await bank.paid(f"m{seed}")
        trail = await _moves(bank, payment, chance)
        last = [payment.told(subject) for subject in (None, *payment.disputes)]
        last += payment.on_the_way
        chance.shuffle(last)
        for news in last:
            await bank.tell(news)
        kept = payment.kept_units
        now = await bank.now(payment)
        left = UNITS - now.refunded_units
        assert (await bank.have(payment), left) == (kept - payment.spent, kept), (seed, trail)
        gone = OrderState.CHARGED_BACK if payment.disputed_minor else OrderState.REFUNDED
        assert now.state is (OrderState.SETTLED if kept else gone), (seed, trail)
        stands = (await bank.house.wallet.standing(f"m{seed}")).last_purchase_at_ms
        assert (stands is not None) == (kept > 0), (seed, trail)


async def test_credits_are_those_of_the_money_that_stayed(bank) -> None:
    await _lives(bank, range(8))


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_many_more_lives_of_payments(bank) -> None:
    await _lives(bank, range(1_000, 1_100))


OPEN, LOST, WON = DisputeState.OPEN, DisputeState.LOST, DisputeState.WON


TOLD = [
    ([(400, None), (400, ("d", 597, OPEN))], 0, OrderState.CHARGED_BACK),
    ([(400, ("d", 597, OPEN)), (400, None)], 0, OrderState.CHARGED_BACK),
    ([(0, ("d", 597, OPEN)), (400, None)], 0, OrderState.CHARGED_BACK),
    # The whole price, of which a part had been given back, told late; then it is ours again.
    ([(0, ("d", PRICE, OPEN)), (400, None), (400, ("d", PRICE, WON))], 597, "settled"),
    ([(0, ("d", PRICE, OPEN)), (400, ("d", PRICE, WON)), (400, None)], 597, "settled"),
    # The same total again, when other credits belong to it.
    (
        [(0, ("d", 700, OPEN)), (800, None), (800, ("d", 700, WON)), (800, None)],
        197,
        "settled",
    ),
    # A part of it was lost, another one won: a purchase is left.
    ([(0, ("d", 300, LOST)), (0, ("e", 200, OPEN)), (0, ("e", 200, WON))], 697, "settled"),
    # What was lost stays so when another one is won, and an old word changes nothing back.
    (
        [(0, ("d", PRICE, LOST)), (0, ("e", 100, WON)), (0, ("d", PRICE, OPEN))],
        0,
        OrderState.CHARGED_BACK,
    ),
    ([(0, ("d", PRICE, WON)), (0, ("d", PRICE, OPEN))], PRICE, "settled"),
    ([(PRICE, None)], 0, OrderState.REFUNDED),
    # A total that was told late does not fall.
    ([(800, None), (400, None)], 197, "settled"),
    # More is given again than the last step took.
    ([(0, ("d", 500, OPEN)), (400, None), (400, ("d", 500, WON))], 597, "settled"),
    ([(0, ("d", 500, OPEN)), (0, ("d", 500, WON)), (0, ("e", 500, OPEN))], 497, "settled"),
    # More than there is: of two disputes of the same money only so much as is left.
    ([(0, ("d", 700, OPEN)), (0, ("e", 700, OPEN))], 0, OrderState.CHARGED_BACK),
    ([(0, ("d", 700, OPEN)), (0, ("e", 700, OPEN)), (0, ("d", 700, WON))], 297, "settled"),
]


async def test_what_is_told_in_turn(bank) -> None:
    for number, (told, kept_minor, state) in enumerate(TOLD):
        payment = await bank.paid(f"m{number}")
        for refunded_minor, dispute in told:
            payment.refunded_minor = refunded_minor
            payment.disputes = {} if dispute is None else {"now": Disputed(*dispute)}
            await bank.told(payment, None if dispute is None else "now")
        assert await bank.have(payment) == -(-UNITS * kept_minor // PRICE), told
        assert (await bank.now(payment)).state == state, told
