"""Deterministic simulation: random lives of many sessions from a printed seed, faults in between.

Time is virtual. Between any two steps a write may fail (unbegun, rolled back, or done without an
answer), media may stop, a process may die. After every step the books must hold; what a session
is charged is compared with an independent count of the packets that really passed.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa

from billing_meter import marks_rows, schema
from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.ledger import Debit, Posted
from billing_meter.meter import Exhausted, LedgerLost, SessionOrder, SpendLimit, Ticked
from billing_meter.sessions import session_record
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, Switched
from tests.stores import Store

MS = 1_000_000
S = 1_000 * MS
WINDOW_NS = 1_500 * MS
pytestmark = pytest.mark.usefixtures("no_threads")
FAST_RUNS = {"sqlite": 8, "postgresql": 3}
SLOW_RUNS = {"sqlite": 300, "postgresql": 60}
"""On PostgreSQL each statement is a conversation between two processes."""
STEPS = 60
MEMBERS = ("ann", "bob", "cid", "dee")


@dataclass
class Life:
    """One session as the simulation knows it."""

    order: SessionOrder
    gates: dict[Component, list[object]] = field(default_factory=dict)
    told_units: int = 0
    settled: bool = False
    """Closed by us, so that the charge must be exact."""
    ran_out: bool = False
    """Cut by the meter, which rounds the last paid second up to the cut."""


def spans(packets: Sequence[int]) -> list[tuple[int, int]]:
    """Held intervals of packet instants."""
    return [(a, b) for a, b in itertools.pairwise(packets) if b - a < WINDOW_NS]


def overlap_ns(one: Sequence[tuple[int, int]], two: Sequence[tuple[int, int]]) -> int:
    total, start = 0, 0
    for a, b in one:
        for index in range(start, len(two)):
            c, d = two[index]
            if c >= b:
                break
            if d <= a:
                start = index
                continue
            total += min(b, d) - max(a, c)
    return total


class Simulation:
    """Draws steps from a seed and judges after each."""

    def __init__(self, house, outside: Database, seed: int) -> None:
        self.house = house
        self.chance = random.Random(seed)
        self.lives: dict[str, Life] = {}
        self.funded: dict[str, int] = dict.fromkeys(MEMBERS, 0)
        self.debited: dict[str, int] = dict.fromkeys(MEMBERS, 0)
        self.seen = 0
        self.opened = 0
        # The judge looks at the database from outside, as an accountant would.
        self.outside = outside

    async def run(self, steps: int) -> None:
        for member in MEMBERS:
            await self.fund(member, self.chance.randrange(40_000, 120_000))
        await self.house.till.recover()
        moves = (
            *[self.pass_time] * 10,
            *[self.open] * 8,
            *[self.close] * 3,
            *[self.switch] * 4,
            *[self.media] * 4,
            *[self.debit] * 2,
            self.top_up,
            self.crash,
        )
        for _ in range(steps):
            if self.chance.random() < 0.12:
                self.house.database.fault = self.chance.choice(("before", "during", "after"))
            await self.chance.choice(moves)()
            self.house.database.fault = None
            await self.judge()
        for session_id in list(self.running()):
            await self.house.till.close(session_id, "member_left")
        await self.house.till.tick()
        await self.house.restart()
        await self.judge()
        await self.judge_books()

    def running(self) -> list[str]:
        return list(self.house.till._seats)

    async def fund(self, member: str, units: int) -> None:
        await self.house.fund(member, units)
        self.funded[member] += units

    # --- moves ------------------------------------------------------------------------------

    async def pass_time(self) -> None:
        for _ in range(self.chance.randrange(1, 9)):
            self.house.clock.advance(self.chance.choice((0.1, 0.25, 0.25, 0.5, 1.0)))
            self.house.till.beat()
            if self.chance.random() < 0.6:
                await self.house.till.tick()

    async def open(self) -> None:
        self.opened += 1
        rates = Tariff(self.chance.choice((99, 299, 1_234)), self.chance.choice((0, 100)), 50)
        wanted = frozenset({Component.CAM2CAM}) if self.chance.random() < 0.3 else frozenset()
        limit = self.chance.choice((None, None, 9_000))
        order = SessionOrder(
            f"s{self.opened}", self.chance.choice(MEMBERS), "eve", rates, limit, wanted
        )
        if isinstance(await self.house.till.open(order), Opened):
            life = self.lives[order.session_id] = Life(order)
            for component in Component:
                self.attach(life, component)

    def attach(self, life: Life, component: Component) -> None:
        gate = self.house.gate(gap_ms=self.chance.choice((50, 100, 150)))
        for old in life.gates.setdefault(component, []):
            old.silence()
        life.gates[component].append(gate)
        self.house.till.attach(life.order.session_id, component, gate)
        gate.start()

    async def close(self) -> None:
        if not self.running():
            return
        session_id = self.chance.choice(self.running())
        await self.house.till.close(session_id, "member_left")
        self.lives[session_id].settled = True

    async def switch(self) -> None:
        if not self.running():
            return
        session_id = self.chance.choice(self.running())
        component = self.chance.choice((Component.CAM2CAM, Component.TWO_WAY_AUDIO))
        result = await self.house.till.switch(session_id, component, self.chance.random() < 0.6)
        assert isinstance(result, Switched) or result.code != "already_open"

    async def media(self) -> None:
        if not self.running():
            return
        life = self.lives[self.chance.choice(self.running())]
        component = self.chance.choice(tuple(Component))
        gate = life.gates[component][-1]
        match self.chance.randrange(3):
            case 0:
                gate.silence()
            case 1:
                gate.silence()
                gate.start()
            case _:
                self.attach(life, component)

    async def debit(self) -> None:
        member, units = self.chance.choice(MEMBERS), self.chance.randrange(1, 12_000)
        self.seen += 1
        request = Debit(f"debit-{self.seen}", member, "eve", units, "surprise", "rose")
        outcome = None
        for _ in range(3):
            try:
                outcome = await self.house.wallet.ledger.execute(request)
            except DatabaseUnavailable:
                self.house.database.fault = None
                continue
            break
        if isinstance(outcome, Posted):
            self.debited[member] += units

    async def top_up(self) -> None:
        self.house.database.fault = None
        await self.fund(self.chance.choice(MEMBERS), self.chance.randrange(1, 30_000))

    async def crash(self) -> None:
        """kill -9: gates die with the process, memory is gone, the file stays."""
        self.house.database.fault = None
        for life in self.lives.values():
            for gate in itertools.chain.from_iterable(life.gates.values()):
                gate.silence()
                gate.open_until(0)
        self.hear()
        await self.house.restart()

    # --- judgement --------------------------------------------------------------------------

    def hear(self) -> None:
        for session_id, event in self.house.events:
            if isinstance(event, Exhausted | SpendLimit | LedgerLost):
                self.lives[session_id].ran_out = True
            elif isinstance(event, Ticked):
                life = self.lives[session_id]
                assert event.snapshot.cost_units >= life.told_units, "a told cost went down"
                life.told_units = event.snapshot.cost_units
                assert event.snapshot.balance_units >= 0
        self.house.events.clear()

    async def judge(self) -> None:
        self.hear()
        async with self.outside.read() as connection:
            accounts = sa.select(schema.accounts.c.account, schema.accounts.c.units)
            rows = (await connection.execute(accounts)).all()
            sessions = (await marks_rows.durable_rows(connection)).values()
        assert sum(units for _, units in rows) == 0
        for account, units in rows:
            assert units >= 0 or account.startswith("platform:"), account
        for row in sessions:
            if row["session_id"] in self.lives:
                self.judge_session(self.lives[row["session_id"]], row)

    def judge_session(self, life: Life, row: dict) -> None:
        assert row["charged_units"] >= life.told_units, "an acknowledged second was lost"
        packets = {
            component: [at for gate in gates for at in gate.passed]
            for component, gates in life.gates.items()
        }
        private = self.private_spans(life)
        held_ns = sum(b - a for a, b in private)
        # The last second before a cut by the meter itself may be rounded up to the cut.
        most_s = (held_ns + 250 * MS) // S
        assert row["private_s"] <= most_s, (row["session_id"], held_ns)
        for component in (Component.CAM2CAM, Component.TWO_WAY_AUDIO):
            both_ns = overlap_ns(spans(packets[component]), private)
            assert row[f"{component}_s"] <= (both_ns + 250 * MS) // S
        limit = life.order.spend_limit_units
        assert limit is None or row["charged_units"] <= limit
        if life.settled and not life.ran_out and row["reason"] == "member_left":
            assert row["private_s"] == held_ns // S, row["session_id"]

    def private_spans(self, life: Life) -> list[tuple[int, int]]:
        """Per gate: what lies between two gates was forwarded by neither."""
        found = []
        for gate in life.gates[Component.PRIVATE]:
            found += spans(gate.passed)
        return sorted(found)

    async def judge_books(self) -> None:
        database = self.house.database
        assert (await verify(database)).findings == ()
        assert (await reconcile(database)).findings == ()
        spent = dict.fromkeys(MEMBERS, 0)
        for session_id, life in self.lives.items():
            record = await session_record(database, session_id)
            assert record is not None
            assert not record.open
            spent[life.order.member_id] += record.summary.cost_units
        for member in MEMBERS:
            left = (await self.house.wallet.balance(member)).posted
            assert self.funded[member] == spent[member] + self.debited[member] + left, member


async def _simulate(make, clock_type, databases: Store, seed: int) -> int:
    house = await make(await databases.fresh(), clock_type())
    outside = await Database.open(house.url)
    simulation = Simulation(house, outside, seed)
    try:
        await simulation.run(STEPS)
    except BaseException as error:
        error.add_note(f"PARLOUR_SEED={seed}")
        raise
    finally:
        await outside.close()
        await house.database.close()
        await databases.close()
    return len(simulation.lives)


def _seeds(count: int) -> list[int]:
    given = os.environ.get("PARLOUR_SEED")
    if given:
        return [int(given)]
    first = random.SystemRandom().randrange(2**32)
    return [first + n for n in range(count)]


async def _many(make, clock, databases: Store, count: int, capsys) -> None:
    seeds = _seeds(count)
    with capsys.disabled():
        print(f" [money seeds {seeds[0]}…{seeds[-1]}]", end="")
    lives = 0
    for seed in seeds:
        lives += await _simulate(make, type(clock), databases, seed)
    print(f"{lives} sessions lived")
    if len(seeds) == count:
        assert lives >= count * 3, f"the runs must really run sessions, but ran {lives}"


async def test_a_hundred_sessions(make, clock, databases, capsys) -> None:
    await _many(make, clock, databases, FAST_RUNS[databases.kind], capsys)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_many_thousand_sessions(make, clock, databases, capsys) -> None:
    await _many(make, clock, databases, SLOW_RUNS[databases.kind], capsys)
