"""kill -9 at random instants of live sessions, a hundred times on each database.

After every restart: each session is settled to its last durable second, which is never later than
its media; its hold is back; nothing acknowledged is lost; the books are clean. And two processes on
one store, of which one dies.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import pytest
import sqlalchemy as sa

from billing_meter.database import Database
from billing_meter.ledger_store import LedgerStore
from billing_meter.marks_rows import durable_rows
from billing_meter.statements import reconcile, verify
from billing_meter.sweeper import Sweeper
from tests.billing_meter import kill_nine_victim as victim
from tests.stores import Store

pytestmark = pytest.mark.threads

REPO = Path(__file__).resolve().parents[2]
KILLS = 100
"""And more, until as many seconds were durable: on a busy machine a life is short."""
KILLS_MAX = 400
LIFE_MAX_S = 0.6
BOOKS_EVERY = 20
NS_PER_S = 1_000_000_000
DEAREST_UNITS_PER_S = victim.TARIFF.private_units_per_s + victim.TARIFF.cam2cam_units_per_s


@dataclass
class Witness:
    """What the victim said before it died."""

    recovered: int = -1
    marks: dict[str, int] = field(default_factory=dict)
    opened_ns: dict[str, int] = field(default_factory=dict)
    bought: dict[str, int] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        """One line of the victim."""
        match line.split():
            case ["mark", session, units]:
                self.marks[session] = int(units)
            case ["open", session, at_ns]:
                self.opened_ns[session] = int(at_ns)
            case ["bought", member, units]:
                self.bought[member] = self.bought.get(member, 0) + int(units)
            case ["recovered", count]:
                self.recovered = int(count)


class Nursery:
    """A process that forks the victims."""

    def __init__(self) -> None:
        self._orders, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.billing_meter.kill_nine_victim"], cwd=REPO, stdin=inside
        )
        inside.close()
        self.alive: set[int] = set()

    def close(self) -> None:
        """It ends when nobody can order any more; nobody is left behind."""
        self._orders.close()
        for pid in self.alive:
            os.kill(pid, signal.SIGKILL)
        assert self._process.wait(10) == 0

    def birth(self, url: str, run: int, node: str = "node") -> Victim:
        """A victim that recovers now and then waits for the word."""
        its_input, told = os.pipe()
        heard, its_output = os.pipe()
        order = f"{url}\n{node}\n{run}".encode()
        socket.send_fds(self._orders, [order], [its_input, its_output])
        pid = int(self._orders.recv(32))
        os.close(its_input)
        os.close(its_output)
        self.alive.add(pid)
        return Victim(self, pid, os.fdopen(told, "w"), os.fdopen(heard))


@dataclass
class Victim:
    """A running one: its process id, what it hears, what it says, and what we heard of it."""

    nursery: Nursery
    pid: int
    told: TextIO
    heard: TextIO
    witness: Witness = field(default_factory=Witness)

    def listen(self) -> str:
        """Its next line."""
        line = self.heard.readline()
        assert line, "it ended by itself"
        self.witness.hear(line)
        return line

    def live(self) -> None:
        """The word that it waits for."""
        self.told.write("live\n")
        self.told.flush()

    def kill(self) -> int:
        """kill -9; when, on its own clock. What it had said by then is heard."""
        os.kill(self.pid, signal.SIGKILL)
        self.nursery.alive.discard(self.pid)
        killed_ns = time.monotonic_ns() * victim.SPEED
        with self.told, self.heard:
            for line in self.heard.read().splitlines():
                self.witness.hear(line)
        return killed_ns


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


async def one_life(nursery: Nursery, url: str, run: int, life_s: float) -> tuple[Witness, int]:
    """Let it recover, judge that, let it live, kill it; (what it said, killed at)."""
    born = nursery.birth(url, run)
    try:
        born.listen()
        if run:
            await judge_settled(url)
        born.live()
        time.sleep(life_s)  # the instant of death is the point of the test
    finally:
        killed_ns = born.kill()
    return born.witness, killed_ns


Rows = list[tuple[object, ...]]


@asynccontextmanager
async def accountant(url: str) -> AsyncIterator[Callable[[str], Awaitable[Rows]]]:
    """Reads from outside, and leaves: the next one finds the files as a dead process left them."""
    store = await Database.open(url)
    try:
        async with store.read() as connection:

            async def rows(query: str) -> Rows:
                return [tuple(row) for row in await connection.execute(sa.text(query))]

            yield rows
    finally:
        await store.close()


async def judge_settled(url: str) -> None:
    """After recovery nothing is open, nothing is held, the books sum to zero."""
    held = "select coalesce(sum(units), 0) from ledger_accounts where account like '%held'"
    unposted = "select count(*) from meter_sessions where posted_units <> charged_units"
    async with accountant(url) as rows:
        assert await rows("select count(*) from meter_sessions where state = 'open'") == [(0,)]
        assert await rows(held) == [(0,)]
        assert await rows("select sum(units) from ledger_accounts") == [(0,)]
        assert await rows(unposted) == [(0,)]


async def judge_charges(url: str, witness: Witness, killed_ns: int) -> None:
    """No acknowledged second lost, no second charged after the media."""
    store = await Database.open(url)
    try:
        async with store.read() as connection:
            sessions = await durable_rows(connection)
    finally:
        await store.close()
    charged = {session: int(row["charged_units"]) for session, row in sessions.items()}
    private_s = {session: int(row["private_s"]) for session, row in sessions.items()}
    for session, units in witness.marks.items():
        assert charged[session] >= units, f"{session} lost an acknowledged mark"
    for session, opened_ns in witness.opened_ns.items():
        media_s = (killed_ns - opened_ns) // NS_PER_S
        assert private_s.get(session, 0) <= media_s, f"{session} was charged too much"
        assert charged.get(session, 0) <= media_s * DEAREST_UNITS_PER_S


async def judge_books(url: str) -> None:
    """`ledger verify` and `reconcile` find nothing."""
    store = await Database.open(url)
    try:
        assert (await verify(store)).findings == ()
        assert (await reconcile(store)).findings == ()
    finally:
        await store.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_kill_nine_never_bills_too_much_and_loses_nothing(
    databases: Store, nursery: Nursery
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"{databases.kind}: seed {seed}")
    chance = random.Random(seed)
    url = await databases.fresh()
    bought: dict[str, int] = {}
    marks_seen = run = 0
    while run < KILLS or marks_seen <= KILLS:
        assert run < KILLS_MAX, "the victims do not live long enough to be charged"
        witness, killed_ns = await one_life(nursery, url, run, chance.uniform(0.0, LIFE_MAX_S))
        await judge_charges(url, witness, killed_ns)
        marks_seen += len(witness.marks)
        for member, units in witness.bought.items():
            bought[member] = bought.get(member, 0) + units
        if run % BOOKS_EVERY == BOOKS_EVERY - 1:
            await one_life(nursery, url, run + KILLS_MAX, 0.0)
            await judge_books(url)
        run += 1
    await judge_purchases(url, bought)


@pytest.mark.slow
async def test_of_two_processes_one_dies_and_the_other_goes_on(
    databases: Store, nursery: Nursery
) -> None:
    """The same members talk over both; the dead one's sessions are settled by whoever looks."""
    url = await databases.fresh()
    nodes = {node: nursery.birth(url, run, node) for run, node in enumerate(("one", "two"))}
    for born in nodes.values():
        assert born.listen() == "recovered 0\n"
        born.live()
    for born in nodes.values():
        while len(born.witness.marks) < victim.SESSIONS:
            born.listen()
    one, two = nodes["one"], nodes["two"]
    killed_ns = one.kill()
    store = await Database.open(url)
    ledger = LedgerStore(store, utc_now=lambda: datetime.now(UTC))
    sweeper = Sweeper(ledger, node="three", clock_ns=victim.fast_ns)
    while (settled := await sweeper.sweep()) == 0:
        two.listen()
    await store.close()
    assert settled == victim.SESSIONS
    by_node = "select node, count(*) from meter_sessions where state = 'open' group by node"
    async with accountant(url) as rows:
        assert await rows(by_node) == [("two", victim.SESSIONS)]
    await judge_charges(url, one.witness, killed_ns)
    dies_ns = two.kill()
    again = nursery.birth(url, 2, "two")
    assert again.listen() == f"recovered {victim.SESSIONS}\n"
    again.kill()
    await judge_settled(url)
    await judge_charges(url, two.witness, dies_ns)
    await judge_books(url)


async def judge_purchases(url: str, acknowledged: dict[str, int]) -> None:
    """Every acknowledged purchase is in the books: credits in = charged + left."""
    owned = "select owner, sum(units) from ledger_accounts where owner like 'member-%'"
    spent = "select member_id, sum(charged_units) from meter_sessions group by member_id"
    async with accountant(url) as rows:
        left = {member: int(str(units)) for member, units in await rows(f"{owned} group by owner")}
        charged = {member: int(str(units)) for member, units in await rows(spent)}
    for member, units in acknowledged.items():
        assert left[member] + charged.get(member, 0) >= units
