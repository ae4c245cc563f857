"""What a member may ask for: rights, capability, price, and the session that follows from it."""

from dataclasses import dataclass

from billing_meter.tariff import Component
from rooms.events import BalanceBand
from rooms.floor import Floor, Place
from rooms.limits import BALANCE_BANDS_S
from rooms.private import PrivateSession, total_rate
from rooms.refusals import Code, Refusal
from rooms.roles import may_buy_time


@dataclass(frozen=True, slots=True)
class Ask:
    """What a member confirmed in the start dialog."""

    accepted_units_per_s: int
    wanted: frozenset[Component]
    spend_limit_units: int | None = None


def objection(floor: Floor, place: Place, ask: Ask) -> Refusal | None:
    """The first thing that speaks against a request, or None. The balance is not looked at."""
    room = floor.room_of(place)
    if room is None:
        return Refusal(Code.NOT_IN_ROOM)
    profile = floor.directory.expert(room.expert_id)
    if profile is None:
        return Refusal(Code.NO_SUCH_EXPERT)
    if not may_buy_time(place.visitor, place.standing):
        return Refusal(Code.PREMIUM_REQUIRED)
    if floor.draining:
        return Refusal(Code.SERVER_DRAINING)
    if room.session is not None:
        return Refusal(Code.BUSY)
    if not room.presence.media_fresh:
        return Refusal(Code.EXPERT_OFFLINE)
    if not floor.somebody_at_desk(room):
        return Refusal(Code.EXPERT_AWAY)
    if not ask.wanted <= possible_of(profile.cam2cam, profile.two_way_audio):
        return Refusal(Code.NOT_AVAILABLE)
    rate = total_rate(profile.tariff, ask.wanted)
    if rate != ask.accepted_units_per_s:
        return Refusal(Code.PRICE_CHANGED, {"rate_units_per_s": rate})
    return None


def new_session(floor: Floor, place: Place, expert_id: str, ask: Ask) -> PrivateSession | None:
    """A ringing session at the prices of this instant; None if the expert's account is gone."""
    profile = floor.directory.expert(expert_id)
    if profile is None:
        return None
    return PrivateSession(
        session_id=floor.new_id(),
        expert_id=expert_id,
        expert_name=profile.name,
        member_id=place.visitor.account_id,
        member_name=place.visitor.name,
        member_rank=place.standing.rank,
        tariff=profile.tariff,
        possible=possible_of(profile.cam2cam, profile.two_way_audio),
        member_place=place.place_id,
        requested_ns=floor.clock_ns(),
        spend_limit_units=ask.spend_limit_units,
        wanted=set(ask.wanted),
    )


def possible_of(cam2cam: bool, two_way_audio: bool) -> frozenset[Component]:
    """The surcharges that an expert's flags allow."""
    flags = {Component.CAM2CAM: cam2cam, Component.TWO_WAY_AUDIO: two_way_audio}
    return frozenset(component for component, allowed in flags.items() if allowed)


def balance_band(available_units: int, rate_units_per_s: int) -> BalanceBand:
    """How long the balance lasts at this rate, roughly."""
    seconds = available_units // rate_units_per_s if rate_units_per_s else BALANCE_BANDS_S[1]
    if seconds < BALANCE_BANDS_S[0]:
        return BalanceBand.UNDER_5_MIN
    if seconds < BALANCE_BANDS_S[1]:
        return BalanceBand.FROM_5_TO_10_MIN
    return BalanceBand.OVER_10_MIN
