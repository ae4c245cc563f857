"""Every reason why the rooms say no: a stable code for programs and a sentence for people."""

import enum
from dataclasses import dataclass, field


class Code(enum.StrEnum):
    """Stable codes, part of the public API."""

    NOT_IN_ROOM = "not_in_room"
    NO_SUCH_EXPERT = "no_such_expert"
    PLACE_GONE = "place_gone"
    BUSY_HERE = "busy_here"
    # chat
    GUESTS_USE_PRESETS = "guests_use_presets"
    PRESETS_ARE_FOR_GUESTS = "presets_are_for_guests"
    UNKNOWN_PRESET = "unknown_preset"
    CHAT_EMPTY = "chat_empty"
    CHAT_TOO_LONG = "chat_too_long"
    CHAT_TOO_FAST = "chat_too_fast"
    FEATURE_LOCKED_EMOJI = "feature_locked:emoji"
    # media
    NOT_HOST = "not_host"
    WALLED = "walled"
    NO_FEED = "no_feed"
    BAD_SDP = "bad_sdp"
    CODEC_UNSUPPORTED = "codec_unsupported"
    TOO_MANY_TRACKS = "too_many_tracks"
    ALREADY_PUBLISHING = "already_publishing"
    OVERLOADED = "overloaded"
    NOT_LIVE = "not_live"
    # private sessions
    PREMIUM_REQUIRED = "premium_required"
    EXPERT_OFFLINE = "expert_offline"
    EXPERT_AWAY = "expert_away"
    BUSY = "busy"
    ALREADY_IN_SESSION = "already_in_session"
    NOT_AVAILABLE = "not_available"
    PRICE_CHANGED = "price_changed"
    INSUFFICIENT_CREDITS = "insufficient_credits"
    LIMIT_SESSION = "limit_session"
    LIMIT_DAY = "limit_day"
    LIMIT_WEEK = "limit_week"
    LIMIT_MONTH = "limit_month"
    ON_BREAK = "on_break"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    NO_SESSION = "no_session"
    PRIVATE_OVER = "private_over"
    NOT_ACTIVE = "not_active"
    SERVER_DRAINING = "server_draining"


TEXTS: dict[Code, str] = {
    Code.NOT_IN_ROOM: "Enter a room first.",
    Code.NO_SUCH_EXPERT: "There is no expert with this name.",
    Code.PLACE_GONE: "This connection has no place any more; connect anew.",
    Code.BUSY_HERE: "The previous requests are still being worked on.",
    Code.GUESTS_USE_PRESETS: "Guests choose from the list of messages; join free to type.",
    Code.PRESETS_ARE_FOR_GUESTS: "The list of messages is for guests; type instead.",
    Code.UNKNOWN_PRESET: "This message is not in the list.",
    Code.CHAT_EMPTY: "The message is empty.",
    Code.CHAT_TOO_LONG: "The message is too long.",
    Code.CHAT_TOO_FAST: "Too many messages; wait a moment.",
    Code.FEATURE_LOCKED_EMOJI: "Emojis are locked until your next purchase of credits.",
    Code.NOT_HOST: "Only the room's expert may do this.",
    Code.WALLED: "There is no picture for you in this room now.",
    Code.NO_FEED: "There is nothing to receive or send here.",
    Code.BAD_SDP: "The offer could not be read.",
    Code.CODEC_UNSUPPORTED: "None of the offered codecs can be used.",
    Code.TOO_MANY_TRACKS: "The offer has too many tracks.",
    Code.ALREADY_PUBLISHING: "Somebody is already publishing to this room.",
    Code.OVERLOADED: "The server is full at the moment; trying again helps.",
    Code.NOT_LIVE: "This expert is not live.",
    Code.PREMIUM_REQUIRED: "Private sessions are for premium members.",
    Code.EXPERT_OFFLINE: "This expert is not live now.",
    Code.EXPERT_AWAY: "The expert is not at the desk to answer.",
    Code.BUSY: "The expert is busy with another member.",
    Code.ALREADY_IN_SESSION: "You already have a private session or a request.",
    Code.NOT_AVAILABLE: "This expert does not offer this.",
    Code.PRICE_CHANGED: "The price has changed; confirm the new one.",
    Code.INSUFFICIENT_CREDITS: "There are not enough credits for one minute.",
    Code.LIMIT_SESSION: "Your limit for a session does not allow this.",
    Code.LIMIT_DAY: "Your daily limit does not leave enough for this.",
    Code.LIMIT_WEEK: "Your weekly limit does not leave enough for this.",
    Code.LIMIT_MONTH: "Your monthly limit does not leave enough for this.",
    Code.ON_BREAK: "You are on a break; nothing paid can be started until it ends.",
    Code.LEDGER_UNAVAILABLE: "Payments are not available now; nothing was charged.",
    Code.NO_SESSION: "There is no such session.",
    Code.PRIVATE_OVER: "The private session has ended. Nobody has read this.",
    Code.NOT_ACTIVE: "This works only in a running private session.",
    Code.SERVER_DRAINING: "The server is about to restart; try again in a minute.",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An expected no. `data` names limits and fields; `detail` replaces the standard sentence."""

    code: Code
    data: dict[str, str | int | bool] = field(default_factory=dict)
    detail: str = ""

    @property
    def message(self) -> str:
        """A sentence for people, in English; clients translate by code."""
        return self.detail or TEXTS[self.code]
