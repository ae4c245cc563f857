"""The lobby: who has a place in the house, which room they are in, and what they say there."""

from collections.abc import Callable

from rooms.airing import Airing
from rooms.bucket import BucketSet
from rooms.chat import Author, ChatLine, ChatLog
from rooms.deadlines import Due, Key
from rooms.events import (
    Card,
    ChatPosted,
    Incoming,
    Left,
    LeftReason,
    RoomView,
    SessionSummary,
)
from rooms.floor import Floor, Place
from rooms.limits import (
    BUCKETS_MAX,
    CHAT_BURST,
    CHAT_REFILL_PER_S,
    PLACE_KEPT_NS,
    PLACES_MAX,
)
from rooms.presence import PresenceState
from rooms.private import Cue, Phase
from rooms.private_desk import PrivateDesk
from rooms.refusals import Code, Refusal
from rooms.rights import Feature, locked
from rooms.roles import Standing, Visitor, VisitorKind

GONE = frozenset({PresenceState.GOING_OFFLINE, PresenceState.OFFLINE})


class Lobby:
    """Places, rooms and chat. A method that may say no returns a `Refusal` instead."""

    def __init__(self, floor: Floor, airing: Airing, desk: PrivateDesk) -> None:
        self._floor = floor
        self._airing = airing
        self._desk = desk
        self._chat_buckets = BucketSet(CHAT_REFILL_PER_S, CHAT_BURST, BUCKETS_MAX)
        self.on_departed: Callable[[str], None] = lambda place_id: None

    # --- places -------------------------------------------------------------------------------

    def arrive(self, visitor: Visitor, standing: Standing) -> str | Refusal:
        """A new connection gets a place."""
        if len(self._floor.places) >= PLACES_MAX:
            return Refusal(Code.OVERLOADED)
        place_id = self._floor.new_id()
        self._floor.add_place(Place(place_id, visitor, standing))
        return place_id

    def resume(self, place_id: str, visitor: Visitor, standing: Standing) -> bool:
        """A lost connection is back: True if its place was kept, and was this visitor's."""
        place = self._floor.places.get(place_id)
        if place is None or place.visitor.key != visitor.key:
            return False
        place.visitor, place.standing, place.connected = visitor, standing, True
        self._floor.set_deadline(Key(Due.PLACE, place_id), None)
        return True

    def current_view(self, place_id: str) -> RoomView | None:
        """The room as a resumed visitor should see it, if they are in one."""
        place = self._floor.places[place_id]
        profile = self._floor.directory.expert(place.expert_id or "")
        room = self._floor.room_of(place)
        if room is None or profile is None:
            return None
        return self._floor.room_view(place, room, profile)

    def missed(self, place_id: str) -> list[Incoming | SessionSummary]:
        """What a resumed visitor must still hear: a ringing request, summaries. Only once."""
        place = self._floor.places[place_id]
        missed: list[Incoming | SessionSummary] = list(place.missed)
        place.missed.clear()
        live = self._desk.of_place(place)
        if live is not None and place.hosting and live.session.phase is Phase.RINGING:
            missed.append(self._desk.incoming(live))
        return missed

    def lose(self, place_id: str) -> None:
        """The connection broke: media goes on, and the place is kept for a while."""
        place = self._floor.places.get(place_id)
        if place is not None and place.connected:
            place.connected = False
            self._floor.grid.pop(place_id, None)
            at_ns = self._floor.clock_ns() + PLACE_KEPT_NS
            self._floor.set_deadline(Key(Due.PLACE, place_id), at_ns)

    def depart(self, place_id: str) -> None:
        """The place is given up: media stops, a session ends."""
        place = self._floor.places.get(place_id)
        if place is None:
            return
        self._leave(place)
        self._floor.set_deadline(Key(Due.PLACE, place_id), None)
        self._floor.grid.pop(place_id, None)
        self._floor.remove_place(place)
        self.on_departed(place_id)

    def send_away(self, kind: VisitorKind, account_id: str) -> None:
        """Every place of the account is closed and its sessions end (sign-out, suspension)."""
        for place in self._floor.places_of((kind, account_id)):
            if place.expert_id is not None:
                live = self._desk.of_place(place)
                if live is not None:
                    self._desk.cue_session(live.session.session_id, Cue.SUSPENDED)
                self._leave(place)
                self._floor.tell(place.place_id, Left(LeftReason.KICKED))

    # --- the grid -----------------------------------------------------------------------------

    def cards(self) -> list[Card]:
        """Every expert as the public sees them, live ones first.

        A private session does not move a card: the order must not jump under the pointer.
        """
        cards = [self._floor.card(profile) for profile in self._floor.directory.experts()]
        return sorted(cards, key=lambda card: card.state in GONE)

    def card(self, expert_name: str) -> Card | None:
        """One expert as the public sees them."""
        profile = self._floor.directory.expert_by_name(expert_name)
        return None if profile is None else self._floor.card(profile)

    def watch_grid(self, place_id: str) -> list[Card]:
        """The list now, and every change of it from now on."""
        self._floor.grid[place_id] = None
        return self.cards()

    def profile_changed(self, expert_id: str) -> None:
        """The directory has a new profile of this expert."""
        self._floor.announce(expert_id)

    def in_session(self, expert_id: str) -> bool:
        """Whether prices and switches are locked now."""
        room = self._floor.rooms.get(expert_id)
        return room is not None and room.session is not None

    # --- rooms and chat -----------------------------------------------------------------------

    def enter(self, place_id: str, expert_name: str) -> RoomView | Refusal:
        """Enter a room, leaving any other. An expert enters their own as its host."""
        place = self._floor.places.get(place_id)
        profile = self._floor.directory.expert_by_name(expert_name)
        if place is None:
            return Refusal(Code.PLACE_GONE)
        if profile is None:
            return Refusal(Code.NO_SUCH_EXPERT)
        if place.expert_id != profile.expert_id:
            self._leave(place)
            owns = (VisitorKind.EXPERT, profile.expert_id)
            place.expert_id, place.hosting = profile.expert_id, place.visitor.key == owns
            self._floor.room(profile.expert_id).enter(place_id, hosting=place.hosting)
            self._take_over(place)
            self._floor.announce_soon(profile.expert_id)
        return self._floor.room_view(place, self._floor.room(profile.expert_id), profile)

    def leave(self, place_id: str) -> Refusal | None:
        """Leave the room: rows go first, a private session ends."""
        place = self._floor.places.get(place_id)
        if place is None or place.expert_id is None:
            return Refusal(Code.NOT_IN_ROOM)
        self._leave(place)
        return None

    def _take_over(self, place: Place) -> None:
        """A member whose tab died with the resume token finds their session in a new one."""
        live = self._desk.of_member(place.visitor.account_id)
        if live is None or place.visitor.kind is not VisitorKind.MEMBER:
            return
        old = self._floor.places.get(live.session.member_place)
        if live.session.expert_id != place.expert_id or old is None or old.connected:
            return
        live.session.member_place = place.place_id
        self.depart(old.place_id)

    def _leave(self, place: Place) -> None:
        expert_id, room = place.expert_id, self._floor.room_of(place)
        if expert_id is None or room is None:
            return
        publisher = self._airing.publishers.get(expert_id)
        publishes = publisher is not None and publisher.place_id == place.place_id
        room.leave(place.place_id)
        if place.hosting:
            if publishes or not room.hosts:
                self._desk.cue_expert(expert_id, Cue.EXPERT_LEFT)
        elif room.session is not None and room.session.is_party(place.place_id):
            self._desk.cue_expert(expert_id, Cue.MEMBER_LEFT)
        self._airing.drop_watcher_of(place.place_id, "left")
        place.expert_id, place.hosting, place.told = None, False, None
        if publishes:
            self._airing.go_offline(expert_id)
        self._floor.announce_soon(expert_id)

    def say(self, place_id: str, text: str, session_id: str | None = None) -> ChatLine | Refusal:
        """A typed line; the others in the circle are told, the author gets it as the answer.

        With `session_id` it is for the two of that session only: when that ended while the line was
        written or under way, nobody reads it.
        """
        if session_id is not None and not self._inside(place_id, session_id):
            return Refusal(Code.PRIVATE_OVER)

        def write(log: ChatLog, author: Author, at_ms: int) -> ChatLine | Refusal:
            return log.type_line(author, text, at_ms)

        return self._post(place_id, write)

    def _inside(self, place_id: str, session_id: str) -> bool:
        place = self._floor.places.get(place_id)
        room = None if place is None else self._floor.room_of(place)
        if room is None or room.session is None or room.session.session_id != session_id:
            return False
        return room.in_private(place_id)

    def choose(self, place_id: str, preset: str) -> ChatLine | Refusal:
        """A guest's line from the list."""

        def write(log: ChatLog, author: Author, at_ms: int) -> ChatLine | Refusal:
            return log.choose_preset(author, preset, at_ms)

        return self._post(place_id, write)

    def _post(
        self, place_id: str, write: Callable[[ChatLog, Author, int], ChatLine | Refusal]
    ) -> ChatLine | Refusal:
        place = self._floor.places.get(place_id)
        room = None if place is None else self._floor.room_of(place)
        if place is None or room is None:
            return Refusal(Code.NOT_IN_ROOM)
        if not self._chat_buckets.take(place.visitor.key, self._floor.clock_ns()):
            return Refusal(Code.CHAT_TOO_FAST)
        now_ms = self._floor.utc_ms()
        emoji = Feature.EMOJI not in locked(place.standing, now_ms)
        author = Author(place.visitor.name, place.role, place.standing.rank, emoji)
        line = write(room.chat_of(place_id), author, now_ms)
        if isinstance(line, ChatLine):
            for reader in room.chat_circle(place_id):
                if reader != place_id:
                    self._floor.tell(reader, ChatPosted(line))
        return line
