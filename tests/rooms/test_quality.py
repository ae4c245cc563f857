"""Quality of connections: both ends of a picture hear of both of its ways, and nobody else."""

from billing_meter.tariff import Component
from media.api import (
    Answer,
    Direction,
    PeerFigures,
    QualityChanged,
    QualityLevel,
    Transport,
)
from rooms.airing import stream_source
from rooms.events import Feed, FeedQuality
from rooms.member_feed import feed_source
from tests.rooms.world import World

LUNA = stream_source("luna")
FAIR, POOR = QualityLevel.FAIR, QualityLevel.POOR
PUBLISH, WATCH = Direction.PUBLISH, Direction.WATCH


def changed(world: World, name: str, direction: Direction) -> None:
    world.told.clear()
    world.house.on_media(QualityChanged(name, direction, FAIR, "loss"))


def heard(world: World, place_id: str) -> list[tuple[Feed, Direction, bool]]:
    """What this place heard of, and whether it is of the other end."""
    return [(q.feed, q.direction, q.far) for q in world.heard(place_id, FeedQuality)]


def troubled(level: QualityLevel = POOR) -> PeerFigures:
    return PeerFigures(Transport.UDP, level, "loss", None, None, None, ())


async def test_a_viewer_hears_of_their_own_way_and_of_the_senders(world: World) -> None:
    expert, guest, other = await world.live_expert(), world.guest("a"), world.guest("b")
    studio2 = world.expert()
    viewer = await world.watch(guest)
    changed(world, viewer, WATCH)
    assert heard(world, guest) == [(Feed.STREAM, WATCH, False)]
    assert heard(world, expert) == heard(world, other) == []
    changed(world, LUNA, PUBLISH)
    assert heard(world, guest) == [(Feed.STREAM, PUBLISH, True)]
    assert heard(world, expert) == heard(world, studio2) == [(Feed.STREAM, PUBLISH, False)]
    assert heard(world, other) == []  # in the room, but without a picture
    changed(world, "unknown", WATCH)
    assert world.told == []


async def test_an_expert_hears_of_their_encoders_way(world: World) -> None:
    expert = world.expert()
    await world.house.publish_encoder("luna", "offer")
    changed(world, LUNA, PUBLISH)
    assert heard(world, expert) == [(Feed.STREAM, PUBLISH, False)]
    world.house.go_offline(expert)
    changed(world, LUNA, PUBLISH)
    assert heard(world, expert) == []


async def test_an_experts_own_monitor_is_no_far_end(world: World) -> None:
    expert = await world.live_expert()
    world.media.known[PUBLISH, LUNA] = troubled()
    monitor = await world.watch(expert)
    assert heard(world, expert) == []
    changed(world, LUNA, PUBLISH)
    assert heard(world, expert) == [(Feed.STREAM, PUBLISH, False)]
    changed(world, monitor, WATCH)
    assert heard(world, expert) == [(Feed.STREAM, WATCH, False)]


async def test_a_request_that_rings_makes_no_two_of_anybody(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    viewer = await world.watch(member)
    await world.request(member)
    changed(world, viewer, WATCH)
    assert heard(world, member) == [(Feed.STREAM, WATCH, False)]
    assert heard(world, expert) == []


async def test_the_two_of_a_session_hear_of_all_four_ways_and_nobody_else_does(
    world: World,
) -> None:
    expert, member, witness = await world.live_expert(), world.member(), world.guest("w")
    viewer = await world.watch(member)
    witness_viewer = await world.watch(witness)
    session_id = await world.active(member, expert, Component.CAM2CAM)
    assert isinstance(await world.house.publish(member, Feed.PRIVATE, "offer"), Answer)
    feed_viewer = await world.watch(expert, Feed.PRIVATE)
    for name, feed, direction, near, far in (
        (LUNA, Feed.STREAM, PUBLISH, expert, member),
        (viewer, Feed.STREAM, WATCH, member, expert),
        (feed_source(session_id), Feed.PRIVATE, PUBLISH, member, expert),
        (feed_viewer, Feed.PRIVATE, WATCH, expert, member),
    ):
        changed(world, name, direction)
        assert heard(world, near) == [(feed, direction, False)]
        assert heard(world, far) == [(feed, direction, True)]
        assert heard(world, witness) == []
    changed(world, witness_viewer, WATCH)
    assert heard(world, witness) == [(Feed.STREAM, WATCH, False)]
    assert heard(world, expert) == heard(world, member) == []
    assert world.house.end(member) is None
    await world.settle()
    changed(world, viewer, WATCH)
    assert heard(world, expert) == []  # a viewer among others again
    changed(world, LUNA, PUBLISH)
    assert heard(world, witness) == [(Feed.STREAM, PUBLISH, True)]


async def test_whoever_begins_to_watch_hears_of_trouble_that_is_there(world: World) -> None:
    await world.live_expert()
    guest, late = world.guest("a"), world.guest("b")
    world.media.known[PUBLISH, LUNA] = troubled(QualityLevel.GOOD)
    await world.watch(guest)
    assert heard(world, guest) == []
    world.media.known[PUBLISH, LUNA] = troubled()
    await world.watch(late)
    assert world.heard(late, FeedQuality) == [FeedQuality(Feed.STREAM, PUBLISH, POOR, "loss", True)]


async def test_after_a_session_those_who_waited_hear_how_it_is_now(world: World) -> None:
    expert, member, witness = await world.live_expert(), world.member(), world.guest("w")
    await world.watch(member)
    await world.watch(witness)
    await world.active(member, expert)
    world.media.known[PUBLISH, LUNA] = troubled()
    world.told.clear()
    assert world.house.end(member) is None
    await world.settle()
    assert (Feed.STREAM, PUBLISH, True) in heard(world, witness)


async def test_both_hear_of_trouble_that_was_there_before_their_session(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    viewer = await world.watch(member)
    world.media.known[WATCH, viewer] = troubled()
    session_id = await world.active(member, expert, Component.CAM2CAM)
    world.media.known[PUBLISH, feed_source(session_id)] = troubled(FAIR)
    world.told.clear()
    await world.watch(expert, Feed.PRIVATE)
    assert heard(world, expert) == [(Feed.STREAM, WATCH, True), (Feed.PRIVATE, PUBLISH, True)]
    assert heard(world, member) == []
