"""The WebSocket wire: every message, once, with its limits.

From these structs come the decoder, the JSON Schema, the browser's type declarations
(`clients/web/wire.d.ts`) and the AsyncAPI document. Nothing else defines a message; what they
are made of is in `signaling.wire_parts`, `signaling.wire_figures` (connections) and
`signaling.wire_wallet`.

Money is integer units (6,000 to the credit), durations are milliseconds or seconds as the
name says, instants are UTC milliseconds since the epoch for display only.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from signaling.wire_figures import ConnectionFigures as ConnectionFigures
from signaling.wire_figures import Direction as Direction
from signaling.wire_figures import Feed as Feed
from signaling.wire_figures import MediaKind as MediaKind
from signaling.wire_figures import QualityLevel as QualityLevel
from signaling.wire_figures import StreamFigures as StreamFigures
from signaling.wire_figures import Transport as Transport
from signaling.wire_parts import ChatLine as ChatLine
from signaling.wire_parts import ComponentName as ComponentName
from signaling.wire_parts import CostLine as CostLine
from signaling.wire_parts import EndReason as EndReason
from signaling.wire_parts import ExpertCard as ExpertCard
from signaling.wire_parts import (
    ExpertName,
    IcePwd,
    IceUfrag,
    MessageId,
    Pixels,
    RateUnits,
    Sdp,
    SessionId,
    SpendUnits,
    Token,
)
from signaling.wire_parts import Language as Language
from signaling.wire_parts import Phase as Phase
from signaling.wire_parts import PresenceState as PresenceState
from signaling.wire_parts import Preset as Preset
from signaling.wire_parts import Prices as Prices
from signaling.wire_parts import Role as Role
from signaling.wire_parts import SessionView as SessionView
from signaling.wire_parts import Surcharge as Surcharge
from signaling.wire_parts import You as You
from signaling.wire_wallet import Balance as Balance
from signaling.wire_wallet import WalletPart as WalletPart

SUBPROTOCOL_JSON = "parlour.v1"
SUBPROTOCOL_MSGPACK = "parlour.v1+msgpack"

FRAME_BYTES_MAX = 64 * 1024
"""An SDP offer of a browser with every codec is about 8 KiB; eight times that is generous."""
HEARTBEAT_S = 15

CLOSE_BAD_MESSAGE = 4400
CLOSE_UNAUTHENTICATED = 4401
CLOSE_HELLO_TIMEOUT = 4408
CLOSE_REPLACED = 4409
"""The same connection was resumed from elsewhere."""
CLOSE_TOO_MANY_MESSAGES = 4429
CLOSE_TOO_MANY_CONNECTIONS = 4430
"""One account has too many open; reconnecting will not help until one is closed."""
CLOSE_DRAINING = 1012
CLOSE_INTERNAL = 1011
CLOSE_OVERFLOW = 1013

# --- from the client -------------------------------------------------------------------


class ClientStruct(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Every client message may carry an `id`; it is then answered by `ack`, a reply or `error`."""

    id: MessageId | None = None


class Hello(ClientStruct, tag="hello"):
    """First message of a connection, within 10 s; the ticket is from `POST /api/v1/ws-ticket`."""

    ticket: Token
    resume: Token | None = None
    language: Language = "en"


class PresenceSubscribe(ClientStruct, tag="presence.subscribe"):
    """Ask for the list of experts now and every change of it from now on."""


class RoomEnter(ClientStruct, tag="room.enter"):
    """Enter an expert's room, leaving any other. The expert enters their own as its host."""

    expert: ExpertName


class RoomLeave(ClientStruct, tag="room.leave"):
    """Leave the room: media stops at once, a private session ends."""


class ChatSend(ClientStruct, tag="chat.send"):
    """A typed message; members and experts only. At most 500 characters after NFC.

    With `session` it is for the two of that session, and refused as `private_over` afterwards.
    """

    text: Annotated[str, Meta(min_length=1, max_length=4000)]
    session: SessionId | None = None


class ChatPreset(ClientStruct, tag="chat.preset"):
    """A guest's message, chosen from the list that `room.entered` gave."""

    preset: Annotated[str, Meta(min_length=1, max_length=32)]


class MediaPublish(ClientStruct, tag="media.publish"):
    """Offer to send. `stream` puts the expert on air; `private` is the member's feed."""

    feed: Feed
    sdp: Sdp


class MediaUnpublish(ClientStruct, tag="media.unpublish"):
    """Stop sending; for `stream` this takes the expert off air."""

    feed: Feed


class MediaWatch(ClientStruct, tag="media.watch"):
    """Offer to receive: the room's `stream`, or (expert only) the member's `private` feed."""

    feed: Feed
    sdp: Sdp


class MediaRestart(ClientStruct, tag="media.restart"):
    """ICE restart of a peer connection that lost its way: `ufrag` and `pwd` are those of the
    client's new local description. Tracks, codecs and DTLS stay as they were negotiated.
    """

    feed: Feed
    direction: Direction
    ufrag: IceUfrag
    pwd: IcePwd


class MediaUnwatch(ClientStruct, tag="media.unwatch"):
    """Stop receiving."""

    feed: Feed


class MediaViewport(ClientStruct, tag="media.viewport"):
    """The size at which a feed's picture is drawn, in device pixels: no larger one is of use."""

    feed: Feed
    width: Pixels
    height: Pixels


class FiguresSubscribe(ClientStruct, tag="figures.subscribe"):
    """Ask for `figures` of one's own connections, once a second, until `figures.unsubscribe`."""


class FiguresUnsubscribe(ClientStruct, tag="figures.unsubscribe"):
    """No more of them."""


class StudioGoOffline(ClientStruct, tag="studio.go_offline"):
    """The expert goes off air, whether a browser or an encoder sends."""


class PrivateRequest(ClientStruct, tag="private.request"):
    """Ask the room's expert for a private session; rings for 30 s.

    `accepted_units_per_s` is the total rate the member confirmed, with the chosen surcharges;
    another rate on the server is refused with `price_changed`.
    """

    accepted_units_per_s: RateUnits
    cam2cam: bool = False
    two_way_audio: bool = False
    spend_limit_units: SpendUnits | None = None


class PrivateCancel(ClientStruct, tag="private.cancel"):
    """The member takes the request back while it rings or connects."""


class PrivateAccept(ClientStruct, tag="private.accept"):
    """The expert accepts."""

    session: SessionId


class PrivateDecline(ClientStruct, tag="private.decline"):
    """The expert declines."""

    session: SessionId


class PrivateSwitch(ClientStruct, tag="private.switch"):
    """The member switches Cam2Cam or two-way audio; `accepted_units_per_s` is its surcharge."""

    component: Surcharge
    on: bool
    accepted_units_per_s: RateUnits = 0


class PrivateEnd(ClientStruct, tag="private.end"):
    """Either side ends the session, at once."""


ClientMessage = (
    Hello
    | PresenceSubscribe
    | RoomEnter
    | RoomLeave
    | ChatSend
    | ChatPreset
    | MediaPublish
    | MediaUnpublish
    | MediaWatch
    | MediaUnwatch
    | MediaRestart
    | MediaViewport
    | FiguresSubscribe
    | FiguresUnsubscribe
    | StudioGoOffline
    | PrivateRequest
    | PrivateCancel
    | PrivateAccept
    | PrivateDecline
    | PrivateSwitch
    | PrivateEnd
)


# --- from the server -------------------------------------------------------------------


class ServerStruct(Struct, kw_only=True, omit_defaults=True):
    """`seq` counts the connection's messages from 1, without gaps."""

    seq: int = 0


class Welcome(ServerStruct, tag="welcome", kw_only=True):
    """Answers `hello`. `resumed` tells whether the place in the room was kept."""

    id: int | None = None
    you: You
    resume: str
    resumed: bool
    heartbeat_s: int
    server_time_ms: int
    balance: Balance | None = None


class Ack(ServerStruct, tag="ack", kw_only=True):
    """The message with this id was done and has no other answer."""

    id: int


class Error(ServerStruct, tag="error", kw_only=True):
    """`code` is for programs and stable; `message` is for people; `data` names limits."""

    code: str
    message: str
    id: int | None = None
    data: dict[str, str | int | bool] = {}


class PresenceList(ServerStruct, tag="presence.list", kw_only=True):
    """Every expert, live ones first."""

    experts: list[ExpertCard]
    id: int | None = None


class PresenceChanged(ServerStruct, tag="presence.changed", kw_only=True):
    """One expert's card changed."""

    expert: ExpertCard


class PresenceGone(ServerStruct, tag="presence.gone", kw_only=True):
    """One expert is not on the list any more."""

    name: str


class RoomEntered(ServerStruct, tag="room.entered", kw_only=True):
    """Answers `room.enter`, and follows a `welcome` that resumed a place."""

    expert: ExpertCard
    about: str
    you_host: bool
    favorite: bool
    chat: list[ChatLine]
    presets: list[Preset]
    wall: Literal["none", "offline", "private"]
    """Why there is no picture for this visitor, or `none`."""
    session: SessionView | None = None
    id: int | None = None


class RoomLeft(ServerStruct, tag="room.left", kw_only=True):
    """The visitor is out of the room, and why."""

    reason: Literal["left", "kicked", "replaced", "closed"]
    id: int | None = None


class RoomState(ServerStruct, tag="room.state", kw_only=True):
    """The room's presence or this visitor's wall changed."""

    expert: ExpertCard
    wall: Literal["none", "offline", "private"]


class ChatMessage(ServerStruct, tag="chat.message", kw_only=True):
    """A line of chat; the sender gets it too, as its receipt."""

    line: ChatLine
    id: int | None = None


class MediaAnswer(ServerStruct, tag="media.answer", kw_only=True):
    """Answers `media.publish` and `media.watch`; all candidates are in the SDP."""

    feed: Feed
    direction: Direction
    sdp: str
    id: int | None = None


class MediaRestarted(ServerStruct, tag="media.restarted", kw_only=True):
    """Answers `media.restart`: the earlier answer holds, with these ICE credentials in it."""

    feed: Feed
    direction: Direction
    ufrag: str
    pwd: str
    id: int | None = None


class MediaStopped(ServerStruct, tag="media.stopped", kw_only=True):
    """The server cut this feed; the client closes its peer connection and may offer anew."""

    feed: Feed
    direction: Direction
    reason: str


class MediaQuality(ServerStruct, tag="media.quality", kw_only=True):
    """From the server's own figures, when the level changes; `far` is of the other person's end."""

    feed: Feed
    direction: Direction
    level: QualityLevel
    reason: str
    far: bool = False


class Figures(ServerStruct, tag="figures", kw_only=True):
    """All of this visitor's connections, once a second while they look."""

    connections: list[ConnectionFigures]


class PrivateIncoming(ServerStruct, tag="private.incoming", kw_only=True):
    """The request card of the studio."""

    session: SessionView
    member_rank: str
    balance_band: Literal["under_5_min", "5_to_10_min", "over_10_min"]
    rate_units_per_s: int


class PrivateState(ServerStruct, tag="private.state", kw_only=True):
    """The session of this visitor changed phase or switches."""

    session: SessionView
    id: int | None = None


class PrivateHud(ServerStruct, tag="private.hud", kw_only=True):
    """Once a second to both, from the meter itself.

    The member gets `balance_units` and `time_left_s`; the expert gets `earned_units`.
    """

    session: str
    held_ms: int
    paused: bool
    rate_units_per_s: int
    cost_units: int
    lines: list[CostLine]
    balance_units: int | None = None
    time_left_s: int | None = None
    earned_units: int | None = None


class PrivateLowBalance(ServerStruct, tag="private.low_balance", kw_only=True):
    """Once each at 180, 60, 30 and 10 seconds left. `cause` is how the session would end."""

    session: str
    seconds_left: int
    cause: EndReason


class PrivateSummary(ServerStruct, tag="private.summary", kw_only=True):
    """After the session, to both; the expert's has `earned_units` and no balance."""

    session: str
    reason: EndReason
    expert: str
    member: str
    held_ms: int
    lines: list[CostLine]
    total_units: int
    started_at_ms: int
    ended_at_ms: int
    balance_units: int | None = None
    earned_units: int | None = None
    refund_until_ms: int | None = None


class WalletBalance(ServerStruct, tag="wallet.balance", kw_only=True):
    """The member's balance changed."""

    balance: Balance


class WalletChanged(ServerStruct, tag="wallet.changed", kw_only=True):
    """A part of the member's wallet changed, in another tab or by staff: fetch it again."""

    part: WalletPart


class AccountUpgraded(ServerStruct, tag="account.upgraded", kw_only=True):
    """The member may do more than before; no reconnect is needed."""

    you: You


class ServerDraining(ServerStruct, tag="server.draining", kw_only=True):
    """The server stops soon; running sessions end cleanly."""

    seconds: int


ServerMessage = (
    Welcome
    | Ack
    | Error
    | PresenceList
    | PresenceChanged
    | PresenceGone
    | RoomEntered
    | RoomLeft
    | RoomState
    | ChatMessage
    | MediaAnswer
    | MediaRestarted
    | MediaStopped
    | MediaQuality
    | Figures
    | PrivateIncoming
    | PrivateState
    | PrivateHud
    | PrivateLowBalance
    | PrivateSummary
    | WalletBalance
    | WalletChanged
    | AccountUpgraded
    | ServerDraining
)

decode_client_json = msgspec.json.Decoder(ClientMessage).decode
decode_client_msgpack = msgspec.msgpack.Decoder(ClientMessage).decode
decode_server_json = msgspec.json.Decoder(ServerMessage).decode
encode_json = msgspec.json.Encoder().encode
encode_msgpack = msgspec.msgpack.Encoder().encode
