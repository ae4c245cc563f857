"""People at random in a house, and an oracle that says who may receive what at any instant.

The oracle believes only what people were told and what they did; it never asks the house.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from billing_meter.meter import Exhausted, LedgerLost, Paused, Resumed, Started
from billing_meter.tariff import Component
from billing_meter.till import Refused
from media.api import BOTH_KINDS, Answer, Kind, SourceFresh, SourceStale, SourceUp
from rooms.airing import Connected, stream_source
from rooms.asking import Ask
from rooms.events import Feed, SessionChanged, SessionSummary, SessionView
from rooms.member_feed import feed_source
from rooms.private import EndReason, Phase, PrivateSession
from rooms.refusals import Refusal
from rooms.roles import Visitor, VisitorKind
from tests.rooms.world import PREMIUM, TARIFF, FakeGate, World

EXPERTS = ("luna", "nova")
KIND_OF = {Component.CAM2CAM: Kind.VIDEO, Component.TWO_WAY_AUDIO: Kind.AUDIO}
IN_PRIVATE = (Phase.CONNECTING, Phase.ACTIVE, Phase.PAUSED)


@dataclass
class Person:
    """One tab. `room` is where it believes to be."""

    place: str
    kind: VisitorKind
    name: str
    room: str | None = None
    connected: bool = True
    viewer: str | None = None


@dataclass
class Known:
    """What was said about a session."""

    expert: str
    member: str
    view: SessionView
    ended: int = 0


class Town:
    """Every method is something that may happen; `pick` chooses among what there is."""

    def __init__(self) -> None:
        self.world = World()
        self.world.directory.add("nova")
        self.people: list[Person] = []
        self.public: dict[str, str] = {}
        self.feed_viewers: dict[str, str] = {}
        self.sessions: dict[str, Known] = {}
        self.summaries: dict[tuple[str, str], int] = {}
        self._read = 0
        floor = self.world.house.floor
        tell_session = floor.tell_session

        def overhear(session: PrivateSession) -> None:
            """Both sides may have lost their connections; what would be said counts."""
            self._learn(floor.session_view(session, is_expert=False))
            tell_session(session)

        floor.tell_session = overhear

    # --- helpers ------------------------------------------------------------------------------

    def _one(self, pick: int, **wanted: object) -> Person | None:
        fitting = [
            p for p in self.people if all(getattr(p, name) == v for name, v in wanted.items())
        ]
        return fitting[pick % len(fitting)] if fitting else None

    async def _after(self) -> None:
        """Let things come to rest, and read what was told, in order, checking as we go."""
        await self.world.settle()
        self._read_told()

    def _read_told(self) -> None:
        told = self.world.told[self._read :]
        self._read = len(self.world.told)
        for place, event in told:
            match event:
                case SessionChanged(session=view):
                    assert view.session_id in self.sessions
                case SessionSummary(summary=summary, for_expert=for_expert):
                    key = (place, summary.session_id)
                    self.summaries[key] = self.summaries.get(key, 0) + 1
                    assert self.summaries[key] == 1, "two bills"
                    assert for_expert == (self._person(place).kind is VisitorKind.EXPERT)

    def _learn(self, view: SessionView) -> None:
        known = self.sessions.get(view.session_id)
        if known is None:
            self.sessions[view.session_id] = Known(view.expert_name, view.member_name, view)
            return
        assert known.view.phase is not Phase.ENDED or view.phase is Phase.ENDED, "rose again"
        known.view = view

    def _person(self, place: str) -> Person:
        return next(p for p in self.people if p.place == place)

    def running(self, expert: str) -> Known | None:
        """The session that has this expert now, as far as people were told."""
        there = [
            s
            for s in self.sessions.values()
            if s.expert == expert and s.view.phase is not Phase.ENDED
        ]
        assert len(there) <= 1, "two sessions of one expert"
        return there[0] if there else None

    # --- what may happen ----------------------------------------------------------------------

    async def arrive(self, pick: int) -> None:
        kind = list(VisitorKind)[pick % 3]
        room = EXPERTS[pick // 3 % 2]
        name = room if kind is VisitorKind.EXPERT else f"{kind.value}{pick // 6 % 3}"
        if len(self.people) > 12:
            return
        place = self.world.arrive(kind, name, premium=kind is VisitorKind.MEMBER)
        person = Person(place, kind, name, room)
        self.people.append(person)
        self.world.enter(place, room)
        self._adopt(person)

    def _adopt(self, person: Person) -> None:
        """A lost tab of the same member gives its place up when a session is taken over."""
        if person.room is None or person.kind is not VisitorKind.MEMBER:
            return
        known = self.running(person.room)
        if known is None or known.member != person.name:
            return
        for old in [p for p in self.people if p.name == person.name and not p.connected]:
            if old.place not in self.world.house.floor.places:
                self.people.remove(old)

    async def depart(self, pick: int) -> None:
        person = self._one(pick, connected=True)
        if person is not None:
            self.people.remove(person)
            self.world.house.lobby.depart(person.place)

    async def lose(self, pick: int) -> None:
        person = self._one(pick, connected=True)
        if person is not None:
            person.connected = False
            self.world.house.lobby.lose(person.place)

    async def come_back(self, pick: int) -> None:
        person = self._one(pick, connected=False)
        if person is None:
            return
        visitor = Visitor(person.kind, person.name, person.name)
        if self.world.house.lobby.resume(person.place, visitor, PREMIUM):
            person.connected = True
            for event in self.world.house.lobby.missed(person.place):
                self.world.told.append((person.place, event))

    async def go_live(self, pick: int) -> None:
        person = self._one(pick, connected=True, kind=VisitorKind.EXPERT)
        if person is None:
            return
        self.world.house.floor.spawn(self._publish(person, by_browser=pick % 2 == 1))

    async def _publish(self, person: Person, *, by_browser: bool) -> None:
        house = self.world.house
        if by_browser:
            answer = await house.publish(person.place, Feed.STREAM, "offer")
        else:
            answer = await house.publish_encoder(person.name, "offer")
        if not isinstance(answer, Refusal):
            house.on_media(SourceUp(stream_source(person.name), BOTH_KINDS))

    async def go_offline(self, pick: int) -> None:
        person = self._one(pick, connected=True, kind=VisitorKind.EXPERT)
        if person is not None:
            self.world.house.go_offline(person.place)

    async def stream_falters(self, pick: int) -> None:
        source = stream_source(EXPERTS[pick % 2])
        event = SourceFresh(source) if pick % 4 < 2 else SourceStale(source, 0)
        self.world.house.on_media(event)

    async def stream_breaks(self, pick: int) -> None:
        self.world.media.close_publisher(stream_source(EXPERTS[pick % 2]), "timeout")

    async def watch(self, pick: int) -> None:
        person = self._one(pick, connected=True)
        if person is not None:
            self.world.house.floor.spawn(self._watch(person))

    async def _watch(self, person: Person) -> None:
        answer = await self.world.house.watch(person.place, Feed.STREAM, "offer")
        if isinstance(answer, Answer):
            person.viewer = answer.peer_id

    async def offers(self, pick: int) -> None:
        """Offers take their time, or are answered at once again."""
        media = self.world.media
        if media.held_back is not None:
            media.held_back.set()
        media.held_back = asyncio.Event() if pick % 3 == 0 else None

    async def watch_public(self, pick: int) -> None:
        expert = EXPERTS[pick % 2]
        self.world.house.floor.spawn(self._watch_public(expert))

    async def _watch_public(self, expert: str) -> None:
        player = await self.world.house.watch_public(expert, "offer")
        if isinstance(player, Connected):
            self.public[player.resource] = expert

    async def unwatch(self, pick: int) -> None:
        person = self._one(pick, connected=True)
        if person is not None:
            self.world.house.unwatch(person.place, Feed.STREAM)

    async def ask(self, pick: int) -> None:
        person = self._one(pick, connected=True, kind=VisitorKind.MEMBER)
        if person is None:
            return
        wanted = frozenset([Component.CAM2CAM] if pick % 3 == 0 else [])
        rate = TARIFF.total({Component.PRIVATE, *wanted})
        view = await self.world.house.request_private(person.place, Ask(rate, wanted))
        if isinstance(view, SessionView):
            assert self.running(view.expert_name) in (None, self.sessions.get(view.session_id))
            self._learn(view)

    async def answer(self, pick: int) -> None:
        person = self._one(pick, connected=True, kind=VisitorKind.EXPERT)
        known = self.running(person.name) if person else None
        if person is None or known is None:
            return
        act = self.world.house.decline if pick % 5 == 0 else self.world.house.accept
        act(person.place, known.view.session_id)

    async def stop(self, pick: int) -> None:
        person = self._one(pick, connected=True)
        if person is not None:
            act = self.world.house.cancel if pick % 3 == 0 else self.world.house.end
            act(person.place)

    async def packets(self, pick: int) -> None:
        """The meter sees media of a session, or none any more."""
        for session_id in list(self.world.till.orders):
            if session_id in self.world.till.closed:
                continue
            gate = self.world.till.gates.get((session_id, Component.PRIVATE))
            if gate is None:
                continue
            event = [Started(0), Resumed(), Paused(0), Resumed()][pick % 4]
            self.world.house.on_meter(session_id, event)

    async def money_ends(self, pick: int) -> None:
        orders = list(self.world.till.orders)
        if orders:
            event = Exhausted() if pick % 2 else LedgerLost()
            self.world.house.on_meter(orders[pick % len(orders)], event)

    async def ledger(self, pick: int) -> None:
        """The till stands still, says no, or works again."""
        till = self.world.till
        if till.held_back is not None:
            till.held_back.set()
        till.held_back = asyncio.Event() if pick % 4 == 0 else None
        till.refuse = Refused("insufficient_credits") if pick % 4 == 1 else None

    def _member(self, pick: int) -> Person | None:
        """Mostly one who is in a session, if anybody is."""
        busy = {s.member for s in self.sessions.values() if s.view.phase in IN_PRIVATE}
        there = [p for p in self.people if p.connected and p.name in busy]
        if there and pick % 5:
            return there[pick % len(there)]
        return self._one(pick, connected=True, kind=VisitorKind.MEMBER)

    async def switch(self, pick: int) -> None:
        person = self._member(pick)
        if person is None:
            return
        component = (Component.CAM2CAM, Component.TWO_WAY_AUDIO)[pick % 2]
        on, rate = pick % 4 < 2, TARIFF.rate(component)
        work = self.world.house.switch(person.place, component, on, rate if on else 0)
        self.world.house.floor.spawn(_forget_answer(work))

    async def send_feed(self, pick: int) -> None:
        person = self._member(pick)
        if person is not None:
            work = self.world.house.publish(person.place, Feed.PRIVATE, "offer")
            self.world.house.floor.spawn(_forget_answer(work))

    async def see_feed(self, pick: int) -> None:
        person = self._one(pick, connected=True)
        if pick % 3:
            person = self._one(pick, connected=True, kind=VisitorKind.EXPERT)
        if person is not None:
            self.world.house.floor.spawn(self._see_feed(person))

    async def _see_feed(self, person: Person) -> None:
        answer = await self.world.house.watch(person.place, Feed.PRIVATE, "offer")
        if isinstance(answer, Answer):
            self.feed_viewers[answer.peer_id] = person.name
            assert person.kind is VisitorKind.EXPERT

    async def session_starts(self, pick: int) -> None:
        """A request, an answer and the first packet, if nothing speaks against it."""
        await self.ask(pick)
        await self.answer(1)
        await self._after()
        await self.packets(0)

    async def face_is_shown(self, pick: int) -> None:
        """The member sends, the expert looks, a switch is pressed."""
        await self.send_feed(pick)
        await self.see_feed(pick // 2)
        await self._after()
        await self.switch(pick)

    async def wait(self, pick: int) -> None:
        await self.world.pass_s((0.3, 1, 6, 16, 31)[pick % 5])
        for person in [p for p in self.people if p.place not in self.world.house.floor.places]:
            assert not person.connected
            self.people.remove(person)

    OPERATIONS = (
        arrive,
        arrive,
        depart,
        lose,
        come_back,
        go_live,
        go_live,
        go_offline,
        stream_falters,
        stream_breaks,
        watch,
        watch,
        watch,
        watch_public,
        unwatch,
        ask,
        ask,
        answer,
        answer,
        stop,
        packets,
        packets,
        money_ends,
        ledger,
        offers,
        switch,
        switch,
        send_feed,
        see_feed,
        session_starts,
        session_starts,
        session_starts,
        face_is_shown,
        face_is_shown,
        face_is_shown,
        wait,
    )

    async def evening(self) -> None:
        """Luna is live; two members and a guest watch."""
        for pick in (2, 1, 7, 0):
            await self.arrive(pick)
        await self.go_live(1)
        await self._after()
        for pick in range(4):
            await self.watch(pick)
        await self._after()
        self.check()

    async def do(self, operation: int, pick: int) -> str:
        """One thing happens, then everything is checked; the name of what happened."""
        act = self.OPERATIONS[operation % len(self.OPERATIONS)]
        await act(self, pick)
        await self._after()
        self.check()
        return act.__name__

    # --- the oracle ---------------------------------------------------------------------------

    def check(self) -> None:
        """Nobody receives who may not; no gate is open without a grant."""
        for expert in EXPERTS:
            self._check_stream(expert)
        for session_id, known in self.sessions.items():
            self._check_feed(session_id, known)
        self._check_gates()

    def _check_stream(self, expert: str) -> None:
        source = stream_source(expert)
        receivers, known = self.world.media.receivers(source), self.running(expert)
        if known is None or known.view.phase is Phase.RINGING:
            viewers = {p.viewer for p in self.people if p.room == expert}
            viewers |= {viewer for viewer, where in self.public.items() if where == expert}
            assert receivers <= viewers, "a stranger receives"
            return
        gates = [gate for row, gate in self.world.media.rows.items() if row[0] == source]
        assert None not in gates, "a free row in private"
        if known.view.phase is Phase.ENDING:
            assert receivers == set(), "somebody receives after the end"
            return
        its_own = {
            p.viewer
            for p in self.people
            if p.room == expert and p.kind is VisitorKind.MEMBER and p.name == known.member
        }
        assert receivers <= its_own, "somebody else receives in private"
        assert len(receivers) <= 1

    def _check_feed(self, session_id: str, known: Known) -> None:
        source = feed_source(session_id)
        rows = [(v, k, g) for (s, v, k), g in self.world.media.rows.items() if s == source]
        if known.view.phase not in (Phase.ACTIVE, Phase.PAUSED):
            assert rows == [], "the member's feed outside a running session"
            if known.view.phase not in IN_PRIVATE:
                assert source not in self.world.media.publishers
            return
        on = {kind for component, kind in KIND_OF.items() if getattr(known.view, component.value)}
        for viewer, kind, gate in rows:
            assert self.feed_viewers[viewer] == known.expert, "not the expert"
            assert kind in on, "a kind that is switched off"
            assert isinstance(gate, FakeGate)

    def _check_gates(self) -> None:
        now_ns, till = self.world.clock.now_ns, self.world.till
        for row, gate in self.world.media.rows.items():
            if gate is None or gate.until_ns <= now_ns:
                continue
            owners = [key for key, known in till.gates.items() if known is gate]
            assert owners, f"an open gate without a grant: {row}"
            ((session_id, component),) = owners
            assert session_id not in till.closed
            assert component in till.on[session_id]

    async def finish(self) -> None:
        """Everybody goes home: every session has ended once, and the till knows."""
        till = self.world.till
        if till.held_back is not None:
            till.held_back.set()
        till.held_back = till.refuse = None
        if self.world.media.held_back is not None:
            self.world.media.held_back.set()
        self.world.media.held_back = None
        await self._after()
        for person in list(self.people):
            self.world.house.lobby.depart(person.place)
        for viewer, expert in self.public.items():
            self.world.house.end_public(expert, viewer)
        for expert in EXPERTS:
            self.world.house.go_off_air(expert)
        await self._after()
        await self.world.pass_s(60)
        house = self.world.house
        assert house.desk.sessions == {}
        assert set(till.closed) == set(till.orders), "an opened session was never closed"
        assert all(reason in [r.value for r in EndReason] for reason in till.closed.values())
        assert self.world.media.rows == {}
        assert self.world.media.viewers == set()
        assert self.world.media.publishers == {}
        assert house.floor.places == {}
        assert house.floor.rooms == {}
        assert house.airing.watchers == {}


async def _forget_answer(work: Awaitable[object]) -> None:
    await work
