"""Fixtures of the money tests: a real database file, a clock that tests move, synthetic gates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from billing_meter import schema
from billing_meter.database import METADATA, Database
from billing_meter.meter import MeterEvent, SessionOrder
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Till
from billing_meter.wallet import Wallet, prepare_ledger

SECOND = 1_000_000_000
MS = 1_000_000
assert schema.METADATA is METADATA


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

    database: Database
    wallet: Wallet
    till: Till
    clock: Clock
    url: str
    events: list[tuple[str, MeterEvent]] = field(default_factory=list)

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


async def make_house(url: str, clock: Clock) -> House:
    database = await Database.open(url)
    async with database.write() as connection:
        await connection.run_sync(METADATA.create_all)
    await prepare_ledger(database)
    wallet = Wallet(database, utc_now=clock.utc)
    events: list[tuple[str, MeterEvent]] = []

    def on_event(session_id: str, event: MeterEvent) -> None:
        events.append((session_id, event))

    till = Till(database, wallet, clock_ns=clock.ns, utc_now=clock.utc, on_event=on_event)
    await wallet.open_member("ann")
    await wallet.open_expert("eve")
    return House(database, wallet, till, clock, url, events)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def house(tmp_path: Path, clock: Clock) -> AsyncIterator[House]:
    made = await make_house(f"sqlite+aiosqlite:///{tmp_path}/money.db", clock)
    yield made
    await made.database.close()


@pytest.fixture
def order() -> SessionOrder:
    return SessionOrder("s1", "ann", "eve", Tariff(299, 100, 50))


@pytest.fixture
def components() -> type[Component]:
    return Component
