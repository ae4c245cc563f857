"""Presence of one expert: what the public may know, from fresh media and never from sockets.

Law: `live_*` needs an RTP packet within the last seconds (`media_fresh`, told by the media plane);
an open WebSocket is no evidence at all.
"""

import enum
from dataclasses import dataclass

from rooms.limits import NOTICE_NS


class PresenceState(enum.StrEnum):
    """The states of features B2."""

    OFFLINE = "offline"
    LIVE_FREE = "live_free"
    RINGING = "ringing"
    ENTERING_PRIVATE = "entering_private"
    IN_PRIVATE = "in_private"
    GROUP_PRE = "group_pre"
    GROUP_LIVE = "group_live"
    GOING_OFFLINE = "going_offline"


class Notice(enum.StrEnum):
    """The strip at the bottom of a thumbnail."""

    ENTERING_PRIVATE = "entering_private"
    IN_PRIVATE = "in_private"
    GOING_OFFLINE = "going_offline"


class Busy(enum.StrEnum):
    """How far the expert's private session is, as presence sees it."""

    FREE = "free"
    RINGING = "ringing"
    ENTERING = "entering"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Shown:
    """What the public sees."""

    state: PresenceState
    notice: Notice | None


class Presence:
    """Inputs set facts; `shown(now_ns)` is a pure function of the facts and the time."""

    def __init__(self) -> None:
        self.media_fresh = False
        self.busy = Busy.FREE
        self._entered_ns = 0
        self._offline_notice_until_ns = 0

    def media(self, fresh: bool) -> None:
        """Packets of the expert's stream arrive, or they stopped."""
        self.media_fresh = fresh
        if fresh:
            self._offline_notice_until_ns = 0

    def session(self, busy: Busy, now_ns: int) -> None:
        """The private session reached this point."""
        if busy is Busy.ENTERING and self.busy is not Busy.ENTERING:
            self._entered_ns = now_ns
        self.busy = busy

    def go_offline(self, now_ns: int) -> None:
        """The expert chose to leave; the public sees a notice if there was something to see."""
        if self.media_fresh:
            self._offline_notice_until_ns = now_ns + NOTICE_NS
        self.media_fresh = False

    def shown(self, now_ns: int) -> Shown:
        """What the public sees at this instant."""
        match self.busy:
            case Busy.ENTERING:
                return Shown(PresenceState.ENTERING_PRIVATE, self._private_notice(now_ns))
            case Busy.PRIVATE:
                return Shown(PresenceState.IN_PRIVATE, self._private_notice(now_ns))
            case Busy.RINGING if self.media_fresh:
                return Shown(PresenceState.RINGING, None)
            case Busy.FREE | Busy.RINGING:
                return self._shown_free(now_ns)

    def next_change_ns(self, now_ns: int) -> int | None:
        """When `shown` will change by itself, if it will."""
        if self.busy in (Busy.ENTERING, Busy.PRIVATE):
            ends_ns = self._entered_ns + NOTICE_NS
        else:
            ends_ns = self._offline_notice_until_ns
        return ends_ns if ends_ns > now_ns else None

    def _private_notice(self, now_ns: int) -> Notice:
        if now_ns < self._entered_ns + NOTICE_NS:
            return Notice.ENTERING_PRIVATE
        return Notice.IN_PRIVATE

    def _shown_free(self, now_ns: int) -> Shown:
        if self.media_fresh:
            return Shown(PresenceState.LIVE_FREE, None)
        if now_ns < self._offline_notice_until_ns:
            return Shown(PresenceState.GOING_OFFLINE, Notice.GOING_OFFLINE)
        return Shown(PresenceState.OFFLINE, None)
