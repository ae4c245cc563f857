"""A house with pretended engines and a clock that only tests move."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from billing_meter.ledger_store import Balance
from billing_meter.meter import (
    UNLIMITED,
    HeldMedia,
    Leeway,
    Line,
    MeterSnapshot,
    SessionOrder,
    Started,
    Summary,
    Ticked,
)
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Opened, Refused, Switched
from media.api import (
    BOTH_KINDS,
    Answer,
    BusyReason,
    Direction,
    IceDescription,
    IceParameters,
    Kind,
    MediaEvent,
    PeerFigures,
    RefusalCode,
    SdpRefused,
    SourceGone,
    SourceUp,
    ViewerGone,
)
from media.still import Still
from rooms.airing import stream_source
from rooms.asking import Ask
from rooms.directory import ExpertProfile
from rooms.events import Event, Feed, SessionView
from rooms.house import House
from rooms.refusals import Refusal
from rooms.roles import Standing, Visitor, VisitorKind
from tests.turns import turn

NS = 1_000_000_000
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TARIFF = Tariff(299, 100, 50)
FULL_RATE = 299 + 100 + 50
PREMIUM = Standing(premium=True, rank="bronze")
SNAPSHOT = MeterSnapshot("", 0, True, 299, 0, (), 600_000, 0, 0)


class Clock:
    """Monotonic time and the wall clock beside it."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * NS

    def __call__(self) -> int:
        return self.now_ns

    def utc(self) -> datetime:
        return START + timedelta(microseconds=(self.now_ns - 1_000 * NS) // 1000)


class FakeGate:
    """A gate that passes packets while open and remembers whether it ever did."""

    def __init__(self) -> None:
        self.until_ns = 0
        self.last_forwarded_ns: int | None = None

    def take_held(self, now_ns: int) -> Sequence[tuple[int, int]]:
        return ()

    def open_until(self, until_ns: int) -> None:
        self.until_ns = until_ns


Row = tuple[str, str, Kind]


class FakeMedia:
    """The forwarding table as a dictionary; closing tells its end at once, as the real one does."""

    def __init__(self) -> None:
        self.rows: dict[Row, FakeGate | None] = {}
        self.publishers: dict[str, str] = {}
        self.allowed: dict[str, frozenset[Kind]] = {}
        self.viewers: set[str] = set()
        self.log: list[str] = []
        self.on_event: Callable[[MediaEvent], None] = lambda event: None
        self.restarts: dict[tuple[Direction, str], str] = {}
        self.stills: dict[str, Still] = {}
        self.busy: BusyReason | None = None
        self.known: dict[tuple[Direction, str], PeerFigures] = {}
        self.held_back: asyncio.Event | None = None
        self._ids = itertools.count(1)

    async def _work(self, sdp: str) -> None:
        await turn()
        if self.held_back is not None:
            await self.held_back.wait()
        if sdp == "bad":
            raise SdpRefused(RefusalCode.BAD_SDP, "not an offer")

    async def publish(
        self, source_id: str, offer_sdp: str, *, allowed: frozenset[Kind], replace: bool = False
    ) -> Answer:
        await self._work(offer_sdp)
        if source_id in self.publishers:
            if not replace:
                raise SdpRefused(RefusalCode.ALREADY_PUBLISHING, "taken")
            self.close_publisher(source_id, "replaced")
        peer_id = f"peer{next(self._ids)}"
        self.publishers[source_id] = peer_id
        self.allowed[source_id] = allowed
        return Answer("answer", peer_id, "etag")

    async def watch(self, viewer_id: str, offer_sdp: str) -> Answer:
        await self._work(offer_sdp)
        assert viewer_id not in self.viewers
        self.viewers.add(viewer_id)
        return Answer("answer", viewer_id, "etag")

    def ice_session(
        self, direction: Direction, name: str, peer_id: str | None = None
    ) -> IceDescription | None:
        known = self.publishers.get(name) if direction is Direction.PUBLISH else name
        here = name in (self.publishers if direction is Direction.PUBLISH else self.viewers)
        if not here or peer_id not in (None, known):
            return None
        ufrag = self.restarts.get((direction, name), "first")
        return IceDescription(f"ours-{ufrag}", "password", (), ufrag, Kind.AUDIO, ("0",))

    def restart_ice(
        self, direction: Direction, name: str, remote: IceParameters, peer_id: str | None = None
    ) -> IceDescription | None:
        if self.ice_session(direction, name, peer_id) is not None:
            self.restarts[direction, name] = remote.ufrag
        return self.ice_session(direction, name, peer_id)

    def close_publisher(self, source_id: str, reason: str, peer_id: str | None = None) -> None:
        if source_id in self.publishers and peer_id in (None, self.publishers[source_id]):
            self.log.append(f"close {source_id}")
            self.on_event(SourceGone(source_id, self.publishers.pop(source_id), reason))

    def close_viewer(self, viewer_id: str, reason: str) -> None:
        if viewer_id in self.viewers:
            self.viewers.discard(viewer_id)
            for row in [r for r in self.rows if r[1] == viewer_id]:
                del self.rows[row]
            self.on_event(ViewerGone(viewer_id, reason))

    def forward(self, source_id: str, viewer_id: str, kinds: frozenset[Kind] = BOTH_KINDS) -> None:
        for kind in kinds:
            self.rows[source_id, viewer_id, kind] = None

    def forward_gated(self, source_id: str, viewer_id: str, kinds: frozenset[Kind]) -> FakeGate:
        gate = FakeGate()
        for kind in kinds:
            self.rows[source_id, viewer_id, kind] = gate
        self.log.append(f"gate {source_id}")
        return gate

    def stop(self, source_id: str, viewer_id: str, kinds: frozenset[Kind] = BOTH_KINDS) -> None:
        for kind in kinds:
            self.rows.pop((source_id, viewer_id, kind), None)

    def seal(self, source_id: str) -> None:
        self.log.append(f"seal {source_id}")
        for row in [r for r in self.rows if r[0] == source_id]:
            del self.rows[row]

    def still(self, source_id: str) -> Still | None:
        self.log.append(f"still {source_id}")
        return self.stills.get(source_id)

    def set_viewport(self, viewer_id: str, width: int, height: int) -> None:
        self.log.append(f"viewport {viewer_id} {width}x{height}")

    def figures(self, direction: Direction, name: str) -> PeerFigures | None:
        self.log.append(f"figures {direction} {name}")
        return self.known.get((direction, name))

    def receivers(self, source_id: str) -> set[str]:
        """Who has any row of this source."""
        return {viewer for source, viewer, _ in self.rows if source == source_id}

    def kinds(self, source_id: str, viewer_id: str) -> set[Kind]:
        """Which kinds of this source the viewer has a row for."""
        return {k for s, v, k in self.rows if s == source_id and v == viewer_id}


class FakeTill:
    """Says yes at once, unless told otherwise; opens gates of sessions that are open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.orders: dict[str, SessionOrder] = {}
        self.on: dict[str, set[Component]] = {}
        self.gates: dict[tuple[str, Component], FakeGate] = {}
        self.closed: dict[str, str] = {}
        self.cuts: dict[str, str] = {}
        self.on_look: Callable[[str], None] = lambda session_id: None
        self.refuse: Refused | None = None
        self.broken = False
        self.media_seen = True
        self.held_back: asyncio.Event | None = None
        self.log: list[str] = []

    async def _work(self) -> None:
        await turn()
        if self.held_back is not None:
            await self.held_back.wait()
        if self.broken:
            raise ConnectionError("the ledger is gone")

    async def open(self, order: SessionOrder) -> Opened | Refused:
        await self._work()
        if self.refuse is not None:
            return self.refuse
        assert order.session_id not in self.orders
        self.orders[order.session_id] = order
        self.on[order.session_id] = {Component.PRIVATE, *order.wanted}
        return Opened(SNAPSHOT)

    def attach(self, session_id: str, component: Component, gate: HeldMedia) -> None:
        assert session_id in self.orders, "a gate before a grant"
        assert session_id not in self.closed, "a gate after the end"
        assert isinstance(gate, FakeGate)
        old = self.gates.get((session_id, component))
        if old is not None:
            old.open_until(0)
        self.gates[session_id, component] = gate
        if component in self.on[session_id]:
            gate.open_until(self._clock.now_ns + 8 * NS)

    async def switch(self, session_id: str, component: Component, on: bool) -> Switched | Refused:
        self.log.append(f"switch {component.value} {on}")
        if not on:
            self.on[session_id].discard(component)
            if (session_id, component) in self.gates:
                self.gates[session_id, component].open_until(0)
        await self._work()
        if self.refuse is not None:
            return self.refuse
        if on:
            self.on[session_id].add(component)
        return Switched(SNAPSHOT)

    def look(self, session_id: str) -> None:
        self.on_look(session_id)

    def cut(self, session_id: str, reason: str) -> None:
        assert session_id in self.orders
        assert session_id not in self.cuts, "cut twice"
        self.cuts[session_id] = reason
        for (owner, _), gate in self.gates.items():
            if owner == session_id:
                gate.open_until(0)

    async def close(self, session_id: str, reason: str) -> Summary:
        assert self.cuts.get(session_id, reason) == reason
        for (owner, _), gate in self.gates.items():
            if owner == session_id:
                gate.open_until(0)
        await self._work()
        assert session_id in self.orders
        assert session_id not in self.closed, "closed twice"
        self.closed[session_id] = reason
        line = Line(Component.PRIVATE, True, 299, 7, 2093)
        ended = self._clock.utc()
        started = ended - timedelta(seconds=7) if self.media_seen else None
        return Summary(session_id, 7_400, 2093, (line,), 500_000, 1255, reason, started, ended)


class FakePurse:
    """Balances by member."""

    def __init__(self) -> None:
        self.units: dict[str, int] = {}
        self.leeways: dict[str, Leeway] = {}
        self.writable = True

    async def leeway(self, member_id: str) -> Leeway:
        await turn()
        return self.leeways.get(member_id, UNLIMITED)

    async def balance(self, member_id: str) -> Balance:
        await turn()
        return Balance(self.units.get(member_id, 600_000), 0, 0)


class FakeDirectory:
    """Experts by name; every member is premium unless listed as basic."""

    def __init__(self) -> None:
        self.profiles: dict[str, ExpertProfile] = {}
        self.basic: set[str] = set()
        self.extras_until_ms: dict[str, int] = {}

    def add(self, name: str, *, cam2cam: bool = True, two_way_audio: bool = True) -> None:
        self.profiles[name] = ExpertProfile(
            expert_id=name,
            name=name,
            display_name=name.title(),
            headline="Cards and stars",
            about="About me",
            categories=("tarot",),
            languages=("en",),
            tariff=TARIFF,
            cam2cam=cam2cam,
            two_way_audio=two_way_audio,
        )

    def experts(self) -> Sequence[ExpertProfile]:
        return list(self.profiles.values())

    def expert(self, expert_id: str) -> ExpertProfile | None:
        return self.profiles.get(expert_id)

    def expert_by_name(self, name: str) -> ExpertProfile | None:
        return self.profiles.get(name.lower())

    async def standing(self, visitor: Visitor) -> Standing:
        await turn()
        premium = visitor.kind is VisitorKind.MEMBER and visitor.account_id not in self.basic
        until_ms = self.extras_until_ms.get(visitor.account_id)
        return Standing(premium, "bronze" if premium else "none", until_ms)


@dataclass
class World:
    """Everything of one test, and shorthands for what people do."""

    clock: Clock = field(default_factory=Clock)
    media: FakeMedia = field(default_factory=FakeMedia)
    directory: FakeDirectory = field(default_factory=FakeDirectory)
    purse: FakePurse = field(default_factory=FakePurse)
    told: list[tuple[str, Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        ids = itertools.count(1)
        self.till = FakeTill(self.clock)
        self.directory.add("luna")
        self.house = House(
            self.media,
            self.till,
            self.purse,
            self.directory,
            clock_ns=self.clock,
            utc_now=self.clock.utc,
            new_id=lambda: f"id{next(ids)}",
        )
        self.media.on_event = self.house.on_media
        self.house.emit = lambda place_id, event: self.told.append((place_id, event))

    # --- time ---------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Let everything that was started come to rest."""
        for _ in range(20):
            await turn()

    async def pass_s(self, seconds: float) -> None:
        """Time passes; whatever is due happens at its own instant."""
        end_ns = self.clock.now_ns + round(seconds * NS)
        deadlines = self.house.floor.deadlines
        while (next_ns := deadlines.next_ns) is not None and next_ns <= end_ns:
            self.clock.now_ns = max(self.clock.now_ns, next_ns)
            self.house.tick(self.clock.now_ns)
            await self.settle()
        self.clock.now_ns = end_ns

    # --- people -------------------------------------------------------------------------------

    def arrive(self, kind: VisitorKind, name: str, *, premium: bool = False) -> str:
        standing = PREMIUM if premium else Standing()
        place_id = self.house.lobby.arrive(Visitor(kind, name, name), standing)
        assert isinstance(place_id, str)
        return place_id

    def enter(self, place_id: str, expert: str = "luna") -> None:
        assert not isinstance(self.house.lobby.enter(place_id, expert), Refusal)

    def guest(self, name: str = "guest") -> str:
        place_id = self.arrive(VisitorKind.GUEST, name)
        self.enter(place_id)
        return place_id

    def member(self, name: str = "mia", *, premium: bool = True) -> str:
        place_id = self.arrive(VisitorKind.MEMBER, name, premium=premium)
        self.enter(place_id)
        return place_id

    def expert(self, name: str = "luna") -> str:
        place_id = self.arrive(VisitorKind.EXPERT, name)
        self.enter(place_id, name)
        return place_id

    async def live_expert(self, name: str = "luna") -> str:
        """An expert whose browser sends pictures and sound."""
        place_id = self.expert(name)
        answer = await self.house.publish(place_id, Feed.STREAM, "offer")
        assert isinstance(answer, Answer)
        self.house.on_media(SourceUp(stream_source(name), BOTH_KINDS))
        return place_id

    async def watch(self, place_id: str, feed: Feed = Feed.STREAM) -> str:
        """The place's viewer id."""
        before = set(self.media.viewers)
        answer = await self.house.watch(place_id, feed, "offer")
        assert isinstance(answer, Answer), answer
        (viewer_id,) = self.media.viewers - before
        return viewer_id

    # --- private sessions ---------------------------------------------------------------------

    async def request(self, place_id: str, *wanted: Component) -> SessionView:
        rate = TARIFF.total({Component.PRIVATE, *wanted})
        view = await self.house.request_private(place_id, Ask(rate, frozenset(wanted)))
        assert isinstance(view, SessionView), view
        return view

    async def active(self, member: str, expert: str, *wanted: Component) -> str:
        """A running session of these two; its id."""
        view = await self.request(member, *wanted)
        assert self.house.accept(expert, view.session_id) is None
        await self.settle()
        self.house.on_meter(view.session_id, Started(self.clock.now_ns))
        return view.session_id

    def tick_meter(self, session_id: str, held_ms: int) -> None:
        snapshot = MeterSnapshot(session_id, held_ms, False, 299, 299, (), 1000, 3, 180)
        self.house.on_meter(session_id, Ticked(snapshot))

    # --- what was heard -----------------------------------------------------------------------

    def heard(self, place_id: str, kind: type) -> list:
        return [e for p, e in self.told if p == place_id and isinstance(e, kind)]
