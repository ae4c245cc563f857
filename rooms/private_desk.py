"""Private sessions: where the state machine, the media plane and the till meet.

Law: rows are cut in synchronous code, before anything is awaited and before anybody is told; rows
are laid only for the two of a session, and only through gates that the till opens.
"""

import asyncio
import logging

from billing_meter.database import DatabaseUnavailable
from billing_meter.meter import (
    START_NEEDS_S,
    Exhausted,
    LedgerLost,
    MeterEvent,
    Paused,
    Resumed,
    SessionOrder,
    SpendLimit,
    Started,
    Summary,
    Ticked,
)
from billing_meter.meter import LowBalance as MeterLowBalance
from billing_meter.meter_types import FUNDS_CODES
from billing_meter.tariff import Component
from billing_meter.till import Opened, Refused
from media.api import BOTH_KINDS
from rooms.airing import Airing, Watcher, stream_source
from rooms.asking import Ask, balance_band, new_session, objection
from rooms.deadlines import Due, Key
from rooms.engines import MediaEngine, MeterEngine, Purse
from rooms.events import (
    Hud,
    Incoming,
    LowBalance,
    SessionSummary,
    SessionView,
)
from rooms.floor import Floor, Place
from rooms.member_feed import Live, MemberFeed
from rooms.private import RUNNING, Cue, EndReason, Phase, PrivateSession, total_rate
from rooms.refusals import Code, Refusal
from rooms.room import Room

log = logging.getLogger(__name__)

_CUES_OF_REFUSALS = {str(code): Cue(end.value) for end, code in FUNDS_CODES.items()}
"""Why a session that was accepted could not begin, as far as it is the member's money."""


class PrivateDesk:
    """Every private session of the house."""

    def __init__(
        self,
        floor: Floor,
        airing: Airing,
        feed: MemberFeed,
        media: MediaEngine,
        till: MeterEngine,
        purse: Purse,
    ) -> None:
        self._floor = floor
        self._airing = airing
        self._feed = feed
        self._media = media
        self._till = till
        self._purse = purse
        self.sessions: dict[str, Live] = {}
        self._session_of_member: dict[str, str] = {}
        self._changed = asyncio.Event()
        airing.lay_private_row = self._lay_private_row

    # --- request, accept, end -----------------------------------------------------------------

    async def request(self, place: Place, ask: Ask) -> SessionView | Refusal:
        """A member asks the room's expert; rings if nothing speaks against it."""
        refusal = self._objection(place, ask)
        if refusal is not None:
            return refusal
        if not self._purse.writable:
            return Refusal(Code.LEDGER_UNAVAILABLE)
        try:
            balance = await self._purse.balance(place.visitor.account_id)
            leeway = await self._purse.leeway(place.visitor.account_id)
        except DatabaseUnavailable:
            return Refusal(Code.LEDGER_UNAVAILABLE)
        room = self._floor.room_of(place)
        refusal = self._objection(place, ask)  # the world went on while the balance was read
        if refusal is not None or room is None:
            return refusal or Refusal(Code.NOT_IN_ROOM)
        needed_units = START_NEEDS_S * ask.accepted_units_per_s
        if leeway.units is not None and leeway.units < needed_units:
            return Refusal(Code(FUNDS_CODES[leeway.end]), {"needed_units": needed_units})
        own = leeway.session_units
        if own is not None and own < ask.accepted_units_per_s:
            return Refusal(Code.LIMIT_SESSION, {"needed_units": ask.accepted_units_per_s})
        if balance.available < needed_units:
            return Refusal(Code.INSUFFICIENT_CREDITS, {"needed_units": needed_units})
        session = new_session(self._floor, place, room.expert_id, ask)
        if session is None or not room.lock(session, session.requested_ns):
            return Refusal(Code.BUSY)
        live = self.sessions[session.session_id] = Live(session)
        self._session_of_member[session.member_id] = session.session_id
        self._arm(session)
        self._ring(live, balance.available)
        self._floor.announce(room.expert_id)
        return self._floor.session_view(session, is_expert=False)

    def accept(self, place: Place, session_id: str) -> Refusal | None:
        """The expert accepts: the room is sealed now, then the till opens."""
        live = self._hosted(place, session_id)
        if live is None or live.session.phase is not Phase.RINGING:
            return Refusal(Code.NO_SESSION)
        live.session.expert_place = place.place_id
        self._cue(live, Cue.ACCEPT)
        return None

    def decline(self, place: Place, session_id: str) -> Refusal | None:
        """The expert declines."""
        live = self._hosted(place, session_id)
        if live is None or not self._cue(live, Cue.DECLINE):
            return Refusal(Code.NO_SESSION)
        return None

    def cancel(self, place: Place) -> Refusal | None:
        """The member takes the request back."""
        live = self._own(place)
        if live is None or not self._cue(live, Cue.CANCEL):
            return Refusal(Code.NO_SESSION)
        return None

    def end(self, place: Place) -> Refusal | None:
        """Either side ends the session, at once."""
        live = self.of_place(place)
        cue = Cue.EXPERT_LEFT if place.hosting else Cue.MEMBER_LEFT
        if live is None or not self._cue(live, cue):
            return Refusal(Code.NO_SESSION)
        return None

    def cue_expert(self, expert_id: str, cue: Cue) -> None:
        """Something happened to an expert; their session, if any, hears of it."""
        session = self._floor.room(expert_id).session
        if session is not None:
            self._cue(self.sessions[session.session_id], cue)

    def cue_session(self, session_id: str, cue: Cue) -> None:
        """Something happened to a session; a session that is gone does not mind."""
        live = self.sessions.get(session_id)
        if live is not None:
            self._cue(live, cue)

    def time_out(self, session_id: str) -> None:
        """A phase took too long, unless packets ended it that nobody was told of yet."""
        live = self.sessions.get(session_id)
        if live is None:
            return
        due_ns = live.session.deadline_ns
        self._till.look(session_id)
        if live.session.deadline_ns == due_ns:
            self._cue(live, Cue.TIME_OUT)

    def cue_all(self, cue: Cue) -> None:
        """Something happened to every session."""
        for live in list(self.sessions.values()):
            self._cue(live, cue)

    # --- finding ------------------------------------------------------------------------------

    def of_place(self, place: Place) -> Live | None:
        """The session that this place is a side of."""
        room = self._floor.room_of(place)
        if room is None or room.session is None:
            return None
        if not self._floor.is_party(place, room.session):
            return None
        return self.sessions[room.session.session_id]

    def of_member(self, member_id: str) -> Live | None:
        """The session of a member account, from whatever place."""
        session_id = self._session_of_member.get(member_id)
        return None if session_id is None else self.sessions[session_id]

    def of_feed_viewer(self, viewer_id: str) -> Live | None:
        """The session whose member's feed this viewer receives."""
        for live in self.sessions.values():
            if live.feed_viewer == viewer_id:
                return live
        return None

    async def wait_until_empty(self) -> None:
        """Return when no session is left."""
        while self.sessions:
            self._changed.clear()
            await self._changed.wait()

    def _objection(self, place: Place, ask: Ask) -> Refusal | None:
        if place.visitor.account_id in self._session_of_member:
            return Refusal(Code.ALREADY_IN_SESSION)
        return objection(self._floor, place, ask)

    def _own(self, place: Place) -> Live | None:
        live = self.of_place(place)
        return None if live is None or place.hosting else live

    def _hosted(self, place: Place, session_id: str) -> Live | None:
        live = self.of_place(place)
        hosted = live is not None and place.hosting and live.session.session_id == session_id
        return live if hosted else None

    # --- telling ------------------------------------------------------------------------------

    def _ring(self, live: Live, available_units: int) -> None:
        session = live.session
        rate = total_rate(session.tariff, session.wanted)
        live.band = balance_band(available_units, rate)
        for place_id in self._floor.room(session.expert_id).hosts:
            self._floor.tell(place_id, self.incoming(live))

    def incoming(self, live: Live) -> Incoming:
        """The request card of the studio."""
        session = live.session
        return Incoming(
            session=self._floor.session_view(session, is_expert=True),
            member_rank=session.member_rank,
            band=live.band,
            rate_units_per_s=total_rate(session.tariff, session.wanted),
        )

    # --- the one place where a phase changes --------------------------------------------------

    def _cue(self, live: Live, cue: Cue) -> bool:
        """Apply a cue and do what the new phase demands; False if it meant nothing."""
        session, now_ns = live.session, self._floor.clock_ns()
        step = session.apply(cue, now_ns)
        if step is None:
            return False
        room = self._floor.room(session.expert_id)
        match step.after:
            case Phase.CONNECTING:
                self._airing.clear_rows(session.expert_id)
                live.opening = self._floor.spawn(self._open(live))
            case Phase.ENDING:
                self._cut(live)
                self._floor.spawn(self._settle(live))
            case Phase.ACTIVE if step.before is Phase.CONNECTING:
                self._feed.begin(live)
            case Phase.RINGING | Phase.ACTIVE | Phase.PAUSED | Phase.ENDED:
                pass
        self._arm(session)
        room.follow(session, now_ns)
        if step.after is Phase.ENDED:
            self._forget(session)
            if step.before is Phase.ENDING:
                self._airing.lay_free_rows(session.expert_id)
        self._floor.tell_session(session)
        self._floor.announce(session.expert_id)
        return True

    def _arm(self, session: PrivateSession) -> None:
        self._floor.set_deadline(Key(Due.SESSION, session.session_id), session.deadline_ns)

    def _forget(self, session: PrivateSession) -> None:
        del self.sessions[session.session_id]
        del self._session_of_member[session.member_id]
        self._changed.set()

    def _cut(self, live: Live) -> None:
        """Every private row goes, in both directions; nothing is awaited before this is done.

        The count ends with them: what people are told from here on is what it came to.
        """
        self._airing.clear_rows(live.session.expert_id)
        self._feed.cut(live)
        if live.opened:
            self._till.cut(live.session.session_id, _reason(live.session))

    # --- money --------------------------------------------------------------------------------

    async def _open(self, live: Live) -> None:
        session = live.session
        order = SessionOrder(
            session_id=session.session_id,
            member_id=session.member_id,
            expert_id=session.expert_id,
            tariff=session.tariff,
            spend_limit_units=session.spend_limit_units,
            wanted=frozenset(session.wanted),
        )
        try:
            result = await self._till.open(order)
        except Exception:
            log.exception("the till could not open a session")
            self._cue(live, Cue.LEDGER_LOST)
            return
        match result:
            case Opened():
                live.opened = True
                watcher = self._airing.watcher_of(session.member_place)
                if watcher is not None:
                    self._lay_private_row(self._floor.room(session.expert_id), watcher)
            case Refused(code=code):
                self._cue(live, _CUES_OF_REFUSALS.get(code, Cue.LEDGER_LOST))

    async def _settle(self, live: Live) -> None:
        """The rows are gone already; write the final post, free the room, tell what it came to.

        A session that never became active has no bill: its reason says it all.
        """
        session, summary = live.session, None
        if live.opening is not None:
            await asyncio.wait({live.opening})
        if live.opened:
            try:
                summary = await self._till.close(session.session_id, _reason(session))
            except Exception:
                log.exception("a session's final post waits for the next start")
        self._cue(live, Cue.SETTLED)
        if summary is not None and summary.started_at is not None:
            self._tell_summary(session, summary)

    def _tell_summary(self, session: PrivateSession, summary: Summary) -> None:
        reason = session.reason or EndReason.MEDIA_LOST
        for place_id, is_expert in self._floor.parties(session):
            event = SessionSummary(
                summary, reason.told(is_expert), session.expert_name, session.member_name, is_expert
            )
            self._floor.tell(place_id, event)

    def on_meter(self, session_id: str, event: MeterEvent) -> None:
        """The till's word on a session: what people see, and what ends or pauses it."""
        live = self.sessions.get(session_id)
        if live is None:
            return
        match event:
            case Ticked(snapshot=snapshot):
                for place_id, is_expert in self._floor.parties(live.session):
                    self._floor.tell(place_id, Hud(snapshot, is_expert))
            case MeterLowBalance(seconds_left=seconds_left, cause=cause):
                for place_id, is_expert in self._floor.parties(live.session):
                    told = EndReason(cause.value).told(is_expert)
                    self._floor.tell(place_id, LowBalance(session_id, seconds_left, told))
            case Started():
                self._cue(live, Cue.FIRST_MEDIA)
            case Paused():
                self._cue(live, Cue.MEDIA_PAUSED)
            case Resumed():
                self._cue(live, Cue.MEDIA_BACK)
            case Exhausted():
                self._cue(live, Cue.BALANCE_EMPTY)
            case SpendLimit(end=end):
                self._cue(live, Cue(end.value))
            case LedgerLost():
                self._cue(live, Cue.LEDGER_LOST)

    # --- rows ---------------------------------------------------------------------------------

    def _lay_private_row(self, room: Room, watcher: Watcher) -> None:
        """The expert's stream to the session's member, behind a gate of the till."""
        session = room.session
        if session is None or session.phase not in RUNNING:
            return
        live = self.sessions[session.session_id]
        if not live.opened or watcher.place_id != session.member_place:
            return
        gate = self._media.forward_gated(
            stream_source(session.expert_id), watcher.viewer_id, BOTH_KINDS
        )
        self._till.attach(session.session_id, Component.PRIVATE, gate)


def _reason(session: PrivateSession) -> str:
    return (session.reason or EndReason.MEDIA_LOST).value
