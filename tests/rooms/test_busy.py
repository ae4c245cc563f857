"""A media plane without room for more: new viewers are refused, nobody else is touched."""

from billing_meter.tariff import Component
from media.api import Answer, BusyReason, SourceFresh, ViewerGone
from rooms.airing import Connected, stream_source
from rooms.events import Feed
from rooms.limits import BUSY_RETRY_S, PLACE_KEPT_NS, SEAT_KEPT_NS
from rooms.refusals import Code, Refusal
from rooms.roles import VisitorKind
from tests.rooms.world import NS, World

LUNA = stream_source("luna")
FULL = Refusal(Code.OVERLOADED, {"retry_after_s": BUSY_RETRY_S})


async def asked(world: World, place_id: str) -> Answer | Refusal:
    return await world.house.watch(place_id, Feed.STREAM, "offer")


async def test_a_new_viewer_is_refused_until_there_is_room_again(world: World) -> None:
    await world.live_expert()
    watching, late = world.guest("a"), world.guest("b")
    viewer = await world.watch(watching)
    world.media.busy = BusyReason.CPU
    assert await asked(world, late) == FULL
    assert await world.house.watch_public("luna", "offer") == FULL
    assert world.media.receivers(LUNA) == {viewer}  # whoever watched does so still
    assert world.media.viewers == {viewer}
    assert world.house.airing.refused_busy == 2
    world.media.busy = None
    assert isinstance(await asked(world, late), Answer)
    assert isinstance(await world.house.watch_public("luna", "offer"), Connected)


async def test_whoever_watches_may_offer_anew_and_change_rooms(world: World) -> None:
    world.directory.add("orion")
    await world.live_expert()
    await world.live_expert("orion")
    guest = world.guest("a")
    await world.watch(guest)
    world.media.busy = BusyReason.LAG
    assert isinstance(await asked(world, guest), Answer)
    world.enter(guest, "orion")
    assert isinstance(await asked(world, guest), Answer)
    assert len(world.media.viewers) == 1


async def test_a_broken_connection_comes_back_and_a_long_absence_does_not(world: World) -> None:
    await world.live_expert()
    guest = world.guest("a")
    viewer = await world.watch(guest)
    world.media.busy = BusyReason.DROPS
    world.house.on_media(ViewerGone(viewer, "consent_lost"))
    world.clock.now_ns += SEAT_KEPT_NS - 1
    assert isinstance(await asked(world, guest), Answer)
    (viewer,) = world.media.viewers - {viewer}
    world.house.on_media(ViewerGone(viewer, "consent_lost"))
    world.clock.now_ns += SEAT_KEPT_NS
    assert await asked(world, guest) == FULL


async def test_a_page_loaded_anew_is_the_same_viewer(world: World) -> None:
    await world.live_expert()
    old = world.guest("a")
    await world.watch(old)
    world.media.busy = BusyReason.CPU
    second_tab = world.guest("a")
    assert await asked(world, second_tab) == FULL
    world.house.lobby.lose(old)
    new = world.guest("a")
    assert isinstance(await asked(world, new), Answer)
    await world.pass_s(PLACE_KEPT_NS / NS)  # the old one is given up, and with it its viewer
    assert len(world.media.viewers) == 1


async def test_a_left_place_lets_its_person_back_in_once(world: World) -> None:
    await world.live_expert()
    old = world.guest("a")
    await world.watch(old)
    world.media.busy = BusyReason.CPU
    world.house.lobby.depart(old)
    assert isinstance(await asked(world, world.guest("a")), Answer)
    assert await asked(world, world.guest("a")) == FULL


async def test_a_refused_offer_does_not_cost_the_seat(world: World) -> None:
    await world.live_expert()
    guest = world.guest("a")
    viewer = await world.watch(guest)
    world.media.busy = BusyReason.CPU
    world.house.on_media(ViewerGone(viewer, "consent_lost"))
    world.media.viewers.discard(viewer)
    bad = await world.house.watch(guest, Feed.STREAM, "bad")
    assert isinstance(bad, Refusal)
    assert bad.code is Code.BAD_SDP
    assert isinstance(await asked(world, guest), Answer)


async def test_private_sessions_and_publishers_are_let_in(world: World) -> None:
    expert = await world.live_expert()
    member = world.member()
    world.media.busy = BusyReason.CPU
    assert await asked(world, member) == FULL
    await world.active(member, expert, Component.CAM2CAM)
    assert isinstance(await asked(world, member), Answer)
    assert isinstance(await world.house.publish(member, Feed.PRIVATE, "offer"), Answer)
    assert isinstance(await world.house.watch(expert, Feed.PRIVATE, "offer"), Answer)
    world.directory.add("orion")
    orion = world.arrive(VisitorKind.EXPERT, "orion")
    world.enter(orion, "orion")
    assert isinstance(await world.house.publish(orion, Feed.STREAM, "offer"), Answer)
    world.house.on_media(SourceFresh(stream_source("orion")))
    assert isinstance(await asked(world, orion), Answer)  # the expert's own monitor
