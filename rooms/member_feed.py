"""The member's camera and sound inside a session: Cam2Cam and two-way audio, switch by switch.

Law: a surcharge's row is laid after its hold is durable, and removed before its charge stops.
"""

import asyncio
from dataclasses import dataclass

from billing_meter.meter_types import FUNDS_CODES
from billing_meter.tariff import Component
from billing_meter.till import Refused
from media.api import BOTH_KINDS, Answer, Direction, Kind, SdpRefused
from rooms.airing import refused
from rooms.engines import MediaEngine, MeterEngine
from rooms.events import BalanceBand, Feed, FeedStopped
from rooms.floor import Floor, Place
from rooms.private import RUNNING, SWITCHABLE, PrivateSession
from rooms.refusals import Code, Refusal

KINDS_OF: dict[Component, frozenset[Kind]] = {
    Component.PRIVATE: BOTH_KINDS,
    Component.CAM2CAM: frozenset({Kind.VIDEO}),
    Component.TWO_WAY_AUDIO: frozenset({Kind.AUDIO}),
}
"""Which of the sender's tracks a component pays for."""


def feed_source(session_id: str) -> str:
    """The media plane's name of the member's feed in a session."""
    return f"private:{session_id}"


def session_of_feed(source_id: str) -> str | None:
    """The session of a member's feed, or None for any other source."""
    prefix, _, session_id = source_id.partition(":")
    return session_id if prefix == "private" else None


@dataclass(slots=True)
class Live:
    """What a session holds of the engines. `opened` once the till has it durable.

    `feed_peer` publishes the member's feed, `feed_viewer` at `feed_place` receives it.
    """

    session: PrivateSession
    band: BalanceBand = BalanceBand.UNDER_5_MIN
    opening: asyncio.Task[None] | None = None
    opened: bool = False
    feed_peer: str | None = None
    feed_place: str = ""
    feed_viewer: str | None = None


class MemberFeed:
    """Publishing, watching and switching of the members' feeds of all sessions."""

    def __init__(self, floor: Floor, media: MediaEngine, till: MeterEngine) -> None:
        self._floor = floor
        self._media = media
        self._till = till

    async def publish(self, live: Live, sdp: str) -> Answer | Refusal:
        """The member offers to send; only the kinds that the expert's flags allow."""
        session = live.session
        if session.phase not in RUNNING:
            return Refusal(Code.NOT_ACTIVE)
        kinds = frozenset(k for c in session.possible for k in KINDS_OF[c])
        if not kinds:
            return Refusal(Code.NOT_AVAILABLE)
        source_id = feed_source(session.session_id)
        live.feed_peer = None  # the one that is replaced now is not a feed that broke
        try:
            answer = await self._media.publish(source_id, sdp, allowed=kinds, replace=True)
        except SdpRefused as error:
            return refused(error)
        if session.phase not in RUNNING:  # it ended while the offer was worked on
            self._media.close_publisher(source_id, "session ended")
            return Refusal(Code.NO_SESSION)
        live.feed_peer = answer.peer_id
        return answer

    def unpublish(self, live: Live) -> None:
        """The member stops sending; the switches stay as they are and cost nothing."""
        live.feed_peer = None
        self._media.close_publisher(feed_source(live.session.session_id), "unpublished")

    async def watch(self, live: Live, place: Place, sdp: str) -> Answer | Refusal:
        """The expert offers to receive. The newest viewer wins; there is only one."""
        session, viewer_id = live.session, self._floor.new_id()
        if session.phase not in RUNNING:
            return Refusal(Code.NOT_ACTIVE)
        try:
            answer = await self._media.watch(viewer_id, sdp)
        except SdpRefused as error:
            return refused(error)
        if session.phase not in RUNNING or not self._floor.is_party(place, session):
            self._media.close_viewer(viewer_id, "session ended")
            return Refusal(Code.NO_SESSION)
        if live.feed_viewer is not None and live.feed_place != place.place_id:
            stopped = FeedStopped(Feed.PRIVATE, Direction.WATCH, "replaced")
            self._floor.tell(live.feed_place, stopped)
        self.drop_viewer(live, "replaced")
        live.feed_viewer, live.feed_place = viewer_id, place.place_id
        for component in sorted(session.on):
            self._lay_row(live, component)
        return answer

    def drop_viewer(self, live: Live, reason: str) -> None:
        """Rows first, then the expert's peer connection for the feed."""
        viewer_id, live.feed_viewer = live.feed_viewer, None
        if viewer_id is not None:
            self._media.stop(feed_source(live.session.session_id), viewer_id)
            self._media.close_viewer(viewer_id, reason)

    def cut(self, live: Live) -> None:
        """The session is over: rows, caches, connections, in this order."""
        source_id = feed_source(live.session.session_id)
        self._media.seal(source_id)
        live.feed_peer = None
        self._media.close_publisher(source_id, "session ended")
        self.drop_viewer(live, "session ended")
        live.session.on.clear()

    # --- switches -----------------------------------------------------------------------------

    async def switch(
        self, live: Live, component: Component, on: bool, accepted_units_per_s: int
    ) -> Refusal | None:
        """The member switches a surcharge; a price other than the frozen one is refused."""
        session = live.session
        if session.phase not in SWITCHABLE:
            return Refusal(Code.NOT_ACTIVE)
        if not on:
            await self._switch_off(live, component)
            return None
        if component not in session.possible:
            return Refusal(Code.NOT_AVAILABLE)
        rate = session.tariff.rate(component)
        if accepted_units_per_s != rate:
            return Refusal(Code.PRICE_CHANGED, {"rate_units_per_s": rate})
        session.wanted.add(component)
        return await self._switch_on(live, component)

    def begin(self, live: Live) -> None:
        """The session is active: what was asked for together with it is on, and funded already."""
        live.session.on |= live.session.wanted
        for component in sorted(live.session.on):
            self._lay_row(live, component)

    async def _switch_on(self, live: Live, component: Component) -> Refusal | None:
        session = live.session
        if component in session.on:
            return None
        result = await self._till.switch(session.session_id, component, True)
        if isinstance(result, Refused):
            session.wanted.discard(component)
            if session.phase not in SWITCHABLE:
                return Refusal(Code.NOT_ACTIVE)
            poor = result.code in FUNDS_CODES.values()
            return Refusal(Code(result.code) if poor else Code.LEDGER_UNAVAILABLE)
        if session.phase not in SWITCHABLE:
            return Refusal(Code.NOT_ACTIVE)
        if component not in session.wanted:  # switched off again while the hold was written
            await self._till.switch(session.session_id, component, False)
            return None
        session.on.add(component)
        self._lay_row(live, component)
        self._floor.tell_session(session)
        return None

    async def _switch_off(self, live: Live, component: Component) -> None:
        session = live.session
        session.wanted.discard(component)
        if component not in session.on:
            return
        session.on.discard(component)
        if live.feed_viewer is not None:
            # Only this one's: whoever switches it often must not interrupt what the other holds.
            source_id = feed_source(session.session_id)
            self._media.stop(source_id, live.feed_viewer, KINDS_OF[component])
        self._floor.tell_session(session)
        await self._till.switch(session.session_id, component, False)

    def _lay_row(self, live: Live, component: Component) -> None:
        """One kind of the member's feed to the expert, behind its own gate."""
        if live.feed_viewer is None:
            return
        session_id, kinds = live.session.session_id, KINDS_OF[component]
        gate = self._media.forward_gated(feed_source(session_id), live.feed_viewer, kinds)
        self._till.attach(session_id, component, gate)
