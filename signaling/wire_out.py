"""The house's facts in the words of the wire: plain translations, one function per thing."""

from __future__ import annotations

from billing_meter.ledger_store import Balance, utc_ms
from billing_meter.meter import Line
from billing_meter.sessions import REFUND_WINDOW_MS
from billing_meter.tariff import Tariff
from media.api import StreamFigures
from rooms import events
from rooms.chat import ChatLine
from rooms.limits import NS_PER_MS, NS_PER_US
from rooms.presets import PRESETS
from rooms.refusals import Refusal
from rooms.rights import locked
from rooms.roles import Language, Role, Standing, Visitor, VisitorKind
from signaling import wire

ROLE_OF_KIND: dict[VisitorKind, wire.Role] = {
    VisitorKind.GUEST: "guest",
    VisitorKind.MEMBER: "member",
    VisitorKind.EXPERT: "expert",
}


def prices(tariff: Tariff) -> wire.Prices:
    """Units per second."""
    return wire.Prices(
        private=tariff.private_units_per_s,
        cam2cam=tariff.cam2cam_units_per_s,
        two_way_audio=tariff.two_way_audio_units_per_s,
    )


def card(card: events.Card) -> wire.ExpertCard:
    """One expert in the grid."""
    return wire.ExpertCard(
        name=card.name,
        display_name=card.display_name,
        headline=card.headline,
        categories=list(card.categories),
        languages=list(card.languages),
        state=card.state.value,
        notice=None if card.notice is None else card.notice.value,
        has_sound=card.has_sound,
        cam2cam=card.cam2cam,
        two_way_audio=card.two_way_audio,
        prices=prices(card.tariff),
        viewers=card.viewers,
    )


def you(visitor: Visitor, standing: Standing, now_ms: int) -> wire.You:
    """Who the client is, at this UTC millisecond."""
    return wire.You(
        role=ROLE_OF_KIND[visitor.kind],
        name=visitor.name,
        premium=standing.premium,
        rank=standing.rank,
        language=visitor.language,
        locked=[feature.value for feature in sorted(locked(standing, now_ms))],
    )


def balance(balance: Balance) -> wire.Balance:
    """A member's balance."""
    return wire.Balance(
        paid_units=balance.paid_units,
        promo_units=balance.promo_units,
        held_units=balance.held_units,
        available_units=balance.available,
    )


def chat_line(line: ChatLine, language: Language) -> wire.ChatLine:
    """A line as this receiver reads it."""
    return wire.ChatLine(
        n=line.n,
        at_ms=line.at_ms,
        name=line.name,
        role=line.role.value,
        rank=line.rank,
        text=line.text_for(language),
        preset=line.preset,
    )


def presets(role: Role, language: Language) -> list[wire.Preset]:
    """What a guest may say; empty for those who type."""
    if role is not Role.GUEST:
        return []
    return [wire.Preset(id=key, text=texts[language]) for key, texts in PRESETS.items()]


def figures(event: events.FiguresShown) -> wire.Figures:
    """The figures of a visitor's own connections."""
    return wire.Figures(connections=[_connection(shown) for shown in event.connections])


def _connection(shown: events.ConnectionFigures) -> wire.ConnectionFigures:
    peer = shown.figures
    streams = zip(peer.streams, shown.bitrates_bps, strict=True)
    return wire.ConnectionFigures(
        feed=shown.feed.value,
        direction=shown.direction.value,
        level=peer.level.value,
        reason=peer.reason,
        transport=peer.transport.value,
        round_trip_us=None if peer.round_trip_ns is None else peer.round_trip_ns // NS_PER_US,
        estimate_bps=peer.estimate_bps,
        silent_ms=None if peer.silent_ns is None else peer.silent_ns // NS_PER_MS,
        streams=[_stream(stream, bitrate_bps) for stream, bitrate_bps in streams],
    )


def _stream(stream: StreamFigures, bitrate_bps: int | None) -> wire.StreamFigures:
    width, height = stream.size or (None, None)
    lost = stream.fraction_lost
    return wire.StreamFigures(
        kind=stream.kind.value,
        codec=stream.codec,
        layer=stream.layer,
        width=width,
        height=height,
        bitrate_bps=bitrate_bps,
        packets=stream.packets,
        lost_permille=None if lost is None else round(lost * 1000),
        jitter_us=None if stream.jitter_ns is None else stream.jitter_ns // NS_PER_US,
        asked_again=stream.asked_again,
        repaired=stream.repaired,
        keyframes_asked=stream.keyframes_asked,
    )


def session(view: events.SessionView) -> wire.SessionView:
    """A session as its two see it."""
    return wire.SessionView(
        session=view.session_id,
        phase=view.phase.value,
        expert=view.expert_name,
        member=view.member_name,
        prices=prices(view.tariff),
        cam2cam=view.cam2cam,
        two_way_audio=view.two_way_audio,
        cam2cam_possible=view.cam2cam_possible,
        two_way_audio_possible=view.two_way_audio_possible,
        ring_ms_left=view.ring_ms_left,
        grace_ms_left=view.grace_ms_left,
        reason=None if view.reason is None else view.reason.value,
    )


def room(view: events.RoomView, language: Language, reply_to: int | None) -> wire.RoomEntered:
    """A whole room."""
    return wire.RoomEntered(
        expert=card(view.card),
        about=view.about,
        you_host=view.hosting,
        favorite=False,
        chat=[chat_line(line, language) for line in view.chat],
        presets=presets(view.role, language),
        wall=view.wall.value,
        session=None if view.session is None else session(view.session),
        id=reply_to,
    )


def cost_line(line: Line) -> wire.CostLine:
    """One component of a bill."""
    return wire.CostLine(
        component=line.component.value,
        on=line.on,
        rate_units_per_s=line.rate_units_per_s,
        seconds=line.seconds,
        units=line.units,
    )


def hud(event: events.Hud) -> wire.PrivateHud:
    """The meter's word; the expert learns nothing of the member's balance."""
    shot, expert = event.snapshot, event.for_expert
    return wire.PrivateHud(
        session=shot.session_id,
        held_ms=shot.held_ms,
        paused=shot.paused,
        rate_units_per_s=shot.rate_units_per_s,
        cost_units=shot.cost_units,
        lines=[cost_line(line) for line in shot.lines],
        balance_units=None if expert else shot.balance_units,
        time_left_s=None if expert else shot.time_left_s,
        earned_units=shot.earned_units if expert else None,
    )


def summary(event: events.SessionSummary) -> wire.PrivateSummary:
    """What a session came to."""
    bill, expert = event.summary, event.for_expert
    ended_at_ms = utc_ms(bill.ended_at)
    started_at = bill.started_at or bill.ended_at
    return wire.PrivateSummary(
        session=bill.session_id,
        reason=event.reason.value,
        expert=event.expert_name,
        member=event.member_name,
        held_ms=bill.held_ms,
        lines=[cost_line(line) for line in bill.lines],
        total_units=bill.cost_units,
        started_at_ms=utc_ms(started_at),
        ended_at_ms=ended_at_ms,
        balance_units=None if expert else bill.balance_units,
        earned_units=bill.earned_units if expert else None,
        refund_until_ms=None if expert else ended_at_ms + REFUND_WINDOW_MS,
    )


def error(refusal: Refusal, reply_to: int | None) -> wire.Error:
    """A refusal with its stable code."""
    return wire.Error(
        code=refusal.code.value, message=refusal.message, id=reply_to, data=dict(refusal.data)
    )
