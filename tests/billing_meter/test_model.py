"""The ledger against a single-threaded reference, on both databases, from a printed seed.

Random commands, singly and in bursts of two processes, with every kind of retry: the same key and
body, the same key with another body, and replies that were lost before, during or after the commit
and are asked for again. After every step all balances, holds and outcomes are equal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from billing_meter import ledger, schema
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger_store import LedgerStore
from billing_meter.seals import seal
from billing_meter.shares import Shares
from billing_meter.statements import reconcile, statement, verify
from tests.billing_meter.reference_ledger import Command, Outcome, ReferenceLedger
from tests.stores import Store

pytestmark = pytest.mark.threads

FAST_RUNS = {"sqlite": 2, "postgresql": 2}
SLOW_RUNS = {"sqlite": 60, "postgresql": 40}
STEPS = 60
MEMBERS = ("ann", "bob", "cid")
EXPERTS = {"eve": {"debit": 60, "post": 60}, "fay": {"debit": 33, "post": 97}}
"""Expert → shares of debits, and of what is posted of holds, in per cent."""
VERBS = {
    "purchase": 2,
    "promo": 2,
    "debit": 4,
    "hold": 4,
    "post": 3,
    "void": 1,
    "reverse": 5,
    "take": 2,
    "pay": 2,
}
"""How often each is drawn."""
FAULTS = ("before", "during", "after")


def request_of(command: Command, transfers: dict[str, int]) -> ledger.Request:
    """The product's request for a command of the reference."""
    match command:
        case ("purchase", str(key), str(member), int(units)):
            return ledger.Purchase(key, member, units, "order")
        case ("promo", str(key), str(member), int(units)):
            return ledger.PromoGrant(key, member, units, "gift")
        case ("debit", str(key), str(member), str(expert), int(units)):
            return ledger.Debit(key, member, expert, units, "surprise", "rose")
        case ("hold", str(key), str(member), str(name), int(units), expires):
            assert expires is None or isinstance(expires, int)
            return ledger.Hold(key, member, name, units, "group", expires)
        case ("post", str(key), str(name), str(expert), int(units)):
            return ledger.PostHold(key, name, expert, units, "group_session", "group")
        case ("void", str(key), str(name)):
            return ledger.VoidHold(key, name, "group")
        case ("reverse", str(key), str(of), int(units)):
            return ledger.Reverse(key, transfers[of], units, "sorry")
        case ("take", str(key), str(of), int(units), "charge_back" | "purchase_refund" as kind):
            return ledger.TakeBack(key, transfers[of], units, kind, "order")
        case ("pay", str(key), str(member), int(units)):
            return ledger.PayDebt(key, member, units, "debt")
    raise AssertionError(command)


def plain(outcome: ledger.Outcome) -> tuple[Outcome, bool]:
    """The product's outcome in the reference's words."""
    if isinstance(outcome, ledger.Refused):
        return ("refused", outcome.code, 0, (0, 0)), outcome.replayed
    drawn = (outcome.draw.promo, outcome.draw.paid)
    return ("posted", "", outcome.units, drawn), outcome.replayed


class Model:
    """Draws commands from a seed, gives them to both, and compares."""

    def __init__(self, house, other: Database, seed: int) -> None:
        self.house = house
        self.other = other
        self.chance = random.Random(seed)
        self.reference = ReferenceLedger(EXPERTS)
        self.transfers: dict[str, int] = {}
        """Key → the product's number of what it posted."""
        self.commands: list[Command] = []
        self.never: set[str] = set()
        """Keys of commands that a read found not to have happened: they never must."""
        self.serial = 0
        self.outcomes = 0

    async def run(self, steps: int) -> None:
        for member in MEMBERS:
            await self.house.wallet.open_member(member)
        for expert, percent in EXPERTS.items():
            shares = Shares(surprise=percent["debit"], group=percent["post"])
            await self.house.wallet.open_expert(expert, shares)
        moves: list[Callable[[], object]] = [
            *[self.single] * 8,
            *[self.again] * 3,
            *[self.other_body] * 2,
            *[self.lost_reply] * 4,
            *[self.unknown] * 3,
            *[self.burst] * 3,
            self.sweep,
            self.restart,
            self.seal,
        ]
        for _ in range(steps):
            self.house.clock.advance(self.chance.choice((0, 0, 1, 10)))
            await self.chance.choice(moves)()
            await self.compare()
        await self.prove()

    # --- commands ---------------------------------------------------------------------------

    def draw(self, verb: str | None = None) -> Command:
        """A new command under a new key; amounts are often just too large."""
        chance = self.chance
        self.serial += 1
        key, member = f"k{self.serial}", chance.choice(MEMBERS)
        expert, kept = chance.choice(tuple(EXPERTS)), self.reference.holds
        live = [name for name, hold in kept.items() if hold.state == "open"]
        holds = [*live, *list(kept)[-2:], "nobody"]
        have = sum(self.reference.buckets(member))
        small = chance.randint(1, have // 4 + 1)
        some = chance.choice((small, small, small, small, have, have + 1)) or 1
        match verb or chance.choices(tuple(VERBS), tuple(VERBS.values()))[0]:
            case "purchase" | "promo" as verb:
                return (verb, key, member, chance.randint(1, 9_999))
            case "debit":
                return ("debit", key, member, expert, some)
            case "post":
                name = chance.choice(holds)
                hold = self.reference.holds.get(name)
                inside = 0 if hold is None else sum(hold.inside)
                units = chance.choice((0, inside, inside + 1, chance.randint(0, inside)))
                return ("post", key, name, expert, units)
            case "void":
                return ("void", key, chance.choice(holds))
            case "take" if self.transfers:
                bought = [of for of in self.transfers if self.reference.bought(of)]
                of = chance.choice(bought or list(self.transfers))
                left = max(1, self.reference.left(of))
                units = chance.choice((left, left, left + 1, chance.randint(1, left)))
                return ("take", key, of, units, chance.choice(("charge_back", "purchase_refund")))
            case "pay":
                owed = self.reference.owed(member)
                return ("pay", key, member, chance.choice((owed, owed + 1, owed // 2)) or 1)
            case "reverse" if self.transfers:
                # Mostly a part of something that was spent, often one that was reversed before.
                spent = [of for of in self.transfers if self.reference.spent(of)]
                of = chance.choice(spent[:3] or list(self.transfers))
                if chance.random() < 0.3:
                    of = chance.choice(list(self.transfers))
                left = self.reference.left(of)
                part = chance.randint(1, max(1, left // 2))
                return ("reverse", key, of, chance.choice((part, part, left, left + 1)) or 1)
        soon = self.house.wallet.ledger.now_ms() + chance.randrange(30_000)
        return ("hold", key, member, f"h{self.serial}", some, chance.choice((None, soon)))

    async def single(self) -> None:
        """One new command."""
        await self.ask(self.draw())

    async def again(self) -> None:
        """An old one, word for word."""
        if self.commands:
            await self.ask(self.chance.choice(self.commands))

    async def other_body(self) -> None:
        """The key of an old one on something else."""
        if self.commands:
            key, new = self.chance.choice(self.commands)[1], self.draw()
            await self.ask((new[0], key, *new[2:]))

    async def lost_reply(self) -> None:
        """The database fails once or twice; the client asks until it has an answer."""
        command = self.draw()
        for _ in range(self.chance.randint(1, 2)):
            fault = self.chance.choice(FAULTS)
            self.house.database.fault = fault
            with pytest.raises(DatabaseUnavailable):
                await self.execute(self.house.wallet.ledger, command)
            self.house.database.fault = None
            if fault == "after":
                self.reference.do(command, self.house.wallet.ledger.now_ms())
            if self.chance.random() < 0.3:
                await self.restart()
        await self.ask(command)

    async def unknown(self) -> None:
        """The database fails and nobody asks again: what a final read finds is what happened."""
        command, faults = self.draw(), self.chance.choices((*FAULTS, None), k=3)
        for fault in faults:
            self.house.database.fault = fault
            with contextlib.suppress(DatabaseUnavailable):
                await self.execute(self.house.wallet.ledger, command)
        self.house.database.fault = None
        await self.restart()
        query = sa.select(schema.transfers.c.transfer, schema.transfers.c.outcome)
        async with self.house.database.read() as connection:
            found = await connection.execute(query.where(schema.transfers.c.key == command[1]))
            row = found.one_or_none()
        if row is None:
            self.never.add(str(command[1]))
            return
        (outcome, _) = self.reference.do(command, self.house.wallet.ledger.now_ms())
        assert outcome[0] == row.outcome, command
        if row.outcome == "posted":
            self.transfers[str(command[1])] = row.transfer
        self.commands.append(command)

    async def sweep(self) -> None:
        """Overdue holds go back."""
        swept = await self.house.wallet.ledger.expire_holds()
        assert swept == self.reference.expire(self.house.wallet.ledger.now_ms())

    async def restart(self) -> None:
        """The process dies and starts again."""
        await self.house.restart()

    async def seal(self) -> None:
        """The hash chain grows."""
        await seal(self.house.database, self.house.wallet.ledger.now_ms())

    # --- asking -----------------------------------------------------------------------------

    async def execute(self, store: LedgerStore, command: Command) -> ledger.Outcome:
        return await store.execute(request_of(command, self.transfers))

    async def ask(self, command: Command) -> None:
        """Both answer; the answers must be the same."""
        got = await self.execute(self.house.wallet.ledger, command)
        self.judge(command, got)

    def judge(self, command: Command, got: ledger.Outcome) -> None:
        wanted = self.reference.do(command, self.house.wallet.ledger.now_ms())
        assert plain(got) == wanted, command
        self.outcomes += 1
        if isinstance(got, ledger.Posted):
            known = self.transfers.setdefault(str(command[1]), got.transfer)
            assert known == got.transfer
        if command not in self.commands and plain(got)[0][1] != "key_reused":
            self.commands.append(command)

    async def burst(self) -> None:
        """Two processes at once, some commands twice; then compared in the journal's order."""
        commands = [self.draw() for _ in range(self.chance.randint(2, 5))]
        twice = commands + self.chance.sample(commands, self.chance.randint(0, len(commands)))
        self.chance.shuffle(twice)
        stores = (
            self.house.wallet.ledger,
            LedgerStore(self.other, utc_now=self.house.clock.utc),
        )
        answers = await asyncio.gather(
            *(self.execute(stores[n % 2], command) for n, command in enumerate(twice))
        )
        table = schema.transfers.c
        keys = [command[1] for command in commands]
        query = sa.select(table.key).where(table.key.in_(keys)).order_by(table.transfer)
        async with self.house.database.read() as connection:
            order = list(await connection.scalars(query))
        assert sorted(order) == sorted(map(str, keys))
        by_rank = sorted(
            zip(twice, answers, strict=True),
            key=lambda pair: (order.index(str(pair[0][1])), pair[1].replayed),
        )
        for command, got in by_rank:
            self.judge(command, got)

    # --- judgement --------------------------------------------------------------------------

    async def compare(self) -> None:
        """Every account and every hold, as the database has them."""
        accounts, holds = schema.accounts.c, schema.holds.c
        async with self.house.database.read() as connection:
            found = await connection.execute(sa.select(accounts.account, accounts.units))
            units = {account: units for account, units in found if units}
            rows = sa.select(holds.hold_id, holds.state, holds.promo_units, holds.paid_units)
            held = {row[0]: (row[1], (row[2], row[3])) for row in await connection.execute(rows)}
        assert units == {name: n for name, n in self.reference.accounts.items() if n}
        wanted = {name: (hold.state, hold.inside) for name, hold in self.reference.holds.items()}
        assert held == wanted

    async def prove(self) -> None:
        """The books by themselves, and each member's statement."""
        database = self.house.database
        async with database.read() as connection:
            keys = set(await connection.scalars(sa.select(schema.transfers.c.key)))
        assert not keys & self.never
        assert (await verify(database)).findings == ()
        assert (await reconcile(database)).findings == ()
        for member in MEMBERS:
            made = await statement(database, member, 0, 2**53)
            assert made.findings == ()
            assert made.closing_units == self.reference.journal[member]


async def _one_run(make, clock_type, databases: Store, seed: int) -> int:
    house = await make(await databases.fresh(), clock_type())
    other = await Database.open(house.url)
    model = Model(house, other, seed)
    try:
        await model.run(STEPS)
    except BaseException as error:
        error.add_note(f"PARLOUR_SEED={seed} on {databases.kind}")
        raise
    finally:
        await other.close()
        await house.database.close()
        await databases.close()
    return model.outcomes


async def _many(make, clock, databases: Store, count: int, capsys) -> None:
    given = os.environ.get("PARLOUR_SEED")
    first = int(given) if given else random.SystemRandom().randrange(2**32)
    seeds = [first] if given else [first + n for n in range(count)]
    with capsys.disabled():
        print(f" [model seeds {seeds[0]}…{seeds[-1]} on {databases.kind}]", end="")
    outcomes = 0
    for seed in seeds:
        outcomes += await _one_run(make, type(clock), databases, seed)
    assert outcomes >= len(seeds) * STEPS // 2, "the commands were really asked"


async def test_the_ledger_says_what_the_reference_says(make, clock, databases, capsys) -> None:
    await _many(make, clock, databases, FAST_RUNS[databases.kind], capsys)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_for_many_seeds(make, clock, databases, capsys) -> None:
    await _many(make, clock, databases, SLOW_RUNS[databases.kind], capsys)
