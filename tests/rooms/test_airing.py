"""Publishers, viewers and free rows."""

import asyncio

from media.api import (
    BOTH_KINDS,
    Answer,
    Direction,
    Kind,
    SourceFresh,
    SourceGone,
    SourceKinds,
    SourceStale,
    SourceUp,
    ViewerGone,
    ViewerUp,
)
from rooms.airing import Connected, stream_source
from rooms.events import CardChanged, Feed, FeedStopped, RoomChanged, Wall
from rooms.presence import PresenceState
from rooms.refusals import Code, Refusal
from rooms.roles import VisitorKind
from tests.rooms.world import World

LUNA = stream_source("luna")


def state(world: World) -> PresenceState:
    return world.house.card("luna").state


async def test_live_begins_with_the_first_packet_and_not_with_the_connection(world: World) -> None:
    guest, expert = world.guest(), world.expert()
    assert isinstance(await world.house.publish(expert, Feed.STREAM, "offer"), Answer)
    assert state(world) is PresenceState.OFFLINE
    world.house.on_media(SourceUp(LUNA, BOTH_KINDS))
    assert state(world) is PresenceState.LIVE_FREE
    assert world.heard(guest, RoomChanged)[-1].wall is Wall.NONE
    assert world.house.card("luna").has_sound


async def test_silence_turns_the_dot_off_and_packets_turn_it_on(world: World) -> None:
    await world.live_expert()
    world.house.on_media(SourceStale(LUNA, 0))
    assert state(world) is PresenceState.OFFLINE
    world.house.on_media(SourceFresh(LUNA))
    assert state(world) is PresenceState.LIVE_FREE
    world.house.on_media(SourceKinds(LUNA, frozenset({Kind.VIDEO})))
    assert not world.house.card("luna").has_sound


async def test_going_offline_stops_media_before_anything_is_awaited(world: World) -> None:
    expert, guest = await world.live_expert(), world.guest()
    viewer = await world.watch(guest)
    assert world.media.receivers(LUNA) == {viewer}
    assert world.house.go_offline(expert) is None
    assert world.media.receivers(LUNA) == set()
    assert world.media.publishers == {}
    assert world.media.viewers == set()
    assert state(world) is PresenceState.GOING_OFFLINE
    stops = world.heard(guest, FeedStopped)
    assert stops == [FeedStopped(Feed.STREAM, Direction.WATCH, "offline")]
    assert world.heard(expert, FeedStopped) == []  # it was their own wish
    world.house.on_media(SourceFresh(LUNA))  # a packet that was on its way
    assert state(world) is PresenceState.GOING_OFFLINE
    await world.pass_s(5)
    assert state(world) is PresenceState.OFFLINE


async def test_the_grid_hears_of_a_state_at_once_and_of_counts_within_a_second(
    world: World,
) -> None:
    watcher = world.arrive(VisitorKind.GUEST, "w")
    assert [card.name for card in world.house.lobby.watch_grid(watcher)] == ["luna"]
    await world.live_expert()
    assert world.heard(watcher, CardChanged)[-1].card.state is PresenceState.LIVE_FREE
    world.told.clear()
    for number in range(10):
        world.guest(f"g{number}")
    assert world.heard(watcher, CardChanged) == []
    await world.pass_s(1)
    assert [event.card.viewers for event in world.heard(watcher, CardChanged)] == [10]


async def test_a_second_publisher_is_refused(world: World) -> None:
    await world.live_expert()
    answer = await world.house.publish_encoder("luna", "offer")
    assert answer == Refusal(Code.ALREADY_PUBLISHING)
    other = world.expert()
    assert await world.house.publish(other, Feed.STREAM, "offer") == answer


async def test_two_encoders_that_connect_at_once_get_one_place(world: World) -> None:
    world.media.held_back = asyncio.Event()
    both = [asyncio.create_task(world.house.publish_encoder("luna", "offer")) for _ in range(2)]
    await world.settle()
    world.media.held_back.set()
    answers = await asyncio.gather(*both)
    assert [type(answer) for answer in answers] == [Connected, Refusal]
    third = await world.house.publish_encoder("luna", "offer")
    assert third == Refusal(Code.ALREADY_PUBLISHING)  # no packet yet, but it may come


async def test_a_dead_encoder_may_be_replaced(world: World) -> None:
    first = await world.house.publish_encoder("luna", "offer")
    assert isinstance(first, Connected)
    world.house.on_media(SourceUp(LUNA, BOTH_KINDS))
    world.house.on_media(SourceStale(LUNA, 0))
    second = await world.house.publish_encoder("luna", "offer")
    assert isinstance(second, Connected)
    assert second.resource != first.resource
    assert not world.house.end_encoder("luna", first.resource)


async def test_an_encoder_that_never_sent_is_dead_after_ten_seconds(world: World) -> None:
    assert isinstance(await world.house.publish_encoder("luna", "offer"), Connected)
    await world.pass_s(10)
    assert isinstance(await world.house.publish_encoder("luna", "offer"), Refusal)
    await world.pass_s(0.1)
    assert isinstance(await world.house.publish_encoder("luna", "offer"), Connected)


async def test_ending_an_encoder_needs_its_resource(world: World) -> None:
    world.directory.add("nova")
    encoder = await world.house.publish_encoder("luna", "offer")
    assert isinstance(encoder, Connected)
    world.house.on_media(SourceUp(LUNA, BOTH_KINDS))
    assert not world.house.end_encoder("luna", "guess")
    assert not world.house.end_encoder("nova", encoder.resource)
    assert state(world) is PresenceState.LIVE_FREE
    assert world.house.end_encoder("luna", encoder.resource)
    assert world.media.publishers == {}
    assert not world.house.end_encoder("luna", encoder.resource)


async def test_the_same_studio_replaces_itself_without_being_told_to_stop(world: World) -> None:
    expert = await world.live_expert()
    assert isinstance(await world.house.publish(expert, Feed.STREAM, "offer"), Answer)
    assert world.heard(expert, FeedStopped) == []
    assert len(world.media.publishers) == 1


async def test_a_new_studio_replaces_one_that_was_lost(world: World) -> None:
    world.house.lobby.lose(await world.live_expert())
    assert isinstance(await world.house.publish(world.expert(), Feed.STREAM, "offer"), Answer)


async def test_a_broken_publisher_is_told_and_viewers_wait(world: World) -> None:
    expert, guest = await world.live_expert(), world.guest()
    viewer = await world.watch(guest)
    world.media.close_publisher(LUNA, "timeout")
    assert world.heard(expert, FeedStopped)[-1].reason == "timeout"
    assert state(world) is PresenceState.OFFLINE
    assert world.media.viewers == {viewer}
    await world.house.publish(expert, Feed.STREAM, "offer")
    world.house.on_media(SourceUp(LUNA, BOTH_KINDS))
    await world.pass_s(60)
    assert world.media.receivers(LUNA) == {viewer}


async def test_viewers_of_a_dead_stream_are_closed_after_a_while(world: World) -> None:
    await world.live_expert()
    guest = world.guest()
    await world.watch(guest)
    world.media.close_publisher(LUNA, "timeout")
    await world.pass_s(30)
    assert world.media.viewers == set()
    assert world.heard(guest, FeedStopped)[-1].reason == "offline"


async def test_an_old_publishers_end_does_not_end_the_new_one(world: World) -> None:
    expert = await world.live_expert()
    old = world.media.publishers[LUNA]
    await world.house.publish(expert, Feed.STREAM, "offer")
    world.house.on_media(SourceUp(LUNA, BOTH_KINDS))
    world.house.on_media(SourceGone(LUNA, old, "late"))
    assert state(world) is PresenceState.LIVE_FREE


async def test_a_studio_that_closes_during_its_offer_does_not_go_on_air(world: World) -> None:
    expert = world.expert()
    world.media.held_back = asyncio.Event()
    offer = asyncio.create_task(world.house.publish(expert, Feed.STREAM, "offer"))
    await world.settle()
    world.house.lobby.leave(expert)
    world.media.held_back.set()
    assert await offer == Refusal(Code.NOT_HOST)
    assert world.media.publishers == {}


async def test_watching_again_replaces_the_old_viewer_silently(world: World) -> None:
    await world.live_expert()
    guest = world.guest()
    await world.watch(guest)
    second = await world.watch(guest)
    assert world.media.viewers == {second}
    assert world.media.receivers(LUNA) == {second}
    assert world.heard(guest, FeedStopped) == []


async def test_who_left_during_the_offer_gets_no_row(world: World) -> None:
    await world.live_expert()
    guest = world.guest()
    world.media.held_back = asyncio.Event()
    offer = asyncio.create_task(world.house.watch(guest, Feed.STREAM, "offer"))
    await world.settle()
    world.house.lobby.leave(guest)
    world.media.held_back.set()
    assert await offer == Refusal(Code.NOT_IN_ROOM)
    assert world.media.viewers == set()
    assert world.media.rows == {}


async def test_leaving_removes_the_row_and_unwatching_too(world: World) -> None:
    await world.live_expert()
    for leave in (world.house.lobby.leave, lambda p: world.house.unwatch(p, Feed.STREAM)):
        guest = world.guest()
        await world.watch(guest)
        assert leave(guest) is None
        assert world.media.rows == {}
        assert world.media.viewers == set()
        assert world.heard(guest, FeedStopped) == []


async def test_a_broken_viewer_is_told(world: World) -> None:
    await world.live_expert()
    guest = world.guest()
    viewer = await world.watch(guest)
    world.house.on_media(ViewerUp(viewer))
    world.house.on_media(ViewerGone(viewer, "timeout"))
    assert world.heard(guest, FeedStopped)[-1].reason == "timeout"
    world.media.viewers.discard(viewer)
    assert await world.watch(guest)


async def test_public_players_count_and_are_closed_by_their_resource_only(world: World) -> None:
    assert await world.house.watch_public("luna", "offer") == Refusal(Code.NOT_LIVE)
    assert await world.house.watch_public("nobody", "offer") == Refusal(Code.NO_SUCH_EXPERT)
    expert = await world.live_expert()
    guest = world.guest()
    own = await world.watch(guest)
    player = await world.house.watch_public("LUNA", "offer")
    assert isinstance(player, Connected)
    assert world.house.card("luna").viewers == 2
    assert not world.house.end_public("luna", own)  # a visitor's viewer is not a public one
    assert not world.house.end_public("luna", "guess")
    assert world.house.end_public("luna", player.resource)
    assert world.house.card("luna").viewers == 1
    again = await world.house.watch_public("luna", "offer")
    assert isinstance(again, Connected)
    world.house.on_media(ViewerGone(again.resource, "timeout"))
    assert world.house.card("luna").viewers == 1
    assert world.house.go_offline(expert) is None


async def test_bad_offers_are_refused_with_the_reason(world: World) -> None:
    expert = await world.live_expert()
    guest = world.guest()
    refusal = await world.house.watch(guest, Feed.STREAM, "bad")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.message) == (Code.BAD_SDP, "not an offer")
    for answer in (
        await world.house.publish(expert, Feed.STREAM, "bad"),
        await world.house.watch_public("luna", "bad"),
    ):
        assert isinstance(answer, Refusal)
        assert answer.code is Code.BAD_SDP
    assert isinstance(await world.house.publish(expert, Feed.STREAM, "offer"), Answer)


async def test_nobody_can_publish_or_watch_without_a_room(world: World) -> None:
    outside = world.arrive(VisitorKind.EXPERT, "luna")
    assert await world.house.publish(outside, Feed.STREAM, "o") == Refusal(Code.NOT_HOST)
    assert await world.house.watch(outside, Feed.STREAM, "o") == Refusal(Code.NOT_IN_ROOM)
    for act in (world.house.publish, world.house.watch):
        assert await act("no place", Feed.STREAM, "o") == Refusal(Code.PLACE_GONE)
