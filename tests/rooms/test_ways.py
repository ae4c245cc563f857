"""Whose peer connection an ICE restart touches: one's own, and nobody else's."""

from media.api import Answer, Direction, IceParameters
from rooms.airing import Connected, stream_source
from rooms.events import Feed
from rooms.member_feed import feed_source
from rooms.ways import Way
from tests.rooms.world import World

LUNA = stream_source("luna")
WATCH, PUBLISH = Direction.WATCH, Direction.PUBLISH


async def test_a_visitor_reaches_the_viewer_of_their_own(world: World) -> None:
    await world.live_expert()
    guest, other = world.guest("one"), world.guest("two")
    viewer = await world.watch(guest)
    ways = world.house.ways
    assert ways.of_place(guest, Feed.STREAM, WATCH) == Way(WATCH, viewer)
    assert ways.of_place(other, Feed.STREAM, WATCH) is None
    assert ways.of_place(guest, Feed.STREAM, PUBLISH) is None
    assert ways.of_place("nobody", Feed.STREAM, WATCH) is None


async def test_a_studio_reaches_what_it_publishes_and_another_studio_does_not(world: World) -> None:
    expert = await world.live_expert()
    second = world.expert()
    way = world.house.ways.of_place(expert, Feed.STREAM, PUBLISH)
    assert way == Way(PUBLISH, LUNA, world.media.publishers[LUNA])
    assert world.house.ways.of_place(second, Feed.STREAM, PUBLISH) is None


async def test_the_members_feed_belongs_to_its_two(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    session_id = await world.active(member, expert)
    assert isinstance(await world.house.publish(member, Feed.PRIVATE, "offer"), Answer)
    viewer = await world.watch(expert, Feed.PRIVATE)
    ways, source = world.house.ways, feed_source(session_id)
    published = Way(PUBLISH, source, world.media.publishers[source])
    assert ways.of_place(member, Feed.PRIVATE, PUBLISH) == published
    assert ways.of_place(expert, Feed.PRIVATE, WATCH) == Way(WATCH, viewer)
    strangers = ((member, WATCH), (expert, PUBLISH), (guest, WATCH), (guest, PUBLISH))
    for place_id, direction in strangers:
        assert ways.of_place(place_id, Feed.PRIVATE, direction) is None


async def test_a_restart_lays_no_row_and_removes_none(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    viewer = await world.watch(member)
    await world.active(member, expert)
    rows = dict(world.media.rows)
    way = world.house.ways.of_place(member, Feed.STREAM, WATCH)
    assert way == Way(WATCH, viewer)
    ours = world.house.ways.restart(way, IceParameters("again", "p" * 22))
    assert ours is not None
    assert (ours.remote_ufrag, world.media.rows) == ("again", rows)
    assert world.house.ways.session(way) == ours


async def test_encoders_and_players_by_their_resource(world: World) -> None:
    world.directory.add("orion")
    encoder = await world.house.publish_encoder("luna", "offer")
    assert isinstance(encoder, Connected)
    ways = world.house.ways
    way = ways.of_encoder("luna", encoder.resource)
    assert way == Way(PUBLISH, LUNA, encoder.answer.peer_id)
    assert ways.of_encoder("orion", encoder.resource) is None
    assert ways.of_encoder("luna", "guessed") is None
    assert world.house.end_encoder("luna", encoder.resource)
    assert ways.of_encoder("luna", encoder.resource) is None
    assert ways.session(way) is None
    assert ways.restart(way, IceParameters("again", "p" * 22)) is None


async def test_a_player_is_reached_by_its_own_name_only(world: World) -> None:
    world.directory.add("orion")
    await world.live_expert()
    guest = world.guest()
    of_place = await world.watch(guest)
    player = await world.house.watch_public("luna", "offer")
    assert isinstance(player, Connected)
    ways = world.house.ways
    assert ways.of_player("luna", player.resource) == Way(WATCH, player.resource)
    assert ways.of_player("orion", player.resource) is None
    assert ways.of_player("nobody", player.resource) is None
    assert ways.of_player("luna", of_place) is None, "a visitor's viewer is no resource"


async def test_a_studio_is_no_resource(world: World) -> None:
    await world.live_expert()
    assert world.house.ways.of_encoder("luna", "") is None
