"""What the rooms tell a visitor's connection: frozen facts, one closed union.

The signalling hub turns each into wire messages; the rooms know nothing of the wire.
"""

import enum
from dataclasses import dataclass

from billing_meter.ledger_store import Balance
from billing_meter.meter import MeterSnapshot, Summary
from billing_meter.tariff import Tariff
from media.api import Direction, PeerFigures, QualityLevel
from rooms.chat import ChatLine
from rooms.presence import Notice, PresenceState
from rooms.private import EndReason, Phase
from rooms.roles import Role, Standing, Visitor


class Feed(enum.StrEnum):
    """`STREAM` is the expert's pictures and sound; `PRIVATE` the member's, inside a session."""

    STREAM = "stream"
    PRIVATE = "private"


class Wall(enum.StrEnum):
    """Why a visitor has no picture, or `NONE`."""

    NONE = "none"
    OFFLINE = "offline"
    PRIVATE = "private"


class LeftReason(enum.StrEnum):
    """Why a visitor is out of a room."""

    LEFT = "left"
    KICKED = "kicked"
    REPLACED = "replaced"
    CLOSED = "closed"


class BalanceBand(enum.StrEnum):
    """How long the member could pay, told to the expert without the sum."""

    UNDER_5_MIN = "under_5_min"
    FROM_5_TO_10_MIN = "5_to_10_min"
    OVER_10_MIN = "over_10_min"


@dataclass(frozen=True, slots=True)
class Card:
    """One expert in the home grid."""

    expert_id: str
    name: str
    display_name: str
    headline: str
    categories: tuple[str, ...]
    languages: tuple[str, ...]
    state: PresenceState
    notice: Notice | None
    has_sound: bool
    cam2cam: bool
    two_way_audio: bool
    tariff: Tariff
    viewers: int


@dataclass(frozen=True, slots=True)
class SessionView:
    """A private session as its two people may see it; prices are those frozen at the request."""

    session_id: str
    phase: Phase
    expert_name: str
    member_name: str
    tariff: Tariff
    cam2cam: bool
    two_way_audio: bool
    cam2cam_possible: bool
    two_way_audio_possible: bool
    ring_ms_left: int
    grace_ms_left: int
    reason: EndReason | None


@dataclass(frozen=True, slots=True)
class RoomView:
    """All that a visitor needs to draw a room."""

    card: Card
    about: str
    hosting: bool
    role: Role
    chat: tuple[ChatLine, ...]
    wall: Wall
    session: SessionView | None


@dataclass(frozen=True, slots=True)
class Entered:
    """The visitor's place in a room was brought back after a lost connection."""

    view: RoomView


@dataclass(frozen=True, slots=True)
class Left:
    """The visitor is out of the room."""

    reason: LeftReason


@dataclass(frozen=True, slots=True)
class CardChanged:
    """An expert's card changed; to those who watch the grid."""

    card: Card


@dataclass(frozen=True, slots=True)
class CardGone:
    """An expert is not in the grid any more; to those who watch it."""

    name: str


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """The room's presence or this visitor's wall changed."""

    card: Card
    wall: Wall


@dataclass(frozen=True, slots=True)
class ChatPosted:
    """A line of chat; the sender gets it too."""

    line: ChatLine


@dataclass(frozen=True, slots=True)
class FeedStopped:
    """The server cut this feed; the client closes its peer connection and may offer anew."""

    feed: Feed
    direction: Direction
    reason: str


@dataclass(frozen=True, slots=True)
class FeedQuality:
    """The server's figures for this feed reached another level; `far`: at the other's end."""

    feed: Feed
    direction: Direction
    level: QualityLevel
    reason: str
    far: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionFigures:
    """One connection of this visitor; `bitrates_bps` of its streams, None for a new one."""

    feed: Feed
    direction: Direction
    figures: PeerFigures
    bitrates_bps: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class FiguresShown:
    """The figures of all of this visitor's own connections, because they look."""

    connections: tuple[ConnectionFigures, ...]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A member asks the expert for a private session."""

    session: SessionView
    member_rank: str
    band: BalanceBand
    rate_units_per_s: int


@dataclass(frozen=True, slots=True)
class SessionChanged:
    """Phase or switches of this visitor's session changed."""

    session: SessionView


@dataclass(frozen=True, slots=True)
class Hud:
    """The meter's word, once a second. `for_expert` tells which of the two gets it."""

    snapshot: MeterSnapshot
    for_expert: bool


@dataclass(frozen=True, slots=True)
class LowBalance:
    """The member's money, or a limit of their own, lasts this much longer."""

    session_id: str
    seconds_left: int
    cause: EndReason
    """What would end the session then."""


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """What it came to. `for_expert` tells which of the two gets it."""

    summary: Summary
    reason: EndReason
    expert_name: str
    member_name: str
    for_expert: bool


@dataclass(frozen=True, slots=True)
class BalanceChanged:
    """The member's balance after a commit that changed it."""

    balance: Balance


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The member may do more than before: became premium, or has the extras again."""

    visitor: Visitor
    standing: Standing
    at_ms: int
    """UTC, for what is locked by now."""


@dataclass(frozen=True, slots=True)
class Draining:
    """The server stops in so many seconds."""

    seconds: int


SessionEvent = Incoming | SessionChanged | Hud | LowBalance | SessionSummary
"""What only the two of a private session hear."""

Event = (
    Entered
    | Left
    | CardChanged
    | CardGone
    | RoomChanged
    | ChatPosted
    | FeedStopped
    | FeedQuality
    | FiguresShown
    | SessionEvent
    | BalanceChanged
    | Upgraded
    | Draining
)
