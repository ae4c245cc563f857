"""One expert's room: who is in it, who hosts it, who has it to themselves. No sockets, no media.

Law: `session` is the expert's one lock. It is set and cleared here only, in synchronous code.
"""

from rooms.chat import ChatLog, Numbering
from rooms.events import Wall
from rooms.presence import Busy, Presence, PresenceState
from rooms.private import SEALED, Phase, PrivateSession

BUSY_OF_PHASE: dict[Phase, Busy] = {
    Phase.RINGING: Busy.RINGING,
    Phase.CONNECTING: Busy.ENTERING,
    Phase.ACTIVE: Busy.PRIVATE,
    Phase.PAUSED: Busy.PRIVATE,
    Phase.ENDING: Busy.PRIVATE,
    Phase.ENDED: Busy.FREE,
}


class Room:
    """Membership, chat, presence and the session lock of one expert."""

    def __init__(self, expert_id: str) -> None:
        self.expert_id = expert_id
        self.presence = Presence()
        self.has_sound = False
        self.visitors: dict[str, None] = {}  # place ids in order of arrival, hosts not included
        self.hosts: dict[str, None] = {}
        self.public_viewers: set[str] = set()
        self.session: PrivateSession | None = None
        self.private_chat: ChatLog | None = None
        self._numbering = Numbering()
        self.free_chat = ChatLog(self._numbering)

    def enter(self, place_id: str, *, hosting: bool) -> None:
        """A visitor takes a place; the expert's own connections host."""
        (self.hosts if hosting else self.visitors)[place_id] = None

    def leave(self, place_id: str) -> None:
        """The place is empty; leaving twice is leaving once."""
        self.hosts.pop(place_id, None)
        self.visitors.pop(place_id, None)

    @property
    def places(self) -> tuple[str, ...]:
        """Every place, hosts first."""
        return (*self.hosts, *self.visitors)

    @property
    def viewer_count(self) -> int:
        """How many watch, as the public sees it: visitors and public players."""
        return len(self.visitors) + len(self.public_viewers)

    @property
    def deserted(self) -> bool:
        """Nothing here is worth remembering."""
        nobody = not self.hosts and not self.visitors and not self.public_viewers
        return nobody and self.session is None and not self.presence.media_fresh

    def lock(self, session: PrivateSession, now_ns: int) -> bool:
        """Take the expert for this session; False if somebody else has them."""
        if self.session is not None:
            return False
        self.session = session
        self.presence.session(Busy.RINGING, now_ns)
        return True

    def follow(self, session: PrivateSession, now_ns: int) -> None:
        """The session changed phase: presence follows; a private chat begins; an end unlocks."""
        if self.session is not session:
            return
        self.presence.session(BUSY_OF_PHASE[session.phase], now_ns)
        if session.phase in SEALED and self.private_chat is None:
            self.private_chat = ChatLog(self._numbering)
        if session.phase is Phase.ENDED:
            self.session = None
            self.private_chat = None

    @property
    def sealed(self) -> bool:
        """Whether the stream belongs to the two of a session now."""
        return self.session is not None and self.session.phase in SEALED

    def in_private(self, place_id: str) -> bool:
        """Whether this place is inside the running private session."""
        if not self.sealed or self.session is None:
            return False
        return place_id in self.hosts or self.session.is_party(place_id)

    def chat_of(self, place_id: str) -> ChatLog:
        """The conversation that this place takes part in."""
        if self.private_chat is not None and self.in_private(place_id):
            return self.private_chat
        return self.free_chat

    def chat_circle(self, place_id: str) -> tuple[str, ...]:
        """Who reads what this place writes: the two of a session, or all the others."""
        inside = self.in_private(place_id)
        return tuple(p for p in self.places if self.in_private(p) == inside)

    def wall(self, place_id: str, now_ns: int) -> Wall:
        """Why this place has no picture, or `NONE`."""
        if self.sealed:
            return Wall.NONE if self.in_private(place_id) else Wall.PRIVATE
        match self.presence.shown(now_ns).state:
            case PresenceState.LIVE_FREE | PresenceState.RINGING:
                return Wall.NONE
            case PresenceState.OFFLINE | PresenceState.GOING_OFFLINE:
                return Wall.OFFLINE
            case PresenceState.ENTERING_PRIVATE | PresenceState.IN_PRIVATE:
                return Wall.PRIVATE
            case PresenceState.GROUP_PRE | PresenceState.GROUP_LIVE:
                return Wall.NONE
