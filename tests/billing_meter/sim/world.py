"""One simulated house: the process that may die, and what outlives it (store, bank, people)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from billing_meter.database import Database, DatabaseUnavailable
from billing_meter.free_credits import FreeCredits
from billing_meter.groups import Groups
from billing_meter.limits_store import SpendLimits
from billing_meter.meter import MeterEvent
from billing_meter.order_refunds import OrderRefunds
from billing_meter.orders import Orders
from billing_meter.payout_providers import FakePayoutProvider
from billing_meter.payouts import Payouts
from billing_meter.purchases import Purchases
from billing_meter.refunds import Refunds
from billing_meter.reload import Reload
from billing_meter.till import Till
from billing_meter.wallet import Wallet, prepare_ledger
from billing_meter.webhooks import Webhooks
from tests.billing_meter.sim.bank import Bank, Line, PayoutLine
from tests.billing_meter.sim.gate import S, SimGate
from tests.billing_meter.sim.oracle import Life
from tests.billing_meter.sim.store import Killed, Point, SimStore
from tests.turns import turn

NEVER_S = 86_400.0 * 365
"""Pending payments are asked about by the simulation's own steps."""
TURNS_MAX = 4
STATEMENTS_MAX = 14
"""A fault comes before one of about so many statements."""
BEAT_S = 0.25
WITH_TURNS = (Point.ASKED, Point.COMMIT, Point.READ, Point.BANK_ASKED, Point.BANK_DONE)
"""Where other tasks get a turn. Who has been told of a commit goes on without one."""


class Clock:
    """Monotonic time that goes on, and a calendar that may jump."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * S
        self.epoch = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def ns(self) -> int:
        return self.now_ns

    def utc(self) -> datetime:
        return self.epoch + timedelta(microseconds=self.now_ns // 1_000)

    def step(self, seconds: int) -> None:
        """Only the calendar moves."""
        self.epoch += timedelta(seconds=seconds)

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * S)

    def now_ms(self) -> int:
        return int((self.utc() - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


@dataclass
class Fault:
    """What happens when a point is passed for the `nth` time from now."""

    point: Point
    nth: int
    action: str


class Points:
    """The points of one process: turns of other tasks, armed faults, and its death."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = world.chance
        self.armed: list[Fault] = []
        self.dead = False

    async def at(self, point: Point) -> None:
        if self.dead:
            raise Killed
        # Others get their turns here, as they would while a driver waits.
        if point in WITH_TURNS and self._chance.random() < 0.3:
            for _ in range(self._chance.randrange(TURNS_MAX)):
                await turn()
            if self.dead:
                raise Killed
        for fault in self.armed:
            if fault.point is point:
                fault.nth -= 1
                if fault.nth <= 0:
                    self.armed.remove(fault)
                    await self._strike(fault)
                return

    async def _strike(self, fault: Fault) -> None:
        bank = fault.point in (Point.BANK_ASKED, Point.BANK_DONE)
        match fault.action:
            case "kill":
                self.kill()
                raise Killed
            case "slow" if fault.point is not Point.DURABLE:
                await self._world.live_on(self._chance.choice((0.5, 2, 5, 12)))
            case "slow" | "stall":
                self._world.clock.advance(self._chance.choice((0.5, 2, 10)))
            case _ if bank:
                raise ConnectionError("no answer from the bank")
            case "lost":
                raise DatabaseUnavailable("the connection broke", lost=True)
            case _:
                raise DatabaseUnavailable("the disk is gone")

    def kill(self) -> None:
        """kill -9: media stops with the process, memory is gone, the store stays."""
        self.dead = True
        self._world.died()


@dataclass
class Process:
    """Everything that a kill takes away."""

    points: Points
    database: Database
    wallet: Wallet
    till: Till
    orders: Orders
    webhooks: Webhooks
    reload: Reload
    refunds: Refunds
    free: FreeCredits
    limits: SpendLimits
    payouts: Payouts
    order_refunds: OrderRefunds
    purchases: Purchases
    groups: Groups

    async def bury(self, clients: set[asyncio.Task[Any]]) -> None:
        """End what still runs of it; nothing of that reaches the store any more."""
        self.points.dead = True
        await turn()  # who was just started finds out by itself, and tells those who wait for it
        mine = asyncio.all_tasks() - clients - {asyncio.current_task()}
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        await self.database.close()


@dataclass
class World:
    """The house with its people; `alive` gives the process, started anew if it died."""

    store: SimStore
    seed: int
    chance: random.Random = field(init=False)
    clock: Clock = field(default_factory=Clock)
    bank: Bank = field(init=False)
    payer: FakePayoutProvider = field(default_factory=FakePayoutProvider)
    lives: dict[str, Life] = field(default_factory=dict)
    """Sessions that the judge has not seen end."""
    events: list[tuple[str, MeterEvent]] = field(default_factory=list)
    clients: set[asyncio.Task[Any]] = field(default_factory=set)
    deaths: int = 0
    process: Process | None = None
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.bank = Bank(self.chance)

    # --- the process ------------------------------------------------------------------------

    async def alive(self) -> Process:
        """The running process. Starting may die or fail as well."""
        async with self._starting:
            while self.process is None or self.process.points.dead:
                if self.process is not None:
                    await self.process.bury(self._people())
                try:
                    self.process = await self._start()
                except (Killed, DatabaseUnavailable):
                    if self.process is not None:
                        self.process.points.dead = True
            return self.process

    def _people(self) -> set[asyncio.Task[Any]]:
        return {task for task in self.clients if not task.done()}

    def new_points(self) -> Points:
        """What a process that starts now has before it."""
        points = Points(self)
        if self.process is not None and self.chance.random() < 0.1:
            points.armed.append(self.draw_fault())
        return points

    async def _start(self) -> Process:
        points = self.new_points()
        database = await self.store.open(points)
        utc = self.clock.utc
        wallet = Wallet(database, utc_now=utc)
        line = Line(self.bank, points)
        till = Till(database, wallet, clock_ns=self.clock.ns, utc_now=utc, on_event=self._heard)
        orders = Orders(database, wallet, line, utc_now=utc, poll_first_s=NEVER_S)
        process = Process(
            points,
            database,
            wallet,
            till,
            orders,
            Webhooks(database, wallet, orders, line),
            Reload(database, wallet, orders, utc_now=utc),
            Refunds(wallet.ledger),
            FreeCredits(wallet, line, "salt"),
            SpendLimits(database, wallet.ledger),
            Payouts(
                wallet.ledger,
                PayoutLine(self.payer, points),
                minimum_units=1,
                clock_ns=self.clock.ns,
            ),
            OrderRefunds(database, wallet, line),
            Purchases(wallet),
            Groups(wallet.ledger, node="house"),
        )
        till.listen_spent(process.reload.on_spent)
        try:
            await prepare_ledger(database)
            await till.recover()
            await self.recover_groups(process)
            await process.reload.load()
        except BaseException:
            await process.bury(self._people())
            raise
        return process

    async def recover_groups(self, process: Process) -> None:
        """As the server does before anybody can ask for anything."""
        await process.groups.recover()

    def _heard(self, session_id: str, event: MeterEvent) -> None:
        self.events.append((session_id, event))

    def died(self) -> None:
        """The process that forwards is gone, and the media with it."""
        self.deaths += 1
        for life in self.lives.values():
            life.die()

    def draw_fault(self) -> Fault:
        """A fault at some point, some time from now."""
        point = self.chance.choice(tuple(Point))
        nth = self.chance.randint(1, STATEMENTS_MAX if point is Point.STATEMENT else 2)
        actions = ("fail", "fail", "lost", "lost", "slow", "slow", "stall", "kill")
        return Fault(point, nth, self.chance.choice(actions))

    # --- people -----------------------------------------------------------------------------

    async def insist(self, ask: Callable[[Process], Any]) -> Any:
        """A client asks until it has an answer, with the same keys, of whatever process lives."""
        for _ in range(12):
            process = await self.alive()
            try:
                return await ask(process)
            except DatabaseUnavailable:
                continue
            except (Killed, asyncio.CancelledError):
                if not process.points.dead:
                    raise
        raise AssertionError("nobody answers")

    async def live_on(self, seconds: float) -> None:
        """Time passes for the loop, while somebody waits for the store."""
        for _ in range(round(seconds / BEAT_S)):
            self.clock.advance(BEAT_S)
            if self.process is not None and not self.process.points.dead:
                self.process.till.beat()
            await turn()

    def gate(self) -> SimGate:
        """New media, at one of several paces."""
        return SimGate(self.clock, self.chance.choice((20, 50, 100, 100, 150, 1_600)))
