"""Between the wire and the house: one case per message in, one case per event out.

Law: `handle` and `deliver` are synchronous. What must wait (offers, money) is handed back as a
job, which the connection runs in its own bounded queue.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from billing_meter.ledger_store import Balance
from billing_meter.tariff import Component
from media.api import Answer, Direction, IceParameters
from rooms import events
from rooms.asking import Ask
from rooms.chat import ChatLine
from rooms.events import Feed
from rooms.floor import Place
from rooms.house import House
from rooms.refusals import Code, Refusal
from rooms.roles import Standing, Visitor, VisitorKind
from signaling import wire, wire_out
from signaling.tickets import ResumeTokens, Tickets

log = logging.getLogger(__name__)

CONNECTIONS_PER_PERSON_MAX = 5
"""Tabs and devices of one account; more is a loop in somebody's client."""

Reply = wire.ServerMessage | None
Job = Coroutine[Any, Any, Reply]


class Link(Protocol):
    """One open WebSocket, as the hub sees it. Both methods return at once."""

    def post(self, message: wire.ServerMessage) -> None:
        """Queue a message; a full queue closes the connection."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued."""
        ...


@dataclass(frozen=True, slots=True)
class Turned:
    """A connection that is not let in: an error to send, and the close code."""

    error: wire.Error
    close_code: int


class Hub:
    """All connections of this process. Sets `house.emit`."""

    def __init__(self, house: House, tickets: Tickets) -> None:
        self._house = house
        self._tickets = tickets
        self._resume = ResumeTokens()
        self._links: dict[str, Link] = {}
        self.draining = False
        house.emit = self.deliver
        house.lobby.on_departed = self._resume.forget

    @property
    def connections(self) -> int:
        """How many are open, for the metrics."""
        return len(self._links)

    # --- coming and going ---------------------------------------------------------------------

    async def hello(self, link: Link, hello: wire.Hello) -> str | Turned:
        """Let a connection in: its place id, or why not. Posts the welcome and what follows it."""
        if self.draining:
            refusal = Refusal(Code.SERVER_DRAINING)
            return Turned(wire_out.error(refusal, hello.id), wire.CLOSE_DRAINING)
        ticket = self._tickets.redeem(hello.ticket)
        if ticket is None:
            return _turned(hello, "bad_ticket", "Get a new ticket.", wire.CLOSE_UNAUTHENTICATED)
        visitor = Visitor(ticket.kind, ticket.account_id, ticket.name, hello.language)
        standing = await self._house.floor.directory.standing(visitor)
        balance = await self._balance(visitor)
        kept = None if hello.resume is None else self._resume.place(hello.resume)
        resumed = kept is not None and self._house.lobby.resume(kept, visitor, standing)
        place_id = kept if resumed else self._arrive(hello, visitor, standing)
        if not isinstance(place_id, str):
            assert place_id is not None
            return place_id
        self._replace_link(place_id, link)
        link.post(
            wire.Welcome(
                id=hello.id,
                you=wire_out.you(visitor, standing, self._house.floor.utc_ms()),
                resume=self._resume.token_for(place_id),
                resumed=resumed,
                heartbeat_s=wire.HEARTBEAT_S,
                server_time_ms=self._house.floor.utc_ms(),
                balance=None if balance is None else wire_out.balance(balance),
            )
        )
        if resumed:
            self._bring_back(place_id)
        return place_id

    def gone(self, place_id: str, link: Link) -> None:
        """The connection is closed; a link that was replaced takes nothing with it."""
        if self._links.get(place_id) is link:
            del self._links[place_id]
            self._house.lobby.lose(place_id)

    def send_away(self, kind: VisitorKind, account_id: str) -> None:
        """Sign-out or suspension: sessions and media end now, then the sockets close."""
        places = [p.place_id for p in self._house.floor.places_of((kind, account_id))]
        self._house.send_away(kind, account_id)
        for place_id in places:
            link = self._links.get(place_id)
            self._house.lobby.depart(place_id)
            if link is not None:
                link.close(wire.CLOSE_UNAUTHENTICATED, "signed out")

    def close_all(self) -> None:
        """The server stops; clients reconnect with jitter."""
        for link in list(self._links.values()):
            link.close(wire.CLOSE_DRAINING, "server restarts")

    async def _balance(self, visitor: Visitor) -> Balance | None:
        if visitor.kind is not VisitorKind.MEMBER:
            return None
        return await self._house.purse.balance(visitor.account_id)

    def _arrive(self, hello: wire.Hello, visitor: Visitor, standing: Standing) -> str | Turned:
        open_count = sum(p.connected for p in self._house.floor.places_of(visitor.key))
        if open_count >= CONNECTIONS_PER_PERSON_MAX:
            return _turned(
                hello,
                "too_many_connections",
                "Too many connections of one account.",
                wire.CLOSE_TOO_MANY_CONNECTIONS,
            )
        arrived = self._house.lobby.arrive(visitor, standing)
        if isinstance(arrived, Refusal):
            return Turned(wire_out.error(arrived, hello.id), wire.CLOSE_OVERFLOW)
        return arrived

    def _replace_link(self, place_id: str, link: Link) -> None:
        old = self._links.get(place_id)
        self._links[place_id] = link
        if old is not None:
            old.close(wire.CLOSE_REPLACED, "resumed elsewhere")

    def _bring_back(self, place_id: str) -> None:
        """After the welcome of a resumed place: the room, then what was missed."""
        view = self._house.lobby.current_view(place_id)
        if view is not None:
            self.deliver(place_id, events.Entered(view))
        for event in self._house.lobby.missed(place_id):
            self.deliver(place_id, event)

    # --- in -----------------------------------------------------------------------------------

    def handle(self, place_id: str, message: wire.ClientMessage) -> Reply | Job:
        """Do what a message asks: the reply, or a job that will give it."""
        match message:
            case wire.Hello():
                return wire.Error(code="already_welcome", message="Say hello once.", id=message.id)
            case wire.PresenceSubscribe():
                cards = self._house.lobby.watch_grid(place_id)
                return wire.PresenceList(experts=[wire_out.card(c) for c in cards], id=message.id)
            case wire.RoomEnter() | wire.RoomLeave() | wire.ChatSend() | wire.ChatPreset():
                return self._in_lobby(place_id, message)
            case wire.MediaPublish() | wire.MediaWatch():
                return self._offer(place_id, message)
            case wire.MediaRestart():
                return self._restart(place_id, message)
            case wire.MediaViewport(feed=feed, width=width, height=height):
                self._house.ways.viewport(place_id, Feed(feed), width, height)
                return _done(None, message.id)
            case wire.FiguresSubscribe() | wire.FiguresUnsubscribe():
                self._look(place_id, message)
                return _done(None, message.id)
            case wire.MediaUnpublish() | wire.MediaUnwatch() | wire.StudioGoOffline():
                return _done(self._stop_media(place_id, message), message.id)
            case wire.PrivateRequest():
                return self._request(place_id, message)
            case wire.PrivateSwitch():
                return self._switch(place_id, message)
            case (
                wire.PrivateCancel()
                | wire.PrivateAccept()
                | wire.PrivateDecline()
                | wire.PrivateEnd()
            ):
                return _done(self._in_private(place_id, message), message.id)

    def _stop_media(
        self,
        place_id: str,
        message: wire.MediaUnpublish | wire.MediaUnwatch | wire.StudioGoOffline,
    ) -> Refusal | None:
        match message:
            case wire.MediaUnpublish(feed=feed):
                return self._house.unpublish(place_id, Feed(feed))
            case wire.MediaUnwatch(feed=feed):
                return self._house.unwatch(place_id, Feed(feed))
            case wire.StudioGoOffline():
                return self._house.go_offline(place_id)

    def _look(
        self, place_id: str, message: wire.FiguresSubscribe | wire.FiguresUnsubscribe
    ) -> None:
        match message:
            case wire.FiguresSubscribe():
                self._house.figures.subscribe(place_id)
            case wire.FiguresUnsubscribe():
                self._house.figures.unsubscribe(place_id)

    def _in_private(
        self,
        place_id: str,
        message: wire.PrivateCancel | wire.PrivateAccept | wire.PrivateDecline | wire.PrivateEnd,
    ) -> Refusal | None:
        match message:
            case wire.PrivateCancel():
                return self._house.cancel(place_id)
            case wire.PrivateAccept(session=session):
                return self._house.accept(place_id, session)
            case wire.PrivateDecline(session=session):
                return self._house.decline(place_id, session)
            case wire.PrivateEnd():
                return self._house.end(place_id)

    def _in_lobby(
        self,
        place_id: str,
        message: wire.RoomEnter | wire.RoomLeave | wire.ChatSend | wire.ChatPreset,
    ) -> Reply:
        lobby, reply_to = self._house.lobby, message.id
        match message:
            case wire.RoomEnter(expert=expert):
                view = lobby.enter(place_id, expert)
                if isinstance(view, Refusal):
                    return wire_out.error(view, reply_to)
                return wire_out.room(view, self._language(place_id), reply_to)
            case wire.RoomLeave():
                refusal = lobby.leave(place_id)
                if refusal is not None:
                    return wire_out.error(refusal, reply_to)
                return wire.RoomLeft(reason="left", id=reply_to)
            case wire.ChatSend(text=text, session=session):
                return self._said(place_id, lobby.say(place_id, text, session), reply_to)
            case wire.ChatPreset(preset=preset):
                return self._said(place_id, lobby.choose(place_id, preset), reply_to)

    def _said(self, place_id: str, line: ChatLine | Refusal, reply_to: int | None) -> Reply:
        if isinstance(line, Refusal):
            return wire_out.error(line, reply_to)
        return wire.ChatMessage(
            line=wire_out.chat_line(line, self._language(place_id)), id=reply_to
        )

    async def _offer(self, place_id: str, message: wire.MediaPublish | wire.MediaWatch) -> Reply:
        feed = Feed(message.feed)
        answer: Answer | Refusal
        if isinstance(message, wire.MediaPublish):
            answer = await self._house.publish(place_id, feed, message.sdp)
        else:
            answer = await self._house.watch(place_id, feed, message.sdp)
        if isinstance(answer, Refusal):
            return wire_out.error(answer, message.id)
        return wire.MediaAnswer(
            feed=message.feed,
            direction="publish" if isinstance(message, wire.MediaPublish) else "watch",
            sdp=answer.sdp,
            id=message.id,
        )

    def _restart(self, place_id: str, message: wire.MediaRestart) -> Reply:
        ways = self._house.ways
        way = ways.of_place(place_id, Feed(message.feed), Direction(message.direction))
        theirs = IceParameters(message.ufrag, message.pwd)
        ours = None if way is None else ways.restart(way, theirs)
        if ours is None:
            return wire_out.error(Refusal(Code.NO_FEED), message.id)
        return wire.MediaRestarted(
            feed=message.feed,
            direction=message.direction,
            ufrag=ours.ufrag,
            pwd=ours.password,
            id=message.id,
        )

    async def _request(self, place_id: str, message: wire.PrivateRequest) -> Reply:
        flags = {
            Component.CAM2CAM: message.cam2cam,
            Component.TWO_WAY_AUDIO: message.two_way_audio,
        }
        wanted = frozenset(component for component, asked in flags.items() if asked)
        ask = Ask(message.accepted_units_per_s, wanted, message.spend_limit_units)
        view = await self._house.request_private(place_id, ask)
        if isinstance(view, Refusal):
            return wire_out.error(view, message.id)
        return wire.PrivateState(session=wire_out.session(view), id=message.id)

    async def _switch(self, place_id: str, message: wire.PrivateSwitch) -> Reply:
        refusal = await self._house.switch(
            place_id, Component(message.component), message.on, message.accepted_units_per_s
        )
        return _done(refusal, message.id)

    # --- out ----------------------------------------------------------------------------------

    def deliver(self, place_id: str, event: events.Event) -> None:
        """Tell a connection what happened; a place without one hears it on return."""
        link, place = self._links.get(place_id), self._house.floor.places.get(place_id)
        if link is not None and place is not None:
            link.post(_told(event, place))

    def tell_member(self, member_id: str, message: wire.ServerMessage) -> None:
        """Tell every open connection of a member what is no event of the rooms."""
        for place in self._house.floor.places_of((VisitorKind.MEMBER, member_id)):
            link = self._links.get(place.place_id)
            if link is not None:
                link.post(message)

    def _language(self, place_id: str) -> wire.Language:
        place = self._house.floor.places.get(place_id)
        return "en" if place is None else place.visitor.language


def _told(event: events.Event, place: Place) -> wire.ServerMessage:
    """The wire message of an event, as this visitor reads it."""
    language = place.visitor.language
    match event:
        case events.Entered(view=view):
            return wire_out.room(view, language, None)
        case events.Left(reason=reason):
            return wire.RoomLeft(reason=reason.value)
        case events.CardChanged() | events.CardGone():
            return _told_of_grid(event)
        case events.RoomChanged(card=card, wall=wall):
            return wire.RoomState(expert=wire_out.card(card), wall=wall.value)
        case events.ChatPosted(line=line):
            return wire.ChatMessage(line=wire_out.chat_line(line, language))
        case events.FeedStopped(feed=feed, direction=direction, reason=why):
            return wire.MediaStopped(feed=feed.value, direction=direction.value, reason=why)
        case events.FeedQuality():
            return wire.MediaQuality(
                feed=event.feed.value,
                direction=event.direction.value,
                level=event.level.value,
                reason=event.reason,
                far=event.far,
            )
        case events.FiguresShown():
            return wire_out.figures(event)
        case events.BalanceChanged(balance=balance):
            return wire.WalletBalance(balance=wire_out.balance(balance))
        case events.Upgraded(visitor=visitor, standing=standing, at_ms=at_ms):
            return wire.AccountUpgraded(you=wire_out.you(visitor, standing, at_ms))
        case events.Draining(seconds=seconds):
            return wire.ServerDraining(seconds=seconds)
        case _:
            return _told_of_session(event)


def _told_of_grid(event: events.CardChanged | events.CardGone) -> wire.ServerMessage:
    match event:
        case events.CardChanged(card=card):
            return wire.PresenceChanged(expert=wire_out.card(card))
        case events.CardGone(name=name):
            return wire.PresenceGone(name=name)


def _told_of_session(event: events.SessionEvent) -> wire.ServerMessage:
    match event:
        case events.Incoming(session=session):
            return wire.PrivateIncoming(
                session=wire_out.session(session),
                member_rank=event.member_rank,
                balance_band=event.band.value,
                rate_units_per_s=event.rate_units_per_s,
            )
        case events.SessionChanged(session=session):
            return wire.PrivateState(session=wire_out.session(session))
        case events.Hud():
            return wire_out.hud(event)
        case events.LowBalance(session_id=session_id, seconds_left=seconds_left, cause=cause):
            return wire.PrivateLowBalance(
                session=session_id, seconds_left=seconds_left, cause=cause.value
            )
        case events.SessionSummary():
            return wire_out.summary(event)


def _done(refusal: Refusal | None, reply_to: int | None) -> Reply:
    if refusal is not None:
        return wire_out.error(refusal, reply_to)
    return None if reply_to is None else wire.Ack(id=reply_to)


def _turned(hello: wire.Hello, code: str, message: str, close_code: int) -> Turned:
    return Turned(wire.Error(code=code, message=message, id=hello.id), close_code)
