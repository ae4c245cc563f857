"""Fixtures of the money tests: a real database file, a clock that tests move, synthetic gates."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.meter import MeterEvent, SessionOrder
from billing_meter.tariff import Component
from billing_meter.till import Opened, Till
from billing_meter.wallet import Wallet, prepare_ledger
from tests.billing_meter.fake_stripe import FakeStripe
from tests.billing_meter.stripe_shop import Shop
from tests.stores import KINDS, PostgresStore, SqliteStore, Store

SECOND = 1_000_000_000
MS = 1_000_000


class Clock:
    """Monotonic and calendar time, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND
        self.epoch = datetime(2026, 1, 1, tzinfo=UTC)

    def ns(self) -> int:
        return self.now_ns

    def utc(self) -> datetime:
        return self.epoch + timedelta(microseconds=self.now_ns // 1_000)

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND)


def held_ns(packets: Sequence[int]) -> int:
    """Held media of a list of packet instants: gaps below the hold window count."""
    return sum(b - a for a, b in itertools.pairwise(packets) if b - a < 1_500 * MS)


class FakeGate:
    """A forwarding gate: packets come every `gap_ms` while `flowing`, and pass while it is open."""

    def __init__(self, clock: Clock, *, gap_ms: int = 20) -> None:
        self.clock = clock
        self.gap_ns = gap_ms * MS
        self.until_ns = 0
        self.passed: list[int] = []
        self.opened: list[int] = []
        self._first_ns: int | None = None
        self._reported_ns: int | None = None
        self._next_ns: int | None = None
        self._held: list[tuple[int, int]] = []

    def start(self) -> None:
        self._next_ns = self.clock.now_ns

    @property
    def sum_held_s(self) -> int:
        """Whole seconds that its packets held, counted from the packets alone."""
        return held_ns(self.passed) // SECOND

    def silence(self) -> None:
        self.run()
        self._next_ns = None

    def run(self) -> None:
        """Play the packets up to now."""
        while self._next_ns is not None and self._next_ns <= self.clock.now_ns:
            if self._next_ns < self.until_ns:
                self._pass(self._next_ns)
            self._next_ns += self.gap_ns

    def _pass(self, at_ns: int) -> None:
        last = self.passed[-1] if self.passed else None
        self.passed.append(at_ns)
        begin = at_ns if last is None or at_ns - last >= 1_500 * MS else last
        self._held.append((begin, at_ns))

    @property
    def last_forwarded_ns(self) -> int | None:
        self.run()
        return self.passed[-1] if self.passed else None

    def take_held(self, now_ns: int) -> Sequence[tuple[int, int]]:
        self.run()
        held, self._held = self._held, []
        return held

    def open_until(self, until_ns: int) -> None:
        self.run()
        self.until_ns = until_ns
        self.opened.append(until_ns)


@dataclass
class House:
    """Everything a money test needs, on one database."""

    database: FaultyDatabase
    wallet: Wallet
    till: Till
    clock: Clock
    url: str
    events: list[tuple[str, MeterEvent]] = field(default_factory=list)
    purchases: int = 0

    async def restart(self) -> int:
        """What is left after a kill -9: the file. Everything else is made anew."""
        await self.database.close()
        self.database = await FaultyDatabase.open(self.url)
        self.wallet = Wallet(self.database, utc_now=self.clock.utc)
        self.till = self.new_till()
        return await self.till.recover()

    def new_till(self) -> Till:
        """A till of this house, with its own memory."""

        def on_event(session_id: str, event: MeterEvent) -> None:
            self.events.append((session_id, event))

        return Till(
            self.database,
            self.wallet,
            clock_ns=self.clock.ns,
            utc_now=self.clock.utc,
            on_event=on_event,
        )

    async def fund(self, member_id: str, units: int) -> None:
        """Give a member bought credits."""
        await self.wallet.open_member(member_id)
        self.purchases += 1
        await self.wallet.credit_purchase(member_id, units, f"fund-{self.purchases}", "test")

    async def start(self, order: SessionOrder, **options: int) -> FakeGate:
        """Open a session whose media flows from now on."""
        opened = await self.till.open(order)
        assert isinstance(opened, Opened), opened
        gate = self.gate(**options)
        self.till.attach(order.session_id, Component.PRIVATE, gate)
        gate.start()
        return gate

    def of(self, kind: type[MeterEvent]) -> list[MeterEvent]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def gate(self, **options: int) -> FakeGate:
        return FakeGate(self.clock, **options)

    async def run(self, seconds: float, *, beat: float = 0.25) -> None:
        """Let time pass in beats, with a tick each second, as the timer would."""
        end = self.clock.now_ns + round(seconds * SECOND)
        while self.clock.now_ns < end:
            self.clock.advance(beat)
            self.till.beat()
            if (self.clock.now_ns - 1_000 * SECOND) % SECOND == 0:
                await self.till.tick()


class FaultyDatabase(Database):
    """Fails writes on demand: before they begin, at the end (rolled back), or after the commit.

    What `fault` is when a write is asked for, is what becomes of it.
    """

    fault: str | None = None

    def write(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._faulty()

    @asynccontextmanager
    async def _faulty(self) -> AsyncIterator[AsyncConnection]:
        fault = self.fault
        if fault == "before":
            raise DatabaseUnavailable("disk is gone")
        async with super().write() as connection:
            yield connection
            if fault == "during":
                raise DatabaseUnavailable("disk is full")
        if fault == "after":
            raise DatabaseUnavailable("no answer, but it was written")


async def make_house(url: str, clock: Clock) -> House:
    """A house on a database that has its tables."""
    database = await FaultyDatabase.open(url)
    await prepare_ledger(database)
    wallet = Wallet(database, utc_now=clock.utc)
    till = Till(database, wallet, clock_ns=clock.ns, on_event=lambda _session, _event: None)
    house = House(database, wallet, till, clock, url)
    house.till = house.new_till()
    await wallet.open_member("ann")
    await wallet.open_expert("eve")
    return house


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS)
def store_of(request: pytest.FixtureRequest) -> Store:
    """Every test that uses it, or the house, runs on both databases."""
    if request.param == "postgresql":
        return PostgresStore(request.getfixturevalue("cluster"))
    if request.node.get_closest_marker("threads") is None:
        request.getfixturevalue("no_threads")
    return SqliteStore(request.getfixturevalue("quick_dir"))


@pytest.fixture
async def databases(store_of: Store) -> AsyncIterator[Store]:
    """Fresh databases for tests that make their own houses."""
    yield store_of
    await store_of.close()


@pytest.fixture
async def house(databases: Store, clock: Clock) -> AsyncIterator[House]:
    made = await make_house(await databases.fresh(), clock)
    yield made
    await made.database.close()


@pytest.fixture
def make() -> object:
    """Houses for tests that need more than one."""
    return make_house


@pytest.fixture
async def stripe(house):
    made = FakeStripe(lambda: int(house.clock.utc().timestamp()))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def shop(house, stripe):
    made = Shop(house, stripe)
    yield made
    await made.sound()
    await made.close()
