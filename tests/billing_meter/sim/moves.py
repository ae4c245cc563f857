"""What members, experts, staff and the bank do in one step, drawn from the run's seed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from billing_meter import promotion_store
from billing_meter.free_credits import FREE_UNITS, Claim
from billing_meter.ledger import Debit, Hold, Outcome, Posted, PostHold, Refused, VoidHold
from billing_meter.limits import Span
from billing_meter.limits_store import LimitsRefused
from billing_meter.meter import SessionOrder
from billing_meter.orders import OrderRefused
from billing_meter.packages import PACKAGES
from billing_meter.payouts import PayoutRefused
from billing_meter.promotions import Promotion
from billing_meter.providers import Pending, ProviderUnavailable
from billing_meter.seals import seal
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, Switched
from tests.billing_meter.sim.judge import RELOADS_A_DAY, Judge
from tests.billing_meter.sim.oracle import Life
from tests.billing_meter.sim.store import Killed
from tests.billing_meter.sim.world import Process, World
from tests.turns import turn

MEMBERS = ("ann", "bob", "cid", "dee", "eli", "fay")
EXPERTS = ("eve", "gus")
CARDS = ("tok_a", "tok_b")
IBAN = "NO93 8601 1117 947"
SURCHARGES = (Component.CAM2CAM, Component.TWO_WAY_AUDIO)
RATES = (99, 299, 1_234)
Move = Callable[[], Awaitable[None]]


@dataclass
class Moves:
    """Every public operation on credits. Clients insist with the same key until they know."""

    world: World
    judge: Judge
    serial: int = 0
    opened: int = 0
    pledges: dict[str, str] = field(default_factory=dict)
    """Hold → member, while it may be open."""
    promotions: list[Promotion] = field(default_factory=list)
    claimed: dict[str, str] = field(default_factory=dict)
    """Member → card, of the free credits that were granted."""

    def __post_init__(self) -> None:
        self.chance = self.world.chance
        self.book = self.judge.book

    def key(self, what: str) -> str:
        """A new idempotency key."""
        self.serial += 1
        return f"{what}-{self.serial}"

    async def ask(self, call: Callable[[Process], Awaitable[Any]]) -> Any:
        """Until there is an answer; sometimes once more, which must change nothing."""

        async def patient(process: Process) -> Any:
            while True:
                try:
                    return await call(process)
                except ProviderUnavailable:
                    continue

        answer = await self.world.insist(patient)
        if self.chance.random() < 0.1:
            again = await self.world.insist(patient)
            if isinstance(answer, Posted | Refused):
                same(answer, again)
        return answer

    # --- sessions ---------------------------------------------------------------------------

    async def open(self) -> None:
        chance = self.chance
        self.opened += 1
        rates = Tariff(chance.choice(RATES), chance.choice((0, 100)), 50)
        wanted = frozenset({Component.CAM2CAM}) if chance.random() < 0.3 else frozenset()
        limit = chance.choice((None, None, None, 9_000))
        order = SessionOrder(
            f"s{self.opened}", chance.choice(MEMBERS), chance.choice(EXPERTS), rates, limit, wanted
        )
        life = self.world.lives[order.session_id] = Life(order)
        process = await self.world.alive()
        with_answer = await one_try(process, process.till.open(order))
        if not isinstance(with_answer, Opened):
            return
        life.seated = True
        for component in wanted:
            life.switch(component, True, self.world.clock.now_ns)
        for component in Component:
            self.attach(process, life, component)

    def attach(self, process: Process, life: Life, component: Component) -> None:
        gates = life.gates.setdefault(component, [])
        for old in gates:
            old.silence()
        gates.append(self.world.gate())
        process.till.attach(life.order.session_id, component, gates[-1])
        gates[-1].start()

    def some_life(self) -> Life | None:
        seated = [life for life in self.world.lives.values() if life.seated]
        return self.chance.choice(seated) if seated else None

    async def close(self) -> None:
        if (life := self.some_life()) is None:
            return
        name = life.order.session_id
        first = await self.ask(lambda process: process.till.close(name, "member_left"))
        assert first.session_id == name

    async def switch(self) -> None:
        if (life := self.some_life()) is None:
            return
        component, on = self.chance.choice(SURCHARGES), self.chance.random() < 0.6
        process = await self.world.alive()
        if not on:
            life.switch(component, False, self.world.clock.now_ns)
        name = life.order.session_id
        result = await one_try(process, process.till.switch(name, component, on))
        if on and isinstance(result, Switched):
            life.switch(component, True, self.world.clock.now_ns)

    async def media(self) -> None:
        if (life := self.some_life()) is None:
            return
        component = self.chance.choice(tuple(Component))
        process = await self.world.alive()
        if component not in life.gates or life.order.session_id not in self.world.lives:
            return
        gate = life.gates[component][-1]
        match self.chance.randrange(4):
            case 0:
                gate.silence()
            case 1 | 2:
                gate.silence()
                gate.start()
            case _:
                self.attach(process, life, component)

    async def pass_time(self) -> None:
        for _ in range(self.chance.randrange(1, 9)):
            self.world.clock.advance(self.chance.choice((0.1, 0.25, 0.25, 0.5, 1.0)))
            process = await self.world.alive()
            process.till.beat()
            self.judge.told_true(process)
            if self.chance.random() < 0.4:
                await one_try(process, process.till.tick())

    # --- money ------------------------------------------------------------------------------

    async def debit(self) -> None:
        """A tip, a surprise, a message: at the counter or alone."""
        member, units = self.chance.choice(MEMBERS), self.chance.randrange(1, 12_000)
        expert = self.chance.choice(EXPERTS)
        request = Debit(self.key("debit"), member, expert, units, "surprise", "rose")
        counter = self.chance.random() < 0.5

        async def call(process: Process) -> Outcome:
            till = process.wallet.counter.debit if counter else process.wallet.ledger.execute
            return await till(request)

        if isinstance(await self.ask(call), Posted):
            self.book.spent[member] += units

    async def top_up(self) -> None:
        member, units = self.chance.choice(MEMBERS), self.chance.randrange(1, 60_000)
        await self.fund(member, units)

    async def fund(self, member: str, units: int) -> None:
        """An import."""
        key = self.key("fund")
        await self.ask(lambda process: process.wallet.credit_purchase(member, units, key, "import"))
        self.book.added[member] += units

    async def gift(self) -> None:
        member, units = self.chance.choice(MEMBERS), self.chance.randrange(1, 9_000)
        key = self.key("gift")
        await self.ask(lambda process: process.wallet.grant_promo(member, units, key, "gift"))
        self.book.added[member] += units

    async def free_credits(self) -> None:
        member, card = self.chance.choice(MEMBERS), self.chance.choice(CARDS)
        claim = await self.ask(lambda p: p.free.claim(member, f"{member}@x.test", card))
        if isinstance(claim, Claim) and claim.state == "granted" and member not in self.claimed:
            first = self.world.bank.card_of(member)
            assert first not in self.claimed.values(), f"{first} had free credits before"
            self.claimed[member] = first
            self.book.added[member] += FREE_UNITS

    async def pledge(self) -> None:
        """A hold for a group, its end, or its expiry."""
        draw = self.chance.random()
        if not self.pledges or draw < 0.4:
            member, name = self.chance.choice(MEMBERS), self.key("pledge")
            units = self.chance.randrange(1, 9_000)
            soon = self.world.clock.now_ms() + self.chance.randrange(60_000)
            hold = Hold(self.key("hold"), member, name, units, "group", soon)
            if isinstance(await self.ask(lambda p: p.wallet.ledger.execute(hold)), Posted):
                self.pledges[name] = member
        elif draw < 0.5:
            await self.ask(lambda p: p.wallet.ledger.expire_holds())
        else:
            name = self.chance.choice(list(self.pledges))
            member = self.pledges.pop(name)
            units, key = self.chance.randrange(4_000), self.key("resolve")
            end: PostHold | VoidHold = VoidHold(key, name, "group")
            if self.chance.random() < 0.6:
                end = PostHold(key, name, "eve", units, "group", "group")
            outcome = await self.ask(lambda p: p.wallet.ledger.execute(end))
            if isinstance(outcome, Posted):
                self.book.spent[member] += outcome.units
            elif outcome.code == "exceeds_hold":
                self.pledges[name] = member

    # --- buying -----------------------------------------------------------------------------

    async def buy(self) -> None:
        chance = self.chance
        member, package = chance.choice(MEMBERS), chance.choice(tuple(PACKAGES.values()))
        method, country = (
            chance.choice(("card", "card", "paysafecard")),
            chance.choice((None, "NO")),
        )
        key = self.key("buy")
        order = await self.ask(
            lambda p: p.orders.create(member, package.id, method, key, country=country)
        )
        if isinstance(order, OrderRefused):
            assert order.code == "on_break"
            return
        assert order.price_minor == self.promised(package.price_minor, method, order.created_at_ms)
        name, draw = order.order_id, chance.random()
        if draw < 0.9:
            await self.ask(lambda p: p.orders.pay(member, name, "tok_any"))
        if draw < 0.2:
            await self.ask(lambda p: p.orders.check(member, name))
        if 0.15 < draw < 0.25 or draw > 0.95:
            await self.ask(lambda p: p.orders.cancel(member, name))

    def promised(self, list_minor: int, method: str, at_ms: int) -> int:
        """The best promotion that was open then, rounded up to a cent; never for other methods."""
        percents = [p.percent for p in self.promotions if p.starts_at_ms <= at_ms < p.ends_at_ms]
        percent = max(percents, default=0) if method == "card" else 0
        return -(-list_minor * (100 - percent) // 100)

    async def promote(self) -> None:
        """A promotion of card payments, from now for a minute."""
        now_ms = self.world.clock.now_ms()
        self.serial += 1
        percent = self.chance.choice((10, 33, 90))
        new = Promotion(f"sale-{self.serial}", percent, now_ms + 1, now_ms + 60_000)

        async def add(process: Process) -> None:
            async with process.wallet.ledger.transaction() as transaction:
                known = await promotion_store.current(transaction.connection, new.starts_at_ms)
                if new not in known:
                    await promotion_store.add(transaction.connection, new, now_ms)

        self.promotions.append(new)
        await self.ask(add)

    async def webhook(self) -> None:
        """Some event of the bank arrives: not the oldest, perhaps not for the last time."""
        bank = self.world.bank
        if not bank.events:
            return
        event = self.chance.choice(bank.events)
        await self.take(event)
        if self.chance.random() < 0.8:
            bank.events.remove(event)

    async def take(self, event: tuple[str, str]) -> None:
        body = json.dumps(event).encode()
        await self.ask(lambda p: p.webhooks.take(body, "good"))

    async def bank_moves(self) -> None:
        """Something ends at the bank, or is taken back there."""
        payments = list(self.world.bank.payments.values())
        if not payments:
            return
        payment = self.chance.choice(payments)
        if isinstance(payment.result, Pending):
            self.world.bank.end(payment, paid=self.chance.random() < 0.7)
        elif payment.paid and self.chance.random() < 0.3:
            self.world.bank.dispute(payment)

    async def money_back(self) -> None:
        """Staff give a part of an order's money back."""
        paid = [p for p in self.world.bank.payments.values() if p.paid and p.dispute is None]
        if not paid:
            return
        charge, key = self.chance.choice(paid).charge, self.key("back")
        minor = self.chance.choice((None, 1, charge.price_minor // 3 + 1))
        await self.ask(lambda p: p.order_refunds.request(charge.order_id, minor, key, "staff"))

    async def reload(self) -> None:
        member, on = self.chance.choice(MEMBERS), self.chance.random() < 0.8
        await self.ask(
            lambda p: p.reload.set_settings(
                member, enabled=on, package_id="credits-9", daily_cap=RELOADS_A_DAY, token="tok_any"
            )
        )

    async def resume(self) -> None:
        """What the poller does."""
        await self.ask(lambda process: process.orders.resume_pending())
        await self.ask(lambda process: process.order_refunds.resume())
        await self.ask(lambda process: process.payouts.resume())

    # --- refunds and limits -----------------------------------------------------------------

    async def refund(self) -> None:
        """A member asks, staff decide; what came of it is read in the end."""
        charged = [name for name, ended in self.book.ended.items() if ended.units]
        if not charged:
            return
        name = self.chance.choice(charged)
        ended = self.book.ended.pop(name)
        await self.ask(lambda p: p.refunds.request(name, ended.member, "No sound."))
        units = self.chance.choice((ended.units, self.chance.randint(1, ended.units)))
        if self.chance.random() < 0.8:
            await self.ask(lambda p: p.refunds.approve(name, units, "staff"))
        else:
            await self.ask(lambda p: p.refunds.deny(name, "staff"))
        known = await self.ask(lambda p: p.refunds.of_session(name))
        if known is not None:
            assert known.granted_units in (0, units)
            self.book.back[ended.member] += known.granted_units

    async def payout(self) -> None:
        """An expert asks for what is final; staff decide; the provider sends, or is silent."""
        expert, chance, key = self.chance.choice(EXPERTS), self.chance, self.key("payout")
        holder = chance.choice(("Eve Adams", "Eve Slow", "Eve Silent", "Eve Refused"))
        await self.ask(lambda p: p.payouts.set_destination(expert, holder, IBAN))
        units = chance.choice((None, 6_000, 60_000))
        asked = await self.ask(lambda p: p.payouts.request(expert, key, units))
        if isinstance(asked, PayoutRefused):
            return
        name, draw = asked.payout_id, chance.random()
        if draw < 0.2:
            await self.ask(lambda p: p.payouts.cancel(expert, name))
        elif draw < 0.3:
            await self.ask(lambda p: p.payouts.deny(name, "staff", "No."))
        else:
            await self.ask(lambda p: p.payouts.approve(name, "staff"))
            await self.ask(lambda p: p.payouts.send(name))

    async def tomorrow(self) -> None:
        """A day later, what was earned is final; an expert asks for it."""
        self.world.clock.step(25 * 3_600)
        await self.payout()

    async def limit(self) -> None:
        member, units = self.chance.choice(MEMBERS), self.chance.randrange(20_000, 400_000)
        if member in self.book.ceilings:
            return
        answer = await self.ask(lambda p: p.limits.set_limit(member, Span.DAY, units))
        assert not isinstance(answer, LimitsRefused)
        self.judge.limited(member, units)

    # --- what happens to everybody ----------------------------------------------------------

    async def kill(self) -> None:
        process = await self.world.alive()
        process.points.kill()

    async def calendar(self) -> None:
        """The wall clock is set; time itself goes on as before."""
        self.world.clock.step(self.chance.choice((-3_600, -5, 5, 3_600, 30 * 3_600)))

    async def stall(self) -> None:
        """The loop stands still, for longer than the others wait."""
        for _ in range(self.chance.choice((1, 6))):
            self.world.clock.advance(3.5)
            await self.judge.sweeper.sweep()
            await self.judge.group_watch.look()

    async def seal(self) -> None:
        now_ms = self.world.clock.now_ms()
        await self.ask(lambda process: seal(process.database, now_ms))

    async def burst(self) -> None:
        """Several people at once, each delayed by a few turns: no order is promised."""
        moves: list[Move] = self.chance.choices(
            (self.open, self.close, self.switch, self.debit, self.top_up, self.pass_time, self.buy),
            (3, 2, 3, 4, 1, 3, 1),
            k=self.chance.randint(2, 5),
        )

        async def late(move: Move, turns: int) -> None:
            for _ in range(turns):
                await turn()
            await move()

        tasks = [asyncio.create_task(late(move, self.chance.randrange(6))) for move in moves]
        self.world.clients.update(tasks)
        await asyncio.gather(*tasks)
        self.world.clients.difference_update(tasks)


async def one_try(process: Process, asked: Awaitable[Any]) -> Any:
    """Ask once. None when the process died: nobody will ever know the answer."""
    try:
        return await asked
    except (Killed, asyncio.CancelledError):
        if not process.points.dead:
            raise
        return None


def same(one: Outcome, two: Outcome) -> None:
    """The same key and body give the same outcome for ever."""
    if isinstance(one, Posted):
        assert isinstance(two, Posted), f"{one} became {two}"
        assert (one.transfer, one.units, one.draw) == (two.transfer, two.units, two.draw)
        assert two.replayed
    else:
        assert isinstance(two, Refused), f"{one} became {two}"
        assert one.code == two.code
