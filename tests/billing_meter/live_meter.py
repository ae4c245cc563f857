"""A meter in real time on a real store, and a watch on the event loop meanwhile.

Time runs twice as fast for the meter, so that a grant of eight seconds ends after four. Media
never stops by itself: what the gate lets pass is counted here, apart from what the meter charges.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from billing_meter.database import Database
from billing_meter.meter import LedgerLost, MeterEvent, SessionOrder, Ticked
from billing_meter.sessions import session_record
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, Till
from billing_meter.wallet import Wallet, prepare_ledger

SPEED = 2
RATE = 299
FUNDS_UNITS = 10_000 * RATE
LAG_MAX_NS = 50_000_000
WATCH_S = 0.01
S = 1_000_000_000
TASKS = Path("/proc/self/task")


def utc_now() -> datetime:
    return datetime.now(UTC)


class FastClock:
    """Monotonic, twice as fast; stands still while the test breaks or mends something by hand.

    A session has a second or two before it notices. How long a busy machine needs to start a
    program, or to freeze a disk, is nobody's fault and must not use them up.
    """

    def __init__(self) -> None:
        self._stood_ns = 0
        self._stands_at_ns: int | None = None

    def __call__(self) -> int:
        now_ns = time.monotonic_ns() if self._stands_at_ns is None else self._stands_at_ns
        return (now_ns - self._stood_ns) * SPEED

    @contextmanager
    def standing(self) -> Iterator[None]:
        """No time passes for the meter meanwhile."""
        began_ns = self._stands_at_ns = time.monotonic_ns()
        try:
            yield
        finally:
            self._stood_ns += time.monotonic_ns() - began_ns
            self._stands_at_ns = None


def run_delays_ns() -> dict[str, int]:
    """How long each thread of this process has waited for a core, since it began."""
    waited_ns = {}
    for task in TASKS.iterdir():
        with suppress(OSError):  # a thread that has just ended
            waited_ns[task.name] = int((task / "schedstat").read_text().split()[1])
    return waited_ns


class LoopWatch:
    """The worst lateness of a timer, less the time in which our threads waited for a core.

    So other programs on the machine do not count, and waiting for a disk does. All threads, since
    the loop cannot run while one that has no core holds the interpreter's lock.
    """

    def __init__(self) -> None:
        self.worst_ns = 0
        self._loop = asyncio.get_running_loop()
        self._begin()

    def close(self) -> None:
        self._timer.cancel()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """While the test starts processes, which stops every thread for as long as it takes."""
        self._timer.cancel()
        try:
            yield
        finally:
            self._begin()

    def _begin(self) -> None:
        self._waited_ns = run_delays_ns()
        self._due_ns = time.monotonic_ns() + round(WATCH_S * S)
        self._timer = self._loop.call_later(WATCH_S, self._wake)

    def _wake(self) -> None:
        late_ns = time.monotonic_ns() - self._due_ns
        # By thread: what one had waited does not count backwards when it ends.
        for task, waited_ns in run_delays_ns().items():
            late_ns -= waited_ns - self._waited_ns.get(task, 0)
        self.worst_ns = max(self.worst_ns, late_ns)
        self._begin()


class Stream:
    """A gate through which media passes without a gap whenever it is open."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self.began_ns = 0
        self.until_ns = 0
        self.granted_ns = 0
        """The latest instant that it was ever opened to."""
        self.passed_ns = 0
        self._counted_ns = 0
        self._held: list[tuple[int, int]] = []

    def _count(self, now_ns: int) -> None:
        end = min(now_ns, self.until_ns)
        if end > self._counted_ns:
            self._held.append((self._counted_ns, end))
            self.passed_ns += end - self._counted_ns
            self._counted_ns = end

    @property
    def last_forwarded_ns(self) -> int | None:
        return min(self._clock_ns(), self.until_ns) or None

    def take_held(self, now_ns: int) -> Sequence[tuple[int, int]]:
        self._count(now_ns)
        held, self._held = self._held, []
        return held

    def open_until(self, until_ns: int) -> None:
        now_ns = self._clock_ns()
        self._count(now_ns)
        self._counted_ns = now_ns
        self.began_ns = self.began_ns or now_ns
        self.until_ns = until_ns
        self.granted_ns = max(self.granted_ns, until_ns)


@dataclass
class LiveMeter:
    """A till that runs by its own timer, with what it said and when."""

    url: str
    database: Database
    wallet: Wallet
    node: str = "node"
    events: list[tuple[str, MeterEvent]] = field(default_factory=list)
    streams: dict[str, Stream] = field(default_factory=dict)
    lost_ns: dict[str, int] = field(default_factory=dict)
    told_units: dict[str, int] = field(default_factory=dict)
    """What the last tick of each session said is durable."""
    watch: LoopWatch | None = None
    clock: FastClock = field(default_factory=FastClock)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.till = Till(
            self.database,
            self.wallet,
            clock_ns=self.clock,
            utc_now=utc_now,
            on_event=self._hear,
            node=self.node,
        )

    def _hear(self, session_id: str, event: MeterEvent) -> None:
        self.events.append((session_id, event))
        if isinstance(event, LedgerLost):
            self.lost_ns[session_id] = self.clock()
        if isinstance(event, Ticked):
            self.told_units[session_id] = event.snapshot.cost_units
        self._news.set()

    async def talk(self, session_id: str) -> Stream:
        """A session whose media flows from now on."""
        opened = await self.till.open(SessionOrder(session_id, "ann", "eve", Tariff(RATE, 100, 50)))
        assert isinstance(opened, Opened), opened
        stream = self.streams[session_id] = Stream(self.clock)
        self.till.attach(session_id, Component.PRIVATE, stream)
        return stream

    async def ticks(self, session_id: str, count: int) -> None:
        """Wait for so many durable ticks of a session that moved it."""
        async with asyncio.timeout(20):
            for _ in range(count):
                before = self.told_units.get(session_id, 0)
                while self.told_units.get(session_id, 0) == before:
                    self._news.clear()
                    await self._news.wait()

    async def until_lost(self, session_id: str, seconds: float = 20.0) -> bool:
        """Wait for the end of the session by its ledger, or for so long; whether it came."""
        return await self.until(session_id, LedgerLost(), seconds)

    async def until(self, session_id: str, event: MeterEvent, seconds: float = 20.0) -> bool:
        """Wait for an event of a session, or for so long; whether it came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (session_id, event) not in self.events:
                    self._news.clear()
                    await self._news.wait()
        return (session_id, event) in self.events

    async def until_settled(self, session_id: str) -> None:
        """Wait until its row is closed: ticks repeat a final post that had no answer."""
        async with asyncio.timeout(20):
            while True:
                record = await session_record(self.database, session_id)
                if record is not None and not record.open:
                    return

    async def judge(self, session_id: str) -> None:
        """What was charged is what was held, to the second, and the books are clean."""
        record = await session_record(self.database, session_id)
        assert record is not None
        assert not record.open
        assert record.summary.cost_units == self.streams[session_id].passed_ns // S * RATE
        assert (await verify(self.database)).findings == ()
        assert (await reconcile(self.database)).findings == ()


@asynccontextmanager
async def live_meter(url: str) -> AsyncIterator[LiveMeter]:
    """On a store with tables; at the end the loop must never have been late."""
    database = await Database.open(url)
    await prepare_ledger(database)
    wallet = Wallet(database, utc_now=utc_now)
    await wallet.open_member("ann")
    await wallet.open_expert("eve")
    await wallet.credit_purchase("ann", FUNDS_UNITS, "funds", "test")
    live = LiveMeter(url, database, wallet)
    live.till.start()
    gc.collect()
    gc.freeze()  # as the server does: a collection of all that the tests hold takes 80 ms
    watch = live.watch = LoopWatch()
    try:
        yield live
    finally:
        watch.close()
        gc.unfreeze()
        await live.till.stop()
        await database.close()
    print(f"worst lateness of the loop: {watch.worst_ns / 1e6:.1f} ms")
    assert watch.worst_ns < LAG_MAX_NS
