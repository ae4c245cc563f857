"""The house: every room of the server, and the one door through which anything is asked of it.

Places, rooms and chat are the business of `lobby`, streams of `airing`, private sessions of
`desk` and `feed`; this file composes them, hands them the engines' events, and owns the timer.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from billing_meter.ledger_store import Balance
from billing_meter.meter import MeterEvent
from billing_meter.tariff import Component
from media.api import Answer, MediaEvent
from rooms.airing import Airing, Connected
from rooms.asking import Ask
from rooms.deadlines import Due, Key
from rooms.directory import Directory, ExpertProfile
from rooms.engines import MediaEngine, MeterEngine, Purse
from rooms.events import (
    BalanceChanged,
    Card,
    Draining,
    Event,
    Feed,
    SessionView,
    Upgraded,
)
from rooms.figures import Figures
from rooms.floor import Floor, Place
from rooms.limits import NS_PER_S, SETTLE_NS
from rooms.lobby import Lobby
from rooms.media_listener import MediaListener
from rooms.member_feed import MemberFeed
from rooms.private import Cue
from rooms.private_desk import PrivateDesk
from rooms.quality import QualityNews
from rooms.refusals import Code, Refusal
from rooms.rights import locked
from rooms.roles import VisitorKind
from rooms.thumbnails import Thumbnails
from rooms.ways import Ways

log = logging.getLogger(__name__)

SETTLE_S = SETTLE_NS / NS_PER_S
"""How long a stop waits for final posts; what is late is settled by the next start."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return secrets.token_urlsafe(16)


class House:
    """Wire it so: `MediaPlane(on_event=house.on_media)`, `Till(on_event=house.on_meter)`,
    `wallet.on_balance = house.on_balance`, `wallet.on_standing = house.on_standing`; the hub sets
    `house.emit`. A method that may say no returns a `Refusal` instead of its answer.
    """

    def __init__(
        self,
        media: MediaEngine,
        till: MeterEngine,
        purse: Purse,
        directory: Directory,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        utc_now: Callable[[], datetime] = _utc_now,
        new_id: Callable[[], str] = _new_id,
    ) -> None:
        self.floor = Floor(directory, clock_ns=clock_ns, utc_now=utc_now, new_id=new_id)
        self.airing = Airing(self.floor, media)
        self.feed = MemberFeed(self.floor, media, till)
        self.desk = PrivateDesk(self.floor, self.airing, self.feed, media, till, purse)
        self.lobby = Lobby(self.floor, self.airing, self.desk)
        self.thumbnails = Thumbnails(self.floor, self.airing, media)
        self.ways = Ways(self.floor, self.airing, self.desk, media)
        self.figures = Figures(self.floor, self.airing, self.desk, media)
        self._quality = QualityNews(self.floor, self.airing, self.desk, media)
        self._listener = MediaListener(self.floor, self.airing, self.desk, self._quality)
        self.purse = purse
        self._timer: asyncio.Task[None] | None = None

    @property
    def emit(self) -> Callable[[str, Event], None]:
        """Called with (place id, event) for everything that a connected visitor must know."""
        return self.floor.emit

    @emit.setter
    def emit(self, emit: Callable[[str, Event], None]) -> None:
        self.floor.emit = emit

    # --- for HTTP -----------------------------------------------------------------------------

    def cards(self) -> list[Card]:
        """Every expert as the public sees them, live ones first."""
        return self.lobby.cards()

    def card(self, expert_name: str) -> Card | None:
        """One expert as the public sees them."""
        return self.lobby.card(expert_name)

    def in_session(self, expert_id: str) -> bool:
        """Whether the expert's prices and switches are locked now."""
        room = self.floor.rooms.get(expert_id)
        return room is not None and room.session is not None

    def profile_changed(self, expert_id: str) -> None:
        """The directory has a new profile of this expert: tell the grid and the room."""
        self.floor.announce(expert_id)

    def expert_gone(self, profile: ExpertProfile) -> None:
        """The directory loses this expert, who is suspended: off air, and out of every grid.

        To be called while the directory still finds the profile, so that the room hears of it.
        """
        if profile.expert_id in self.floor.rooms:
            self.desk.cue_expert(profile.expert_id, Cue.SUSPENDED)
            self.airing.go_offline(profile.expert_id)
        self.floor.withdraw(profile)

    def send_away(self, kind: VisitorKind, account_id: str) -> None:
        """The account signed out or was suspended: its media and sessions end now."""
        self.lobby.send_away(kind, account_id)

    async def publish_encoder(self, expert_id: str, sdp: str) -> Connected | Refusal:
        """WHIP: an encoder goes on air; the caller has checked its key.

        A second sender is refused with `already_publishing`.
        """
        return await self.airing.publish_encoder(expert_id, sdp)

    def end_encoder(self, expert_id: str, resource: str) -> bool:
        """WHIP DELETE: the encoder goes off air; False if this resource is not its."""
        if self.airing.encoder_of(resource) != expert_id:
            return False
        self.go_off_air(expert_id)
        return True

    async def watch_public(self, expert_name: str, sdp: str) -> Connected | Refusal:
        """WHEP: a public player receives a free stream, and counts as a guest.

        It gets no packets while the room is private, and gets them again afterwards.
        """
        profile = self.floor.directory.expert_by_name(expert_name)
        if profile is None:
            return Refusal(Code.NO_SUCH_EXPERT)
        return await self.airing.watch_public(profile.expert_id, sdp)

    def end_public(self, expert_name: str, resource: str) -> bool:
        """WHEP DELETE: the player stops; False if this resource is not one of this expert's."""
        profile = self.floor.directory.expert_by_name(expert_name)
        watcher = None if profile is None else self.airing.player(profile.expert_id, resource)
        if watcher is None:
            return False
        self.airing.drop_watcher(watcher, "left")
        return True

    # --- for a visitor's connection: media ----------------------------------------------------

    async def publish(self, place_id: str, feed: Feed, sdp: str) -> Answer | Refusal:
        """Offer to send: the expert's stream, or the member's feed inside a session."""
        place = self.floor.places.get(place_id)
        if place is None:
            return Refusal(Code.PLACE_GONE)
        if feed is Feed.STREAM:
            return await self.airing.publish(place, sdp)
        live = self.desk.of_place(place)
        if live is None or place.hosting:
            return Refusal(Code.NO_SESSION)
        return await self.feed.publish(live, sdp)

    def unpublish(self, place_id: str, feed: Feed) -> Refusal | None:
        """Stop sending; for the stream this takes the expert off air."""
        place = self.floor.places.get(place_id)
        if place is None:
            return Refusal(Code.PLACE_GONE)
        if feed is Feed.STREAM:
            return self.go_offline(place_id)
        live = self.desk.of_place(place)
        if live is None or place.hosting:
            return Refusal(Code.NO_FEED)
        self.feed.unpublish(live)
        return None

    async def watch(self, place_id: str, feed: Feed, sdp: str) -> Answer | Refusal:
        """Offer to receive: the room's stream, or (its expert only) the member's feed."""
        place = self.floor.places.get(place_id)
        if place is None:
            return Refusal(Code.PLACE_GONE)
        if feed is Feed.STREAM:
            return await self.airing.watch(place, sdp)
        live = self.desk.of_place(place)
        if live is None or not place.hosting:
            return Refusal(Code.NO_SESSION)
        answer = await self.feed.watch(live, place, sdp)
        for party, _ in self.floor.parties(live.session):
            self._quality.catch_up(party)
        return answer

    def unwatch(self, place_id: str, feed: Feed) -> Refusal | None:
        """Stop receiving; not receiving is no refusal."""
        place = self.floor.places.get(place_id)
        if place is None:
            return Refusal(Code.PLACE_GONE)
        if feed is Feed.STREAM:
            self.airing.drop_watcher_of(place_id, "left")
            return None
        live = self.desk.of_place(place)
        if live is not None and place.hosting:
            self.feed.drop_viewer(live, "left")
        return None

    def go_offline(self, place_id: str) -> Refusal | None:
        """The expert goes off air from the studio, whoever sends."""
        place = self.floor.places.get(place_id)
        if place is None or not place.hosting or place.expert_id is None:
            return Refusal(Code.NOT_HOST)
        self.go_off_air(place.expert_id)
        return None

    def go_off_air(self, expert_id: str) -> None:
        """Off air: a session ends first, then the stream."""
        self.desk.cue_expert(expert_id, Cue.EXPERT_LEFT)
        self.airing.go_offline(expert_id)

    # --- for a visitor's connection: private sessions -----------------------------------------

    async def request_private(self, place_id: str, ask: Ask) -> SessionView | Refusal:
        """A member asks for a private session with the room's expert."""
        place = self.floor.places.get(place_id)
        return Refusal(Code.PLACE_GONE) if place is None else await self.desk.request(place, ask)

    async def switch(
        self, place_id: str, component: Component, on: bool, accepted_units_per_s: int
    ) -> Refusal | None:
        """The member switches Cam2Cam or two-way audio."""
        place = self.floor.places.get(place_id)
        live = None if place is None else self.desk.of_place(place)
        if place is None or live is None or place.hosting:
            return Refusal(Code.NO_SESSION)
        return await self.feed.switch(live, component, on, accepted_units_per_s)

    def _with_place(self, place_id: str, act: Callable[[Place], Refusal | None]) -> Refusal | None:
        place = self.floor.places.get(place_id)
        return Refusal(Code.PLACE_GONE) if place is None else act(place)

    def accept(self, place_id: str, session_id: str) -> Refusal | None:
        """The expert accepts a ringing request."""
        return self._with_place(place_id, lambda place: self.desk.accept(place, session_id))

    def decline(self, place_id: str, session_id: str) -> Refusal | None:
        """The expert declines a ringing request."""
        return self._with_place(place_id, lambda place: self.desk.decline(place, session_id))

    def cancel(self, place_id: str) -> Refusal | None:
        """The member takes the request back."""
        return self._with_place(place_id, self.desk.cancel)

    def end(self, place_id: str) -> Refusal | None:
        """Either side ends the session."""
        return self._with_place(place_id, self.desk.end)

    # --- what the engines say -----------------------------------------------------------------

    def on_media(self, event: MediaEvent) -> None:
        """The media plane's events."""
        self._listener.on_media(event)

    def on_meter(self, session_id: str, event: MeterEvent) -> None:
        """The till's events."""
        self.desk.on_meter(session_id, event)

    def on_balance(self, member_id: str, balance: Balance) -> None:
        """A commit changed this member's balance: every connection of theirs hears at once."""
        for place in self.floor.places_of((VisitorKind.MEMBER, member_id)):
            self.floor.tell(place.place_id, BalanceChanged(balance))

    def on_standing(self, member_id: str) -> None:
        """A purchase settled or went back, or a rank was reached: it counts without a reconnect."""
        self.floor.spawn(self._look_again(member_id))

    async def _look_again(self, member_id: str) -> None:
        """Whoever may do more, or has another rank, is told; what is locked shows by itself."""
        for place in self.floor.places_of((VisitorKind.MEMBER, member_id)):
            new = await self.floor.directory.standing(place.visitor)
            old, place.standing = place.standing, new
            now_ms = self.floor.utc_ms()
            may_more = (new.premium and not old.premium) or locked(old, now_ms) > locked(
                new, now_ms
            )
            if may_more or new.rank != old.rank:
                self.floor.tell(place.place_id, Upgraded(place.visitor, new, now_ms))

    # --- life ---------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Do everything that is due. A fault in one thing does not stop the others."""
        while (key := self.floor.deadlines.pop_due(now_ns)) is not None:
            try:
                self._do(key)
            except Exception:
                log.exception("what was due failed: %s", key.due)

    def _do(self, key: Key) -> None:
        match key.due:
            case Due.SESSION:
                self.desk.time_out(key.of)
            case Due.PLACE:
                self.lobby.depart(key.of)
            case Due.NOTICE | Due.CARD:
                self.floor.announce(key.of)
            case Due.IDLE_VIEWERS:
                self.airing.close_idle_viewers(key.of)
            case Due.FIGURES:
                self.figures.tell(key.of)

    async def start(self) -> None:
        """Start the one timer."""
        self._timer = asyncio.get_running_loop().create_task(self._run())

    async def drain(self, notice_s: int = 0) -> None:
        """No new sessions, a notice, time for the running ones, then a clean end for the rest."""
        self.floor.draining = True
        for place_id in list(self.floor.places):
            self.floor.tell(place_id, Draining(notice_s))
        if self.desk.sessions and notice_s:
            await asyncio.wait({self.floor.spawn(self.desk.wait_until_empty())}, timeout=notice_s)
        self.desk.cue_all(Cue.SERVER_STOPPED)
        await self.floor.finish_tasks(SETTLE_S)

    async def close(self) -> None:
        """Stop the timer; call after `drain`."""
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait({self._timer})
            self._timer = None
        await self.floor.finish_tasks(SETTLE_S)

    async def _run(self) -> None:
        while True:
            now_ns = self.floor.clock_ns()
            self.tick(now_ns)
            next_ns = self.floor.deadlines.next_ns
            wait_s = None if next_ns is None else max(0.0, (next_ns - now_ns) / NS_PER_S)
            self.floor.deadline_set.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self.floor.deadline_set.wait()
            except TimeoutError:
                continue
