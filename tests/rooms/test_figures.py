"""Figures of one's own connections: to whom, of what, how often, and nothing while nobody looks."""

from dataclasses import replace

import pytest

from billing_meter.tariff import Component
from media.api import (
    Answer,
    Direction,
    Kind,
    PeerFigures,
    QualityLevel,
    StreamFigures,
    Transport,
    ViewerGone,
)
from rooms.airing import stream_source
from rooms.events import Feed, FiguresShown
from rooms.limits import FIGURES_FIRST_NS
from rooms.member_feed import feed_source
from rooms.roles import VisitorKind
from tests.rooms.world import NS, World

LUNA = stream_source("luna")
FIRST_S = FIGURES_FIRST_NS / NS
WATCHED = (Feed.STREAM, Direction.WATCH)
PUBLISHED = (Feed.STREAM, Direction.PUBLISH)


def peer(octets: int = 0) -> PeerFigures:
    stream = StreamFigures(Kind.VIDEO, "VP8", None, None, 1, octets, None, None, 0, 0, 0)
    return PeerFigures(Transport.UDP, QualityLevel.GOOD, "ok", None, None, None, (stream,))


def shown(world: World, place_id: str) -> list[FiguresShown]:
    return world.heard(place_id, FiguresShown)


def connections(world: World, place_id: str) -> set[tuple[Feed, Direction]]:
    return {(c.feed, c.direction) for c in shown(world, place_id)[-1].connections}


def looked_up(world: World) -> int:
    return sum(entry.startswith("figures ") for entry in world.media.log)


class EveryPeer(dict[tuple[Direction, str], PeerFigures]):
    """Every peer that is asked for is connected."""

    def get(self, key: tuple[Direction, str], default: object = None) -> PeerFigures:
        return peer()


@pytest.fixture
def busy_world(world: World) -> World:
    world.media.known = EveryPeer()
    return world


async def test_figures_come_soon_then_every_second_and_end_on_request(world: World) -> None:
    await world.live_expert()
    guest = world.guest()
    viewer = await world.watch(guest)
    world.media.known[Direction.WATCH, viewer] = peer(1_000)
    world.house.figures.subscribe(guest)
    assert shown(world, guest) == []
    world.media.known[Direction.WATCH, viewer] = peer(1_000 + 5_000)
    await world.pass_s(FIRST_S)
    (first,) = shown(world, guest)
    assert first.connections[0].bitrates_bps == (100_000,)
    assert first.connections[0].figures == peer(6_000)
    world.media.known[Direction.WATCH, viewer] = peer(6_000 + 25_000)
    await world.pass_s(1)
    assert shown(world, guest)[-1].connections[0].bitrates_bps == (200_000,)
    await world.pass_s(3)
    assert len(shown(world, guest)) == 5
    world.house.figures.unsubscribe(guest)
    world.house.figures.unsubscribe(guest)
    await world.pass_s(5)
    assert len(shown(world, guest)) == 5
    assert len(world.house.figures) == 0


async def test_nothing_is_computed_while_nobody_looks(world: World) -> None:
    await world.live_expert()
    guest = world.guest()
    await world.watch(guest)
    world.media.log.clear()
    await world.pass_s(30)
    assert looked_up(world) == 0


async def test_asking_again_and_again_costs_one_message_a_second(busy_world: World) -> None:
    world = busy_world
    await world.live_expert()
    guest = world.guest()
    await world.watch(guest)
    for _ in range(50):
        world.house.figures.subscribe(guest)
        await world.pass_s(FIRST_S / 50)
    for _ in range(50):
        world.house.figures.unsubscribe(guest)
        world.house.figures.subscribe(guest)
    assert len(shown(world, guest)) == 1
    await world.pass_s(FIRST_S)
    assert len(shown(world, guest)) == 2


async def test_everybody_sees_their_own_connections_and_no_others(busy_world: World) -> None:
    world = busy_world
    expert, guest, other = await world.live_expert(), world.guest("a"), world.guest("b")
    viewer = await world.watch(guest)
    await world.watch(other)
    outside = world.arrive(VisitorKind.GUEST, "c")
    for place_id in (expert, guest, outside):
        world.house.figures.subscribe(place_id)
    world.media.log.clear()
    await world.pass_s(FIRST_S)
    assert connections(world, expert) == {PUBLISHED}
    assert connections(world, guest) == {WATCHED}
    assert connections(world, outside) == set()
    assert sorted(e for e in world.media.log if e.startswith("figures")) == sorted(
        [f"figures publish {LUNA}", f"figures watch {viewer}"]
    )
    assert shown(world, other) == []


async def test_an_expert_sees_the_encoder_of_their_own_room_only(busy_world: World) -> None:
    world = busy_world
    world.directory.add("orion")
    expert = world.expert()
    orion = world.arrive(VisitorKind.EXPERT, "orion")
    world.enter(orion, "luna")  # a plain visitor there
    await world.house.publish_encoder("luna", "offer")
    for place_id in (expert, orion):
        world.house.figures.subscribe(place_id)
    await world.pass_s(FIRST_S)
    assert connections(world, expert) == {PUBLISHED}
    assert connections(world, orion) == set()


async def test_both_sides_of_a_private_session_see_what_they_send_and_receive(
    busy_world: World,
) -> None:
    world = busy_world
    expert, member, witness = await world.live_expert(), world.member(), world.guest("w")
    studio2 = world.expert()
    await world.watch(member)
    await world.watch(witness)
    session_id = await world.active(member, expert, Component.CAM2CAM)
    assert isinstance(await world.house.publish(member, Feed.PRIVATE, "offer"), Answer)
    feed_viewer = await world.watch(expert, Feed.PRIVATE)
    for place_id in (expert, member, witness, studio2):
        world.house.figures.subscribe(place_id)
    world.media.log.clear()
    await world.pass_s(FIRST_S)
    assert connections(world, member) == {WATCHED, (Feed.PRIVATE, Direction.PUBLISH)}
    assert connections(world, expert) == {PUBLISHED, (Feed.PRIVATE, Direction.WATCH)}
    assert connections(world, studio2) == {PUBLISHED}  # the member's feed goes to the other one
    assert connections(world, witness) == {WATCHED}  # their own, which gets no packet now
    asked = [entry for entry in world.media.log if entry.startswith("figures")]
    assert f"figures publish {feed_source(session_id)}" in asked
    assert asked.count(f"figures watch {feed_viewer}") == 1
    assert world.house.end(member) is None
    await world.settle()
    await world.pass_s(1)
    assert connections(world, member) == {WATCHED}
    assert connections(world, expert) == {PUBLISHED}


async def test_a_lost_connection_stops_looking(busy_world: World) -> None:
    world = busy_world
    await world.live_expert()
    guest = world.guest()
    await world.watch(guest)
    world.house.figures.subscribe(guest)
    world.house.lobby.lose(guest)
    await world.pass_s(2)
    assert len(world.house.figures) == 0
    world.house.figures.subscribe(guest)
    world.house.lobby.depart(guest)
    await world.pass_s(2)
    assert len(world.house.figures) == 0
    assert shown(world, guest) == []
    world.house.figures.subscribe("nobody")
    assert len(world.house.figures) == 0


async def test_one_fault_does_not_end_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.live_expert()
    guest = world.guest()
    await world.watch(guest)
    world.house.figures.subscribe(guest)

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(world.media, "figures", broken)
        await world.pass_s(1)
    assert shown(world, guest) == []
    await world.pass_s(1)
    assert len(shown(world, guest)) == 1


async def test_a_new_connection_begins_without_a_rate(world: World) -> None:
    await world.live_expert()
    guest = world.guest()
    first = await world.watch(guest)
    world.media.known[Direction.WATCH, first] = peer(9_000)
    world.house.figures.subscribe(guest)
    await world.pass_s(FIRST_S)
    world.house.on_media(ViewerGone(first, "consent_lost"))
    world.media.viewers.discard(first)
    second = await world.watch(guest)
    world.media.known = {(Direction.WATCH, second): peer(70_000)}
    await world.pass_s(1)
    assert shown(world, guest)[-1].connections[0].bitrates_bps == (None,)
    world.media.known = {(Direction.WATCH, second): peer(10)}  # an encoder that began anew
    await world.pass_s(1)
    assert shown(world, guest)[-1].connections[0].bitrates_bps == (None,)
    figures = peer(10)
    two = replace(figures, streams=(*figures.streams, *figures.streams))
    world.media.known = {(Direction.WATCH, second): two}
    await world.pass_s(1)
    assert shown(world, guest)[-1].connections[0].bitrates_bps == (0, None)
