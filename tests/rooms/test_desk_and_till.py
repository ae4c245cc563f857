"""The desk and the till together, from seeds: what the two are told is what they pay for.

The desk, the till and the store are the product's; media and time are pretended. While a commit is
under way time passes, packets too, and people do what they like. Connecting is free, whatever
comes between a packet, a beat, a deadline and an end.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from billing_meter.meter import MeterEvent
from billing_meter.sessions import session_record
from billing_meter.statements import reconcile, verify
from billing_meter.tariff import Component
from billing_meter.till import Till
from billing_meter.wallet import Wallet, prepare_ledger
from media.api import Kind
from rooms.asking import Ask
from rooms.events import Feed, Hud, SessionSummary, SessionView
from rooms.house import House
from rooms.private import Cue, EndReason, Phase, PrivateSession
from tests.billing_meter.sim.gate import HELD_WINDOW_NS, SimGate
from tests.billing_meter.sim.store import InlineStore, Point
from tests.rooms.world import NS, TARIFF, FakeMedia, World
from tests.turns import turn

EXPERTS = ("luna", "nova")
MEMBERS = ("mia", "noah", "ona")
RAN = {Phase.ACTIVE, Phase.PAUSED}
FREE = {EndReason.CONNECT_FAILED, EndReason.CANCELLED}
FACES_S = (0.02, 0.1, 0.25, 0.7, 1.4, 2.1)
STEPS = 300
HOUSES = 40
FEW_STEPS = 80


class Packets(FakeMedia):
    """Rows with gates through which packets really pass, as long as their sender sends."""

    def __init__(self, clock, chance: random.Random) -> None:
        super().__init__()
        self._clock = clock
        self._chance = chance
        self._gates: list[SimGate] = []
        self.sending: set[str] = set()

    def forward_gated(self, source_id: str, viewer_id: str, kinds: frozenset[Kind]) -> SimGate:
        self.stop(source_id, viewer_id, kinds)
        gate = SimGate(self._clock, self._chance.choice((20, 50, 400, 1_600)))
        for kind in kinds:
            self.rows[source_id, viewer_id, kind] = gate
        self._gates.append(gate)
        if source_id in self.sending:
            gate.start()
        return gate

    def send(self, source_id: str, on: bool) -> None:
        """The sender's packets come, or stop."""
        (self.sending.add if on else self.sending.discard)(source_id)
        for gate in {
            id(gate): gate for row, gate in self.rows.items() if row[0] == source_id
        }.values():
            if gate is not None:
                gate.silence()
                if on:
                    gate.start()

    def stop(self, *row) -> None:
        super().stop(*row)
        self._hush()

    def seal(self, source_id: str) -> None:
        super().seal(source_id)
        self._hush()

    def close_viewer(self, viewer_id: str, reason: str) -> None:
        super().close_viewer(viewer_id, reason)
        self._hush()

    def _hush(self) -> None:
        """Nothing passes a row that is gone."""
        there = {id(gate) for gate in self.rows.values()}
        for gate in [gate for gate in self._gates if id(gate) not in there]:
            gate.silence()
            self._gates.remove(gate)


@dataclass
class Heard:
    """What the two were told of one session."""

    session: PrivateSession
    phases: list[Phase] = field(default_factory=list)
    bills: list[int] = field(default_factory=list)

    @property
    def ran(self) -> bool:
        """Whether anybody was told that it became active."""
        return bool(RAN.intersection(self.phases))


class Books(Wallet):
    """The product's, on a store that is never in trouble."""

    @property
    def writable(self) -> bool:
        return True


class Hall(World):
    """A house with the product's desk, till and store."""

    async def furnish(self, database, chance: random.Random) -> None:
        self.chance = chance
        self.heard_of: dict[str, Heard] = {}
        self.working: set[asyncio.Task[Any]] = set()
        self.faults: list[BaseException] = []
        self.places: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.wallet = Books(database, utc_now=self.clock.utc)
        self.database = database
        self.directory.add("nova")
        self.media = Packets(self.clock, chance)
        self.till = Till(
            database,
            self.wallet,
            clock_ns=self.clock,
            utc_now=self.clock.utc,
            on_event=self._on_meter,
        )
        self.house = House(
            self.media,
            self.till,
            self.wallet,
            self.directory,
            clock_ns=self.clock,
            utc_now=self.clock.utc,
        )
        self.media.on_event = self.house.on_media
        self.house.emit = lambda place, event: self._told(event)
        floor = self.house.floor
        tell_session = floor.tell_session

        def overhear(session: PrivateSession) -> None:
            heard = self.heard_of.setdefault(session.session_id, Heard(session))
            heard.phases.append(session.phase)
            if session.reason is EndReason.CONNECT_FAILED:
                gate = self.gate_of(session)
                self.claim(gate is None or gate.last_forwarded_ns is None, "it had begun")
            tell_session(session)

        floor.tell_session = overhear

    async def open_doors(self) -> None:
        """Experts are live; members have credits, some of them few."""
        await self.till.recover()
        for expert in EXPERTS:
            await self.wallet.open_expert(expert)
            self.places[expert] = await self.live_expert(expert)
        for units, member in zip((6_000_000, 40_000, 300_000), MEMBERS, strict=True):
            await self.wallet.open_member(member)
            await self.wallet.credit_purchase(member, units, member, "test")
            self.places[member] = self.member(member)

    # --- what people hear ---------------------------------------------------------------------

    def _on_meter(self, session_id: str, event: MeterEvent) -> None:
        self.counts[type(event).__name__] += 1
        self.house.on_meter(session_id, event)

    def _told(self, event: object) -> None:
        match event:
            case Hud(snapshot=snapshot):
                heard = self.heard_of[snapshot.session_id]
                phase = heard.session.phase
                self.claim(heard.ran or not snapshot.cost_units, "charged while connecting")
                still = phase is not Phase.ACTIVE
                self.claim(snapshot.paused is still, f"{phase}, and paused is {snapshot.paused}")
            case SessionSummary(summary=summary):
                heard = self.heard_of[summary.session_id]
                self.claim(heard.ran, "a bill for a session that never ran")
                heard.bills.append(summary.cost_units)

    def claim(self, is_so: bool, what: str) -> None:
        """The house would log what is raised here, and go on."""
        if not is_so:
            self.faults.append(AssertionError(what))

    async def judge(self) -> None:
        """Of every session that is over: its row is what the two were told, and no more."""
        for name, heard in list(self.heard_of.items()):
            record = await session_record(self.database, name)
            if record is not None and not heard.ran:
                assert record.summary.cost_units == 0, f"{name} cost {record.summary} connecting"
                assert record.summary.started_at is None
            if heard.session.phase is not Phase.ENDED or (record is not None and record.open):
                continue
            del self.heard_of[name]
            reason = heard.session.reason
            assert reason is not None
            self.counts[reason.value] += 1
            assert not (heard.ran and reason in FREE), f"{reason} after {heard.phases}"
            if record is None:
                assert not heard.ran
                continue
            assert record.summary.reason == reason.value
            assert (record.summary.started_at is not None) is heard.ran
            if heard.bills:
                assert set(heard.bills) == {record.summary.cost_units}
                self.counts["bills"] += 1

    def quiet(self) -> None:
        """Right after a beat: a phase is what the packets say."""
        for session in [heard.session for heard in self.heard_of.values()]:
            gate = self.gate_of(session)
            if gate is None or session.phase not in RAN:
                continue
            last = gate.last_forwarded_ns
            flows = last is not None and self.clock.now_ns - last < HELD_WINDOW_NS
            if flows:
                assert session.phase is Phase.ACTIVE, f"packets, and {session.phase}"
            elif last is not None:
                assert session.phase is Phase.PAUSED, f"silence, and {session.phase}"

    def gate_of(self, session: PrivateSession) -> SimGate | None:
        """The gate of its private row."""
        seat = self.till._register.get(session.session_id)
        found = None if seat is None else seat.gates.get(Component.PRIVATE)
        return found if isinstance(found, SimGate) else None

    # --- what happens -------------------------------------------------------------------------

    async def pass_by(self) -> None:
        """Time, packets, and what is due: in an order of its own each time."""
        chance = self.chance
        self.clock.now_ns += round(chance.choice(FACES_S) * NS)
        due = [self.beat, lambda: self.house.tick(self.clock.now_ns)]
        chance.shuffle(due)
        for what in due[: chance.choice((0, 1, 2, 2))]:
            what()

    def beat(self) -> None:
        self.till.beat()
        self.quiet()

    async def at(self, point: Point) -> None:
        """Between two steps of the store; what is durable is in memory before anybody writes."""
        if self.quiet_store or point is Point.DURABLE:
            return
        for _ in range(self.chance.choice((0, 0, 1, 3))):
            await turn()
        if self.chance.random() < 0.15:
            await self.pass_by()
        if self.chance.random() < 0.03:
            self.meddle()

    def meddle(self) -> None:
        """What needs no waiting: somebody ends, cancels, sends or stops sending."""
        chance, house = self.chance, self.house
        expert, member = chance.choice(EXPERTS), chance.choice(MEMBERS)
        match chance.randrange(6):
            case 0:
                house.cancel(self.places[member])
            case 1 if chance.random() < 0.3:
                house.end(self.places[chance.choice((member, expert))])
            case 2 | 3:
                self.media.send(f"stream:{expert}", True)
            case 4:
                self.media.send(f"stream:{expert}", chance.random() < 0.5)
            case _:
                for name in self.heard_of:
                    self.media.send(f"private:{name}", chance.random() < 0.7)

    async def ask(self) -> None:
        """A member asks, and mostly is let in."""
        member, expert = self.chance.choice(MEMBERS), self.chance.choice(EXPERTS)
        place = self.places[member]
        self.enter(place, expert)
        if self.chance.random() < 0.9:
            await self.house.watch(place, Feed.STREAM, "offer")
        wanted = [c for c in (Component.CAM2CAM,) if self.chance.random() < 0.4]
        rate = TARIFF.total({Component.PRIVATE, *wanted})
        view = await self.house.request_private(place, Ask(rate, frozenset(wanted)))
        if isinstance(view, SessionView) and self.chance.random() < 0.9:
            self.house.accept(self.places[expert], view.session_id)

    async def rewatch(self) -> None:
        await self.house.watch(self.places[self.chance.choice(MEMBERS)], Feed.STREAM, "offer")

    async def feed(self) -> None:
        """The member's camera: sent, watched, switched."""
        member, expert = self.chance.choice(MEMBERS), self.chance.choice(EXPERTS)
        part = self.chance.choice((Component.CAM2CAM, Component.TWO_WAY_AUDIO))
        match self.chance.randrange(3):
            case 0:
                await self.house.publish(self.places[member], Feed.PRIVATE, "offer")
            case 1:
                await self.house.watch(self.places[expert], Feed.PRIVATE, "offer")
            case _:
                on = self.chance.random() < 0.6
                await self.house.switch(self.places[member], part, on, TARIFF.rate(part))

    async def live(self, steps: int) -> None:
        """Everybody does as they like; then everything ends."""
        moves = {
            self.ask: 4,
            self.rewatch: 1,
            self.feed: 3,
            self.till.tick: 7,
            self.pass_by: 9,
        }
        often = [move for move, times in moves.items() for _ in range(times)]
        for _ in range(steps):
            self.work(self.chance.choice(often)())
            if self.chance.random() < 0.3:
                self.meddle()
            for _ in range(self.chance.choice((1, 5, 60))):
                await turn()
            await self.judge()
        while self.working:
            await turn()
        while self.house.desk.sessions:
            self.house.desk.cue_all(Cue.SERVER_STOPPED)
            await turn()
        for _ in range(50):
            await turn()
        await self.judge()
        assert not self.heard_of
        assert self.till.open_sessions == 0

    def work(self, what: Coroutine[Any, Any, Any]) -> None:
        """Beside what else goes on."""
        task = asyncio.get_running_loop().create_task(what)
        self.working.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[Any]) -> None:
        self.working.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.faults.append(error)


async def lived(directory, seed: int, steps: int) -> Counter[str]:
    """One house from a seed."""
    chance, hall = random.Random(seed), Hall()
    store = InlineStore(directory, str(seed))
    database = await store.open(hall)
    hall.quiet_store = True
    await prepare_ledger(database)
    await hall.furnish(database, chance)
    await hall.open_doors()
    hall.quiet_store = False
    try:
        await hall.live(steps)
        assert hall.faults == []
        assert (await verify(database)).findings == ()
        assert (await reconcile(database)).findings == ()
    except BaseException as error:
        error.add_note(f"PARLOUR_DESK_SEED={seed}")
        raise
    finally:
        await hall.house.close()
        await database.close()
        await store.remove()
    return hall.counts


async def test_some_sessions_are_told_what_they_cost(quick_dir) -> None:
    counts = await lived(quick_dir, random.SystemRandom().randrange(2**32), FEW_STEPS)
    assert counts["Started"]


@pytest.mark.slow
async def test_many_sessions_are_told_what_they_cost(quick_dir) -> None:
    """`PARLOUR_DESK_SEED` gives a seed again."""
    given = os.environ.get("PARLOUR_DESK_SEED")
    first = int(given) if given else random.SystemRandom().randrange(2**32)
    counts: Counter[str] = Counter()
    for seed in range(first, first + (1 if given else HOUSES)):
        counts += await lived(quick_dir, seed, STEPS)
    print(dict(counts))
    if given is None:
        for what in ("cancelled", "connect_failed", "bills", "Paused", "Resumed"):
            assert counts[what], f"no {what} in {HOUSES} houses"
