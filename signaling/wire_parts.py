"""What messages of the wire are made of: their words, their bounds, and what stands inside them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

SDP_CHARS_MAX = 32 * 1024
SPEND_UNITS_MAX = 6 * 10**12
"""A thousand million credits: more than anybody has, and what is added to it stays below 2^63."""
RATE_UNITS_PER_S_MAX = 10**6
"""10,000 credits a minute: more than the dearest session costs with everything switched on."""

Pixels = Annotated[int, Meta(ge=1, le=16_384)]
SpendUnits = Annotated[int, Meta(ge=1, le=SPEND_UNITS_MAX)]
RateUnits = Annotated[int, Meta(ge=0, le=RATE_UNITS_PER_S_MAX)]
MessageId = Annotated[int, Meta(ge=1, le=2**31 - 1)]
ExpertName = Annotated[str, Meta(min_length=1, max_length=32)]
Token = Annotated[str, Meta(min_length=1, max_length=256)]
Sdp = Annotated[str, Meta(min_length=1, max_length=SDP_CHARS_MAX)]
IceUfrag = Annotated[str, Meta(min_length=4, max_length=256, pattern="^[A-Za-z0-9+/=_-]+$")]
IcePwd = Annotated[str, Meta(min_length=22, max_length=256, pattern="^[A-Za-z0-9+/=_-]+$")]
"""RFC 8839 §5.4, and the few characters more that browsers are known to use."""
SessionId = Annotated[str, Meta(min_length=1, max_length=64)]

Language = Literal["en", "nb"]
Surcharge = Literal["cam2cam", "two_way_audio"]
Feature = Literal["albums", "emoji", "likes", "translator"]
"""The extras of active members, as `locked` names them."""
ComponentName = Literal["private", "cam2cam", "two_way_audio"]
Role = Literal["guest", "member", "expert", "system"]
PresenceState = Literal[
    "offline",
    "live_free",
    "ringing",
    "entering_private",
    "in_private",
    "group_pre",
    "group_live",
    "going_offline",
]
Phase = Literal["ringing", "connecting", "active", "paused", "ending", "ended"]
EndReason = Literal[
    "member_left",
    "expert_left",
    "balance_empty",
    "limit_session",
    "limit_day",
    "limit_week",
    "limit_month",
    "on_break",
    "media_lost",
    "connect_failed",
    "declined",
    "ring_timeout",
    "cancelled",
    "server_stopped",
    "ledger_unavailable",
    "suspended",
]


class Prices(Struct, kw_only=True):
    """Units per second; hundredths of a credit per minute are the same number."""

    private: int
    cam2cam: int
    two_way_audio: int


class ExpertCard(Struct, kw_only=True):
    """What the home grid shows of one expert."""

    name: str
    display_name: str
    headline: str
    categories: list[str]
    languages: list[str]
    state: PresenceState
    notice: Literal["entering_private", "in_private", "going_offline"] | None
    has_sound: bool
    cam2cam: bool
    two_way_audio: bool
    prices: Prices
    viewers: int


class You(Struct, kw_only=True):
    """Who the server says the client is."""

    role: Role
    name: str
    premium: bool
    rank: str
    language: Language
    locked: list[Feature]
    """What a purchase of credits would unlock again."""


class ChatLine(Struct, kw_only=True):
    """`n` grows by one per room; `role` and `rank` are the server's word."""

    n: int
    at_ms: int
    name: str
    role: Role
    rank: str
    text: str
    preset: str | None = None


class Preset(Struct, kw_only=True):
    """A message that a guest may choose, in the client's language."""

    id: str
    text: str


class CostLine(Struct, kw_only=True):
    """One component of a session: whole charged seconds and their units."""

    component: ComponentName
    on: bool
    rate_units_per_s: int
    seconds: int
    units: int


class SessionView(Struct, kw_only=True):
    """A private session as its two people may see it.

    `cam2cam` and `two_way_audio` tell whether the switch is on and funded; the `_possible`
    pair whether this expert offers it. Money fields are in the HUD.
    """

    session: str
    phase: Phase
    expert: str
    member: str
    prices: Prices
    cam2cam: bool
    two_way_audio: bool
    cam2cam_possible: bool
    two_way_audio_possible: bool
    ring_ms_left: int = 0
    grace_ms_left: int = 0
    reason: EndReason | None = None
