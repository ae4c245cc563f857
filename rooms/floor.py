"""What the parts of the house share: places, rooms, deadlines, and how to tell people things."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from billing_meter.ledger_store import utc_ms
from billing_meter.tariff import Component
from rooms.deadlines import Deadlines, Due, Key
from rooms.directory import Directory, ExpertProfile
from rooms.events import (
    Card,
    CardChanged,
    CardGone,
    Event,
    RoomChanged,
    RoomView,
    SessionChanged,
    SessionSummary,
    SessionView,
    Wall,
)
from rooms.limits import CARD_DELAY_NS
from rooms.private import Phase, PrivateSession
from rooms.roles import Role, Standing, Visitor, VisitorKind, role_of
from rooms.room import Room

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Place:
    """A visitor's place in the house. It outlives its connection by `PLACE_KEPT_NS`."""

    place_id: str
    visitor: Visitor
    standing: Standing
    connected: bool = True
    expert_id: str | None = None
    hosting: bool = False
    told: tuple[Card, Wall] | None = None
    missed: list[SessionSummary] = field(default_factory=list)

    @property
    def role(self) -> Role:
        """The visitor's role where they are."""
        return role_of(self.visitor, hosting=self.hosting)


class Floor:
    """State that presence, airing and private sessions all touch; synchronous throughout."""

    def __init__(
        self,
        directory: Directory,
        *,
        clock_ns: Callable[[], int],
        utc_now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self.directory = directory
        self.clock_ns = clock_ns
        self.utc_now = utc_now
        self.new_id = new_id
        self.emit: Callable[[str, Event], None] = lambda place_id, event: None
        self.places: dict[str, Place] = {}
        self._places_of: dict[tuple[VisitorKind, str], dict[str, Place]] = {}
        self.rooms: dict[str, Room] = {}
        self.grid: dict[str, None] = {}
        self.deadlines = Deadlines()
        self.draining = False
        self.deadline_set = asyncio.Event()
        self._shown: dict[str, Card] = {}
        self._withdrawn: dict[str, ExpertProfile] = {}  # of experts whose room is not empty yet
        self._tasks: set[asyncio.Task[None]] = set()

    def utc_ms(self) -> int:
        """Now, for labels that people read."""
        return utc_ms(self.utc_now())

    # --- finding ------------------------------------------------------------------------------

    def room(self, expert_id: str) -> Room:
        """The expert's room, made on first use."""
        room = self.rooms.get(expert_id)
        if room is None:
            room = self.rooms[expert_id] = Room(expert_id)
        return room

    def room_of(self, place: Place) -> Room | None:
        """The room that the place is in."""
        return None if place.expert_id is None else self.room(place.expert_id)

    def places_of(self, visitor_key: tuple[VisitorKind, str]) -> list[Place]:
        """Every place of one person, in order of arrival."""
        return list(self._places_of.get(visitor_key, {}).values())

    def has_members(self) -> bool:
        """Whether any member is here, in whatever place."""
        return any(kind is VisitorKind.MEMBER for kind, _ in self._places_of)

    def add_place(self, place: Place) -> None:
        """A new place."""
        self.places[place.place_id] = place
        self._places_of.setdefault(place.visitor.key, {})[place.place_id] = place

    def remove_place(self, place: Place) -> None:
        """The place is gone."""
        del self.places[place.place_id]
        of_person = self._places_of[place.visitor.key]
        del of_person[place.place_id]
        if not of_person:
            del self._places_of[place.visitor.key]

    def somebody_at_desk(self, room: Room) -> bool:
        """Whether a connected studio attends the room."""
        return any(self.places[p].connected for p in room.hosts)

    def parties(self, session: PrivateSession) -> Iterator[tuple[str, bool]]:
        """The places of a session's two people, and whether each is the expert's."""
        yield session.member_place, False
        for place_id in self.room(session.expert_id).hosts:
            yield place_id, True

    # --- views --------------------------------------------------------------------------------

    def card(self, profile: ExpertProfile) -> Card:
        """What the public sees of this expert now."""
        room = self.rooms.get(profile.expert_id) or Room(profile.expert_id)
        shown = room.presence.shown(self.clock_ns())
        return Card(
            expert_id=profile.expert_id,
            name=profile.name,
            display_name=profile.display_name,
            headline=profile.headline,
            categories=profile.categories,
            languages=profile.languages,
            state=shown.state,
            notice=shown.notice,
            has_sound=room.has_sound,
            cam2cam=profile.cam2cam,
            two_way_audio=profile.two_way_audio,
            tariff=profile.tariff,
            viewers=room.viewer_count,
        )

    def session_view(self, session: PrivateSession, *, is_expert: bool) -> SessionView:
        """The session as this one of its two sees it."""
        now_ns = self.clock_ns()
        return SessionView(
            session_id=session.session_id,
            phase=session.phase,
            expert_name=session.expert_name,
            member_name=session.member_name,
            tariff=session.tariff,
            cam2cam=Component.CAM2CAM in session.on,
            two_way_audio=Component.TWO_WAY_AUDIO in session.on,
            cam2cam_possible=Component.CAM2CAM in session.possible,
            two_way_audio_possible=Component.TWO_WAY_AUDIO in session.possible,
            ring_ms_left=session.ms_left(Phase.RINGING, now_ns),
            grace_ms_left=session.ms_left(Phase.PAUSED, now_ns),
            reason=None if session.reason is None else session.reason.told(is_expert),
        )

    def room_view(self, place: Place, room: Room, profile: ExpertProfile) -> RoomView:
        """The room as this visitor sees it."""
        card, wall = self.card(profile), room.wall(place.place_id, self.clock_ns())
        place.told = (card, wall)
        session = room.session
        if session is not None and not self.is_party(place, session):
            session = None
        view = None if session is None else self.session_view(session, is_expert=place.hosting)
        return RoomView(
            card=card,
            about=profile.about,
            hosting=place.hosting,
            role=place.role,
            chat=room.chat_of(place.place_id).last_lines,
            wall=wall,
            session=view,
        )

    def is_party(self, place: Place, session: PrivateSession) -> bool:
        """Whether this place is one of the session's two sides."""
        hosts_it = place.hosting and place.expert_id == session.expert_id
        return hosts_it or session.is_party(place.place_id)

    # --- telling ------------------------------------------------------------------------------

    def tell(self, place_id: str, event: Event) -> None:
        """Tell one visitor. A summary that finds nobody waits for the visitor to come back."""
        place = self.places.get(place_id)
        if place is None:
            return
        if place.connected:
            self.emit(place_id, event)
        elif isinstance(event, SessionSummary):
            place.missed.append(event)

    def tell_session(self, session: PrivateSession) -> None:
        """Tell both sides where their session is."""
        for place_id, is_expert in self.parties(session):
            view = self.session_view(session, is_expert=is_expert)
            self.tell(place_id, SessionChanged(view))

    def announce(self, expert_id: str) -> None:
        """Tell the room and the grid whatever they do not know yet."""
        known = self.directory.expert(expert_id)
        profile = known or self._withdrawn.get(expert_id)
        if profile is None:
            return
        room, now_ns, card = self.room(expert_id), self.clock_ns(), self.card(profile)
        for place_id in room.places:
            place, wall = self.places[place_id], room.wall(place_id, now_ns)
            if place.told != (card, wall):
                place.told = (card, wall)
                self.tell(place_id, RoomChanged(card, wall))
        if known is not None and self._shown.get(expert_id) != card:
            self._shown[expert_id] = card
            for place_id in self.grid:
                self.tell(place_id, CardChanged(card))
        changes_ns = room.presence.next_change_ns(now_ns)
        self.set_deadline(Key(Due.NOTICE, expert_id), changes_ns)
        if room.deserted and changes_ns is None:
            del self.rooms[expert_id]
            self._withdrawn.pop(expert_id, None)

    def withdraw(self, profile: ExpertProfile) -> None:
        """The grid loses this expert's card; who is still in the room hears how it ends there."""
        self._shown.pop(profile.expert_id, None)
        if profile.expert_id in self.rooms:
            self._withdrawn[profile.expert_id] = profile
        for place_id in self.grid:
            self.tell(place_id, CardGone(profile.name))

    def announce_soon(self, expert_id: str) -> None:
        """Something that changes often changed (a viewer count): tell, but not each time."""
        at_ns = self.clock_ns() + CARD_DELAY_NS
        if self.deadlines.set_unless_set(Key(Due.CARD, expert_id), at_ns):
            self.deadline_set.set()

    # --- time and tasks -----------------------------------------------------------------------

    def set_deadline(self, key: Key, at_ns: int | None) -> None:
        """Set, move or (None) cancel a deadline."""
        if at_ns is None:
            self.deadlines.cancel(key)
        else:
            self.deadlines.set(key, at_ns)
            self.deadline_set.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work that must outlive the connection which asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def finish_tasks(self, within_s: float) -> None:
        """Wait until all spawned work is done, but not for ever."""
        deadline_s = asyncio.get_running_loop().time() + within_s
        while self._tasks and (left_s := deadline_s - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left_s)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work in the house failed", exc_info=task.exception())
