"""A private session from the request to the summary: rows, money and words at every step."""

import asyncio
import dataclasses

import pytest

from billing_meter.meter import (
    End,
    Exhausted,
    LedgerLost,
    Leeway,
    LowBalance,
    MeterEvent,
    Paused,
    Resumed,
    SpendLimit,
    Started,
)
from billing_meter.tariff import Component, Tariff
from billing_meter.till import Refused
from media.api import BOTH_KINDS, Kind, SourceStale
from rooms.airing import stream_source
from rooms.asking import Ask, balance_band
from rooms.events import (
    BalanceBand,
    Feed,
    Hud,
    Incoming,
    RoomChanged,
    SessionChanged,
    SessionSummary,
    Wall,
)
from rooms.events import LowBalance as LowBalanceTold
from rooms.presence import Notice, PresenceState
from rooms.private import EndReason, Phase
from rooms.refusals import Code, Refusal
from rooms.roles import VisitorKind
from tests.rooms.world import FULL_RATE, World

LUNA = stream_source("luna")


def phases(world: World, place: str) -> list[Phase]:
    return [event.session.phase for event in world.heard(place, SessionChanged)]


async def test_a_request_rings_in_the_studio_with_rank_and_band(world: World) -> None:
    expert = await world.live_expert()
    member = world.member()
    view = await world.request(member, Component.CAM2CAM)
    assert view.phase is Phase.RINGING
    assert view.ring_ms_left == 30_000
    (card,) = world.heard(expert, Incoming)
    assert card.member_rank == "bronze"
    assert card.rate_units_per_s == 399
    assert card.band is BalanceBand.OVER_10_MIN
    assert world.house.card("luna").state is PresenceState.RINGING


@pytest.mark.parametrize(
    ("seconds", "band"),
    [
        (299, BalanceBand.UNDER_5_MIN),
        (300, BalanceBand.FROM_5_TO_10_MIN),
        (599, BalanceBand.FROM_5_TO_10_MIN),
        (600, BalanceBand.OVER_10_MIN),
    ],
)
def test_balance_bands(seconds: int, band: BalanceBand) -> None:
    assert balance_band(seconds * 299, 299) is band


async def test_before_the_till_opens_every_row_is_gone_and_the_source_sealed(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    for place in (member, guest):
        await world.watch(place)
    public = await world.house.watch_public("luna", "offer")
    assert not isinstance(public, Refusal)
    assert len(world.media.receivers(LUNA)) == 3
    view = await world.request(member)
    world.till.held_back = asyncio.Event()
    world.media.log.clear()
    assert world.house.accept(expert, view.session_id) is None
    assert world.media.receivers(LUNA) == set()  # at once, with nothing awaited
    assert world.media.log == [f"seal {LUNA}"]
    assert world.heard(guest, RoomChanged)[-1].wall is Wall.PRIVATE
    assert world.house.card("luna").notice is Notice.ENTERING_PRIVATE
    await world.settle()
    assert world.media.receivers(LUNA) == set()  # no row before the hold is durable
    world.till.held_back.set()
    await world.settle()
    viewer = world.house.airing.watcher_of(member).viewer_id
    assert world.media.receivers(LUNA) == {viewer}
    assert world.media.kinds(LUNA, viewer) == set(Kind)


async def test_the_first_forwarded_packet_makes_it_active(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.watch(member)
    await world.active(member, expert)
    assert phases(world, member) == [Phase.CONNECTING, Phase.ACTIVE]
    assert phases(world, expert) == [Phase.CONNECTING, Phase.ACTIVE]
    assert world.house.card("luna").state is PresenceState.IN_PRIVATE


async def test_the_end_cuts_first_then_settles_then_opens_the_room(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    viewers = {await world.watch(member), await world.watch(guest)}
    session_id = await world.active(member, expert)
    world.till.held_back = asyncio.Event()
    assert world.house.end(member) is None
    assert world.media.receivers(LUNA) == set()
    await world.settle()
    assert phases(world, expert)[-1] is Phase.ENDING
    assert world.media.receivers(LUNA) == set()
    world.till.held_back.set()
    await world.settle()
    assert world.till.closed == {session_id: "member_left"}
    assert world.media.receivers(LUNA) == viewers  # the free picture is back on the same viewers
    assert world.heard(guest, RoomChanged)[-1].wall is Wall.NONE
    assert world.house.card("luna").state is PresenceState.LIVE_FREE
    for place, is_expert in ((member, False), (expert, True)):
        (summary,) = world.heard(place, SessionSummary)
        assert summary.for_expert is is_expert
        assert summary.reason is EndReason.MEMBER_LEFT
    assert not world.heard(guest, SessionSummary)
    assert not world.heard(guest, SessionChanged)


async def test_hud_and_low_balance_reach_the_two_and_nobody_else(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    session_id = await world.active(member, expert)
    world.tick_meter(session_id, 1_000)
    world.house.on_meter(session_id, LowBalance(180, End.LIMIT_DAY))
    assert [h.for_expert for h in world.heard(member, Hud)] == [False]
    assert [h.for_expert for h in world.heard(expert, Hud)] == [True]
    for place in (member, expert):
        assert world.heard(place, LowBalanceTold)[0].seconds_left == 180
    assert not world.heard(guest, Hud)
    assert not world.heard(guest, LowBalanceTold)


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Exhausted(), EndReason.BALANCE_EMPTY),
        (SpendLimit(End.LIMIT_SESSION), EndReason.LIMIT_SESSION),
        (SpendLimit(End.LIMIT_DAY), EndReason.LIMIT_DAY),
        (SpendLimit(End.LIMIT_WEEK), EndReason.LIMIT_WEEK),
        (SpendLimit(End.LIMIT_MONTH), EndReason.LIMIT_MONTH),
        (SpendLimit(End.ON_BREAK), EndReason.ON_BREAK),
        (LedgerLost(), EndReason.LEDGER_UNAVAILABLE),
    ],
)
async def test_the_meter_ends_it(world: World, event: object, reason: EndReason) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.watch(member)
    session_id = await world.active(member, expert)
    world.house.on_meter(session_id, event)
    assert world.media.receivers(LUNA) == set()
    await world.settle()
    assert world.heard(member, SessionChanged)[-1].session.reason is reason
    assert world.till.closed[session_id] == reason.value


async def test_no_media_pauses_and_thirty_seconds_later_ends(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    session_id = await world.active(member, expert)
    world.house.on_meter(session_id, Paused(world.clock.now_ns))
    assert world.heard(member, SessionChanged)[-1].session.grace_ms_left == 30_000
    await world.pass_s(29.9)
    assert phases(world, member)[-1] is Phase.PAUSED
    await world.pass_s(0.2)
    assert world.heard(expert, SessionChanged)[-1].session.reason is EndReason.MEDIA_LOST


async def test_media_back_within_the_grace_goes_on_with_the_same_session(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    old = await world.watch(member)
    session_id = await world.active(member, expert)
    world.house.on_meter(session_id, Paused(world.clock.now_ns))
    await world.pass_s(20)
    new = await world.watch(member)
    assert world.media.receivers(LUNA) == {new}
    assert old not in world.media.viewers
    gate = world.till.gates[session_id, Component.PRIVATE]
    assert gate is world.media.rows[LUNA, new, Kind.VIDEO]
    assert gate.until_ns > world.clock.now_ns
    world.house.on_meter(session_id, Resumed())
    await world.pass_s(100)
    assert phases(world, member)[-1] is Phase.ACTIVE
    assert len(world.till.orders) == 1


async def test_a_stale_stream_does_not_free_a_room_in_private(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    await world.active(member, expert)
    world.house.on_media(SourceStale(LUNA, world.clock.now_ns))
    assert world.house.card("luna").state is PresenceState.IN_PRIVATE
    refusal = await world.house.watch(guest, Feed.STREAM, "offer")
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.WALLED


async def test_ringing_ends_free_of_everything(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    viewer = await world.watch(guest)
    for end, reason in [
        (lambda s: world.house.decline(expert, s), EndReason.DECLINED),
        (lambda s: world.house.cancel(member), EndReason.CANCELLED),
        (lambda s: world.house.end(expert), EndReason.EXPERT_LEFT),
    ]:
        view = await world.request(member)
        assert end(view.session_id) is None
        assert world.heard(member, SessionChanged)[-1].session.reason is reason
    view = await world.request(member)
    await world.pass_s(30)
    assert world.heard(member, SessionChanged)[-1].session.reason is EndReason.RING_TIMEOUT
    assert world.till.orders == {}
    assert world.media.receivers(LUNA) == {viewer}  # the free room never noticed
    assert not world.house.in_session("luna")


async def test_connecting_without_a_picture_fails_after_fifteen_free_seconds(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    view = await world.request(member)
    world.house.accept(expert, view.session_id)
    await world.pass_s(15)
    assert world.heard(member, SessionChanged)[-1].session.reason is EndReason.CONNECT_FAILED
    assert world.till.closed[view.session_id] == "connect_failed"


@pytest.mark.parametrize(
    ("seen", "after"),
    [
        ((), Phase.ENDED),
        ((Started(0),), Phase.ACTIVE),
        ((Started(0), Paused(0)), Phase.PAUSED),
        ((Started(0), Exhausted()), Phase.ENDED),
    ],
)
async def test_packets_that_nobody_was_told_of_keep_a_deadline_from_ending_it(
    world: World, seen: tuple[MeterEvent, ...], after: Phase
) -> None:
    """The first packet at 14.9 s, the deadline at 15 s, the next beat later than both."""
    expert, member = await world.live_expert(), world.member()
    view = await world.request(member)
    world.house.accept(expert, view.session_id)

    def look(session_id: str) -> None:
        for event in seen if session_id in world.till.orders else ():
            world.house.on_meter(session_id, event)

    world.till.on_look = look
    await world.pass_s(15)
    assert phases(world, member)[-1] is after
    reason = world.heard(member, SessionChanged)[-1].session.reason
    assert (reason is EndReason.CONNECT_FAILED) is (seen == ())


async def test_the_count_ends_with_the_rows_and_before_anything_is_awaited(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.watch(member)
    session_id = await world.active(member, expert)
    assert world.house.end(member) is None
    assert world.till.cuts == {session_id: "member_left"}
    await world.settle()
    assert world.till.closed == {session_id: "member_left"}


@pytest.mark.parametrize(
    ("leeway", "code"),
    [
        (Leeway(60 * 299 - 1, End.LIMIT_DAY), Code.LIMIT_DAY),
        (Leeway(-1, End.LIMIT_MONTH), Code.LIMIT_MONTH),
        (Leeway(0, End.ON_BREAK), Code.ON_BREAK),
        (Leeway(session_units=298), Code.LIMIT_SESSION),
        (Leeway(60 * 299, End.LIMIT_DAY, 299), None),
    ],
)
async def test_a_limit_that_leaves_no_minute_keeps_a_request_from_ringing(
    world: World, leeway: Leeway, code: Code | None
) -> None:
    await world.live_expert()
    member = world.member()
    world.purse.leeways["mia"] = leeway
    answer = await world.house.request_private(member, Ask(299, frozenset()))
    assert (answer.code if isinstance(answer, Refusal) else None) is code


async def test_nothing_rings_while_the_ledger_takes_no_writes(world: World) -> None:
    await world.live_expert()
    member = world.member()
    world.purse.writable = False
    answer = await world.house.request_private(member, Ask(299, frozenset()))
    assert answer == Refusal(Code.LEDGER_UNAVAILABLE)
    world.purse.writable = True
    assert not isinstance(await world.house.request_private(member, Ask(299, frozenset())), Refusal)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("insufficient_credits", EndReason.BALANCE_EMPTY),
        ("limit_month", EndReason.LIMIT_MONTH),
        ("on_break", EndReason.ON_BREAK),
        ("ledger_unavailable", EndReason.LEDGER_UNAVAILABLE),
    ],
)
async def test_a_till_that_does_not_open_ends_it(
    world: World, code: str, reason: EndReason
) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    viewer = await world.watch(guest)
    view = await world.request(member)
    world.till.refuse = Refused(code)
    world.house.accept(expert, view.session_id)
    await world.settle()
    assert world.heard(member, SessionChanged)[-1].session.reason is reason
    assert world.till.closed == {}
    assert world.media.receivers(LUNA) == {viewer}


async def test_an_end_while_the_till_opens_closes_what_it_opened(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.watch(member)
    view = await world.request(member)
    world.till.held_back = asyncio.Event()
    world.house.accept(expert, view.session_id)
    await world.settle()
    world.house.end(member)
    await world.settle()
    world.till.held_back.set()
    await world.settle()
    assert world.till.closed == {view.session_id: "member_left"}
    assert phases(world, expert)[-1] is Phase.ENDED


async def test_a_ledger_that_never_answers_does_not_keep_the_room(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    viewer = await world.watch(guest)
    await world.active(member, expert)
    world.till.held_back = asyncio.Event()
    world.house.end(expert)
    await world.pass_s(5)
    assert phases(world, expert)[-1] is Phase.ENDED
    assert world.media.receivers(LUNA) == {viewer}
    world.till.held_back.set()
    await world.settle()
    assert len(world.heard(member, SessionSummary)) == 1  # late, but it comes


async def test_a_failing_final_post_still_ends_the_session(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.active(member, expert)
    world.till.broken = True
    world.house.end(expert)
    await world.settle()
    assert phases(world, member)[-1] is Phase.ENDED
    assert "final post" in caplog.text


async def test_two_race_for_one_expert_and_one_gets_busy(world: World) -> None:
    await world.live_expert()
    first, second = world.member("mia"), world.member("max")
    ask = Ask(299, frozenset())
    answers = await asyncio.gather(
        world.house.request_private(first, ask), world.house.request_private(second, ask)
    )
    refusals = [answer for answer in answers if isinstance(answer, Refusal)]
    assert [refusal.code for refusal in refusals] == [Code.BUSY]


async def test_one_member_cannot_ask_two_experts_at_once(world: World) -> None:
    world.directory.add("nova")
    await world.live_expert()
    await world.live_expert("nova")
    first = world.member()
    second = world.arrive(VisitorKind.MEMBER, "mia", premium=True)
    world.enter(second, "nova")
    ask = Ask(299, frozenset())
    answers = await asyncio.gather(
        world.house.request_private(first, ask), world.house.request_private(second, ask)
    )
    refusals = [answer for answer in answers if isinstance(answer, Refusal)]
    assert [refusal.code for refusal in refusals] == [Code.ALREADY_IN_SESSION]


async def refused(world: World, place: str, ask: Ask) -> Code:
    answer = await world.house.request_private(place, ask)
    assert isinstance(answer, Refusal)
    return answer.code


async def test_who_may_ask(world: World) -> None:
    ask = Ask(299, frozenset())
    member, basic, guest = world.member(), world.member("bob", premium=False), world.guest()
    outside = world.arrive(VisitorKind.MEMBER, "max", premium=True)
    assert await refused(world, outside, ask) is Code.NOT_IN_ROOM
    assert await refused(world, guest, ask) is Code.PREMIUM_REQUIRED
    assert await refused(world, basic, ask) is Code.PREMIUM_REQUIRED
    assert await refused(world, member, ask) is Code.EXPERT_OFFLINE
    expert = await world.live_expert()
    assert await refused(world, expert, ask) is Code.PREMIUM_REQUIRED
    world.purse.units["mia"] = 60 * 299 - 1
    assert await refused(world, member, ask) is Code.INSUFFICIENT_CREDITS
    world.purse.units["mia"] = 60 * 299
    assert await refused(world, member, Ask(298, frozenset())) is Code.PRICE_CHANGED
    assert (
        await refused(world, member, Ask(FULL_RATE, frozenset({Component.CAM2CAM})))
        is Code.PRICE_CHANGED
    )
    world.house.lobby.lose(expert)
    assert await refused(world, member, ask) is Code.EXPERT_AWAY
    world.house.floor.draining = True
    assert await refused(world, member, ask) is Code.SERVER_DRAINING


async def test_a_flag_that_is_off_cannot_be_asked_for(world: World) -> None:
    world.directory.add("luna", two_way_audio=False)
    await world.live_expert()
    ask = Ask(349, frozenset({Component.TWO_WAY_AUDIO}))
    assert await refused(world, world.member(), ask) is Code.NOT_AVAILABLE


async def test_prices_are_frozen_at_the_request(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    view = await world.request(member)
    profile = world.directory.profiles["luna"]
    dearer = dataclasses.replace(profile, tariff=Tariff(999, 0, 0))
    world.directory.profiles["luna"] = dearer
    world.house.accept(expert, view.session_id)
    await world.settle()
    assert world.till.orders[view.session_id].tariff == profile.tariff


async def test_only_the_rooms_expert_answers_a_request(world: World) -> None:
    world.directory.add("nova")
    expert, member, other = await world.live_expert(), world.member(), world.member("max")
    nova = await world.live_expert("nova")
    view = await world.request(member)
    for stranger in (member, other, nova):
        for answer in (world.house.accept, world.house.decline):
            refusal = answer(stranger, view.session_id)
            assert refusal is not None
            assert refusal.code is Code.NO_SESSION
    for stranger in (other, nova):
        assert world.house.end(stranger).code is Code.NO_SESSION
        assert world.house.cancel(stranger).code is Code.NO_SESSION
    assert world.house.accept(expert, "other").code is Code.NO_SESSION
    assert world.house.accept(expert, view.session_id) is None
    assert world.house.accept(expert, view.session_id).code is Code.NO_SESSION


async def test_a_stale_meter_event_of_an_ended_session_is_nothing(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    session_id = await world.active(member, expert)
    world.house.end(expert)
    await world.settle()
    world.told.clear()
    world.house.on_meter(session_id, Exhausted())
    world.tick_meter(session_id, 1)
    assert world.told == []


async def test_kinds_of_the_private_row_are_both(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    viewer = await world.watch(member)
    await world.active(member, expert)
    assert world.media.kinds(LUNA, viewer) == set(BOTH_KINDS)


async def test_an_offer_that_was_on_its_way_when_private_began_gets_no_row(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    world.media.held_back = asyncio.Event()
    late = asyncio.create_task(world.house.watch(guest, Feed.STREAM, "offer"))
    await world.settle()
    await world.active(member, expert)
    world.media.held_back.set()
    await late
    assert world.media.receivers(LUNA) == set()
    world.house.end(member)
    await world.settle()
    assert len(world.media.receivers(LUNA)) == 1  # and gets it afterwards


async def test_a_viewer_that_comes_before_the_hold_waits_for_it(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    view = await world.request(member)
    world.till.held_back = asyncio.Event()
    world.house.accept(expert, view.session_id)
    viewer = await world.watch(member)
    assert world.media.receivers(LUNA) == set()
    world.till.held_back.set()
    await world.settle()
    assert world.media.receivers(LUNA) == {viewer}


async def test_a_session_without_a_packet_has_no_bill(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    world.till.media_seen = False
    view = await world.request(member)
    world.house.accept(expert, view.session_id)
    await world.settle()
    world.house.end(member)
    await world.settle()
    assert world.till.closed == {view.session_id: "member_left"}
    assert world.heard(member, SessionSummary) == []


async def test_the_members_own_limits_are_not_the_experts_business(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    session = await world.active(member, expert)
    world.told.clear()
    world.house.on_meter(session, LowBalance(30, End.LIMIT_MONTH))
    world.house.on_meter(session, SpendLimit(End.ON_BREAK))
    await world.settle()
    for place, cause, reason in (
        (member, EndReason.LIMIT_MONTH, EndReason.ON_BREAK),
        (expert, EndReason.BALANCE_EMPTY, EndReason.BALANCE_EMPTY),
    ):
        assert [event.cause for event in world.heard(place, LowBalanceTold)] == [cause]
        told = [event.session.reason for event in world.heard(place, SessionChanged)]
        told += [event.reason for event in world.heard(place, SessionSummary)]
        assert set(told) - {None} == {reason}
