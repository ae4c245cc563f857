"""Places, rooms and chat: who is where, what a lost connection keeps, who reads what."""

import pytest

from billing_meter.meter import Exhausted, Paused
from media.api import BOTH_KINDS, Answer, SourceUp
from rooms.airing import stream_source
from rooms.events import (
    CardChanged,
    CardGone,
    ChatPosted,
    Feed,
    Left,
    LeftReason,
    RoomChanged,
    RoomView,
    SessionChanged,
    SessionSummary,
    Wall,
)
from rooms.presence import PresenceState
from rooms.private import EndReason, Phase
from rooms.refusals import Code, Refusal
from rooms.roles import Role, Standing, Visitor, VisitorKind
from tests.rooms.world import PREMIUM, World

LUNA = stream_source("luna")


def reason_of(world: World, place: str) -> EndReason | None:
    return world.heard(place, SessionChanged)[-1].session.reason


async def test_the_expert_hosts_their_own_room_and_visits_others(world: World) -> None:
    world.directory.add("nova")
    place = world.arrive(VisitorKind.EXPERT, "luna")
    own = world.house.lobby.enter(place, "LUNA")
    assert isinstance(own, RoomView)
    assert (own.hosting, own.role) == (True, Role.EXPERT)
    other = world.house.lobby.enter(place, "nova")
    assert isinstance(other, RoomView)
    assert (other.hosting, other.role) == (False, Role.MEMBER)
    refusal = await world.house.publish(place, Feed.STREAM, "offer")
    assert refusal == Refusal(Code.NOT_HOST)


async def test_a_member_with_an_experts_id_does_not_host(world: World) -> None:
    view = world.house.lobby.enter(world.arrive(VisitorKind.MEMBER, "luna"), "luna")
    assert isinstance(view, RoomView)
    assert not view.hosting


async def test_entering_another_room_leaves_the_first(world: World) -> None:
    world.directory.add("nova")
    await world.live_expert()
    guest = world.guest()
    await world.watch(guest)
    world.enter(guest, "nova")
    assert world.media.rows == {}
    assert world.house.card("luna").viewers == 0
    assert world.house.card("nova").viewers == 1


async def test_entering_twice_changes_nothing(world: World) -> None:
    await world.live_expert()
    guest = world.guest()
    viewer = await world.watch(guest)
    world.enter(guest)
    assert world.media.receivers(LUNA) == {viewer}
    assert world.house.card("luna").viewers == 1


async def test_walls(world: World) -> None:
    guest = world.guest()
    assert world.house.lobby.current_view(guest).wall is Wall.OFFLINE
    expert, member = await world.live_expert(), world.member()
    assert world.house.lobby.current_view(guest).wall is Wall.NONE
    await world.active(member, expert)
    assert world.house.lobby.current_view(guest).wall is Wall.PRIVATE
    assert world.house.lobby.current_view(member).wall is Wall.NONE
    assert world.house.lobby.current_view(member).session.phase is Phase.ACTIVE
    assert world.house.lobby.current_view(guest).session is None
    newcomer = world.arrive(VisitorKind.GUEST, "late")
    assert world.house.lobby.enter(newcomer, "luna").wall is Wall.PRIVATE


async def test_a_lost_connection_keeps_media_and_place_for_thirty_seconds(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    viewer = await world.watch(member)
    await world.active(member, expert)
    world.house.lobby.lose(member)
    await world.pass_s(29)
    assert world.media.receivers(LUNA) == {viewer}
    mia = Visitor(VisitorKind.MEMBER, "mia", "mia")
    assert not world.house.lobby.resume(member, Visitor(VisitorKind.MEMBER, "eve", "eve"), PREMIUM)
    assert world.house.lobby.resume(member, mia, PREMIUM)
    await world.pass_s(100)
    assert world.house.lobby.current_view(member).session.phase is Phase.ACTIVE


async def test_after_thirty_seconds_the_place_and_the_session_are_gone(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    viewer = await world.watch(member)
    await world.active(member, expert)
    world.house.lobby.lose(member)
    world.house.lobby.lose(member)
    await world.pass_s(30)
    assert viewer not in world.media.viewers
    assert reason_of(world, expert) is EndReason.MEMBER_LEFT
    assert not world.house.lobby.resume(member, Visitor(VisitorKind.MEMBER, "mia", "mia"), PREMIUM)


async def test_a_new_tab_takes_a_lost_tabs_session_over(world: World) -> None:
    expert, old = await world.live_expert(), world.member()
    await world.watch(old)
    session_id = await world.active(old, expert)
    second_tab = world.member()  # while the first is connected, it is a spectator
    assert world.house.lobby.current_view(second_tab).session is None
    world.house.lobby.leave(second_tab)
    world.house.lobby.lose(old)
    world.house.on_meter(session_id, Paused(0))
    new = world.member()
    view = world.house.lobby.current_view(new)
    assert view.session.session_id == session_id
    viewer = await world.watch(new)
    assert world.media.receivers(LUNA) == {viewer}
    await world.pass_s(29)
    assert world.house.in_session("luna")
    assert world.house.end(new) is None


async def test_somebody_else_takes_nothing_over(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.active(member, expert)
    world.house.lobby.lose(member)
    guest_with_the_same_id = world.arrive(VisitorKind.GUEST, "mia")
    world.enter(guest_with_the_same_id)
    assert world.house.lobby.current_view(guest_with_the_same_id).session is None


async def test_a_lost_studio_goes_off_air_when_its_place_ends(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.active(member, expert)
    world.house.lobby.lose(expert)
    await world.pass_s(29)
    assert world.house.card("luna").state is PresenceState.IN_PRIVATE
    await world.pass_s(1)
    assert reason_of(world, member) is EndReason.EXPERT_LEFT
    assert world.media.publishers == {}
    assert world.house.card("luna").state is not PresenceState.LIVE_FREE


async def test_an_encoder_goes_on_when_the_studio_is_closed_but_its_session_ends(
    world: World,
) -> None:
    expert, member = world.expert(), world.member()
    await world.house.publish_encoder("luna", "offer")
    world.house.on_media(SourceUp(LUNA, BOTH_KINDS))
    viewer = await world.watch(member)
    await world.active(member, expert)
    world.house.lobby.leave(expert)
    await world.settle()
    assert reason_of(world, member) is EndReason.EXPERT_LEFT
    assert world.house.card("luna").state is PresenceState.LIVE_FREE
    assert world.media.receivers(LUNA) == {viewer}


async def test_a_second_studio_keeps_the_session(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    second = world.expert()
    await world.active(member, second)
    world.house.lobby.leave(second)
    await world.settle()
    assert world.house.in_session("luna")
    assert world.house.end(expert) is None


async def test_leaving_ends_the_session_and_the_request(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.request(member)
    world.house.lobby.leave(member)
    assert reason_of(world, expert) is EndReason.CANCELLED
    world.enter(member)
    await world.watch(member)
    await world.active(member, expert)
    assert world.house.lobby.leave(member) is None
    assert world.media.rows == {}
    await world.settle()
    assert reason_of(world, expert) is EndReason.MEMBER_LEFT
    assert world.house.lobby.leave(member) == Refusal(Code.NOT_IN_ROOM)


async def test_suspension_ends_everything_of_an_account(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    other = world.member()
    await world.active(member, expert)
    world.house.send_away(VisitorKind.MEMBER, "mia")
    await world.settle()
    assert reason_of(world, expert) is EndReason.SUSPENDED
    for place in (member, other):
        assert world.heard(place, Left)[-1].reason is LeftReason.KICKED


async def test_a_suspended_expert_is_off_air(world: World) -> None:
    await world.live_expert()
    world.house.send_away(VisitorKind.EXPERT, "luna")
    assert world.media.publishers == {}


async def test_an_expert_who_is_gone_is_off_air_and_out_of_every_grid(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    watcher = world.arrive(VisitorKind.GUEST, "w")
    world.house.lobby.watch_grid(watcher)
    await world.watch(member)
    await world.watch(guest)
    session_id = await world.active(member, expert)
    world.house.expert_gone(world.directory.profiles["luna"])
    del world.directory.profiles["luna"]
    assert world.media.rows == {}
    assert world.media.publishers == {}
    await world.settle()
    assert world.till.closed == {session_id: "suspended"}
    assert world.heard(watcher, CardGone) == [CardGone("luna")]
    assert world.heard(guest, CardGone) == []
    assert world.heard(guest, RoomChanged)[-1].wall is Wall.OFFLINE
    world.told.clear()
    await world.pass_s(10)
    assert world.heard(watcher, CardChanged) == []
    for place_id in (expert, member, guest):
        world.house.lobby.depart(place_id)
    await world.pass_s(10)
    assert world.house.floor.rooms == {}
    assert world.house.floor._withdrawn == {}


async def test_an_expert_without_a_room_may_go_too(world: World) -> None:
    watcher = world.arrive(VisitorKind.GUEST, "w")
    world.house.lobby.watch_grid(watcher)
    world.house.expert_gone(world.directory.profiles["luna"])
    assert world.heard(watcher, CardGone) == [CardGone("luna")]
    assert world.house.floor.rooms == {}


# --- chat -------------------------------------------------------------------------------------


def lines(world: World, place: str) -> list[str]:
    return [event.line.text for event in world.heard(place, ChatPosted)]


async def test_the_flood_limit_is_per_person_and_survives_a_new_tab(world: World) -> None:
    tabs = [world.member(), world.member()]
    for number in range(5):
        assert not isinstance(world.house.lobby.say(tabs[number % 2], "hi"), Refusal)
    for tab in tabs:
        assert world.house.lobby.say(tab, "hi") == Refusal(Code.CHAT_TOO_FAST)
    assert not isinstance(world.house.lobby.say(world.member("max"), "hi"), Refusal)
    await world.pass_s(1)
    assert not isinstance(world.house.lobby.say(tabs[0], "hi"), Refusal)


async def test_in_private_the_two_talk_among_themselves(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    guest, other = world.guest(), world.member("max")
    world.house.lobby.say(member, "before")
    await world.active(member, expert)
    world.told.clear()
    world.house.lobby.say(member, "secret")
    world.house.lobby.say(expert, "whisper")
    world.house.lobby.say(other, "where is she?")
    world.house.lobby.choose(guest, "bye")
    assert lines(world, expert) == ["secret"]
    assert lines(world, member) == ["whisper"]
    assert lines(world, guest) == ["where is she?"]
    assert lines(world, other) == ["Goodbye!"]
    resumed = world.house.lobby.current_view(member)
    assert [line.text for line in resumed.chat] == ["secret", "whisper"]
    world.house.end(member)
    await world.settle()
    late = world.member("late")
    seen = [line.text for line in world.house.lobby.current_view(late).chat]
    assert seen == ["before", "where is she?", "Goodbye!"]


async def test_what_was_meant_for_one_is_never_told_to_the_room(world: World) -> None:
    """The session ends while a line is written: nobody reads it, and its author is told."""
    expert, member = await world.live_expert(), world.member()
    guest, other = world.guest(), world.member("max")
    session = await world.active(member, expert)
    say = world.house.lobby.say
    assert not isinstance(say(member, "secret", session), Refusal)
    assert not isinstance(say(expert, "whisper", session), Refusal)
    assert say(other, "let me hear", session) == Refusal(Code.PRIVATE_OVER)
    world.house.on_meter(session, Exhausted())
    await world.settle()
    for place in (member, expert):
        assert say(place, "under way", session) == Refusal(Code.PRIVATE_OVER)
    assert lines(world, guest) == []
    again = await world.active(member, expert)
    assert say(member, "too late", session) == Refusal(Code.PRIVATE_OVER)
    assert not isinstance(say(member, "now", again), Refusal)
    assert lines(world, expert) == ["secret", "now"]


async def test_numbers_grow_for_every_reader(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.active(member, expert)
    numbers = [world.house.lobby.say(member, "a").n, world.house.lobby.say(expert, "b").n]
    world.house.end(member)
    await world.settle()
    numbers.append(world.house.lobby.say(member, "c").n)
    assert numbers == sorted(set(numbers))


def test_nobody_speaks_outside_a_room(world: World) -> None:
    place = world.arrive(VisitorKind.MEMBER, "mia")
    assert world.house.lobby.say(place, "hi") == Refusal(Code.NOT_IN_ROOM)
    assert world.house.lobby.say("no place", "hi") == Refusal(Code.NOT_IN_ROOM)
    assert world.house.lobby.enter("no place", "luna") == Refusal(Code.PLACE_GONE)


def test_rooms_without_anybody_are_forgotten(world: World) -> None:
    guest = world.guest()
    assert "luna" in world.house.floor.rooms
    world.house.lobby.depart(guest)
    world.house.lobby.depart(guest)
    world.clock.now_ns += 10**9
    world.house.tick(world.clock.now_ns)
    assert world.house.floor.rooms == {}
    assert world.house.floor.places == {}


def test_places_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rooms.lobby.PLACES_MAX", 1)
    world.guest()
    one_more = world.house.lobby.arrive(Visitor(VisitorKind.GUEST, "g", "g"), Standing())
    assert one_more == Refusal(Code.OVERLOADED)


async def test_a_summary_waits_for_the_one_who_was_away(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.active(member, expert)
    world.house.lobby.lose(member)
    world.house.end(expert)
    await world.settle()
    assert world.heard(member, SessionSummary) == []
    assert world.house.lobby.resume(member, Visitor(VisitorKind.MEMBER, "mia", "mia"), PREMIUM)
    assert len(world.house.lobby.missed(member)) == 1
    assert world.house.lobby.missed(member) == []


async def test_going_live_again_works_after_leaving(world: World) -> None:
    expert = await world.live_expert()
    world.house.lobby.leave(expert)
    world.enter(expert)
    assert isinstance(await world.house.publish(expert, Feed.STREAM, "offer"), Answer)
