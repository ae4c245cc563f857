"""Cam2Cam and two-way audio: rows, holds and switches of the member's feed."""

import asyncio

import pytest

from billing_meter.meter import Paused, Started
from billing_meter.tariff import Component
from billing_meter.till import Refused
from media.api import (
    Answer,
    Direction,
    Kind,
    QualityChanged,
    QualityLevel,
    SourceGone,
    ViewerGone,
)
from rooms.events import Feed, FeedQuality, FeedStopped, SessionChanged
from rooms.member_feed import feed_source
from rooms.refusals import Code, Refusal
from tests.rooms.world import World
from tests.turns import turn

CAM, MIC = Component.CAM2CAM, Component.TWO_WAY_AUDIO
RATES = {CAM: 100, MIC: 50}


async def switch(world: World, place: str, component: Component, on: bool) -> Refusal | None:
    return await world.house.switch(place, component, on, RATES[component] if on else 0)


async def pair(world: World, *wanted: Component) -> tuple[str, str, str, str]:
    """Member, expert, session and the expert's viewer of the member's feed."""
    expert, member = await world.live_expert(), world.member()
    await world.watch(member)
    session_id = await world.active(member, expert, *wanted)
    assert isinstance(await world.house.publish(member, Feed.PRIVATE, "offer"), Answer)
    viewer = await world.watch(expert, Feed.PRIVATE)
    return member, expert, session_id, viewer


async def test_nothing_flows_before_a_switch_is_on(world: World) -> None:
    _, _, session_id, viewer = await pair(world)
    assert world.media.kinds(feed_source(session_id), viewer) == set()


async def test_each_switch_lays_its_own_kind_behind_its_own_gate(world: World) -> None:
    member, _, session_id, viewer = await pair(world)
    source = feed_source(session_id)
    assert await switch(world, member, CAM, True) is None
    assert world.media.kinds(source, viewer) == {Kind.VIDEO}
    assert await switch(world, member, MIC, True) is None
    assert world.media.kinds(source, viewer) == {Kind.VIDEO, Kind.AUDIO}
    video, audio = (world.media.rows[source, viewer, kind] for kind in (Kind.VIDEO, Kind.AUDIO))
    assert video is world.till.gates[session_id, CAM]
    assert audio is world.till.gates[session_id, MIC]
    assert video is not audio


async def test_no_row_before_the_hold_is_durable(world: World) -> None:
    member, _, session_id, viewer = await pair(world)
    world.till.held_back = asyncio.Event()
    switching = asyncio.create_task(switch(world, member, CAM, True))
    await world.settle()
    assert world.media.kinds(feed_source(session_id), viewer) == set()
    world.till.held_back.set()
    assert await switching is None
    assert world.media.kinds(feed_source(session_id), viewer) == {Kind.VIDEO}


async def test_off_takes_the_row_before_the_charge_stops(world: World) -> None:
    member, _, session_id, viewer = await pair(world)
    await switch(world, member, CAM, True)
    await switch(world, member, MIC, True)
    sound = world.till.gates[session_id, MIC]
    world.till.held_back = asyncio.Event()
    switching = asyncio.create_task(switch(world, member, CAM, False))
    await turn()
    assert world.media.kinds(feed_source(session_id), viewer) == {Kind.AUDIO}
    # Sound goes on through the gate that it had: another one would begin to count anew.
    assert world.till.gates[session_id, MIC] is sound
    assert sound.until_ns > world.clock.now_ns
    assert not world.heard(member, SessionChanged)[-1].session.cam2cam
    world.till.held_back.set()
    assert await switching is None
    assert world.till.log[-1] == "switch cam2cam False"
    assert world.till.log.count("switch two_way_audio False") == 0


async def test_off_while_the_hold_is_being_written_stays_off(world: World) -> None:
    member, _, session_id, viewer = await pair(world)
    world.till.held_back = asyncio.Event()
    on = asyncio.create_task(switch(world, member, CAM, True))
    await world.settle()
    off = asyncio.create_task(switch(world, member, CAM, False))
    await world.settle()
    world.till.held_back.set()
    await asyncio.gather(on, off)
    assert world.media.kinds(feed_source(session_id), viewer) == set()
    assert CAM not in world.till.on[session_id]
    assert not world.heard(member, SessionChanged)[-1].session.cam2cam


async def test_what_was_asked_with_the_request_is_on_when_it_becomes_active(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    await world.watch(member)
    view = await world.request(member, CAM)
    world.house.accept(expert, view.session_id)
    await world.settle()
    assert isinstance(await world.house.publish(member, Feed.PRIVATE, "offer"), Answer)
    viewer = await world.watch(expert, Feed.PRIVATE)
    source = feed_source(view.session_id)
    assert world.media.kinds(source, viewer) == set()  # not while it connects
    assert await switch(world, member, MIC, True) == Refusal(Code.NOT_ACTIVE)
    world.house.on_meter(view.session_id, Started(0))
    assert world.media.kinds(source, viewer) == {Kind.VIDEO}
    assert world.heard(expert, SessionChanged)[-1].session.cam2cam
    assert "switch" not in " ".join(world.till.log)  # it was funded with the first hold


async def test_a_reconnected_expert_gets_the_rows_again(world: World) -> None:
    member, expert, session_id, old = await pair(world)
    await switch(world, member, CAM, True)
    new = await world.watch(expert, Feed.PRIVATE)
    assert world.media.receivers(feed_source(session_id)) == {new}
    assert old not in world.media.viewers
    assert (
        world.till.gates[session_id, CAM]
        is (world.media.rows[feed_source(session_id), new, Kind.VIDEO])
    )
    assert world.heard(expert, FeedStopped) == []


async def test_another_studio_takes_the_feed_over(world: World) -> None:
    member, expert, session_id, _ = await pair(world)
    await switch(world, member, CAM, True)
    second = world.expert()
    viewer = await world.watch(second, Feed.PRIVATE)
    assert world.media.receivers(feed_source(session_id)) == {viewer}
    assert world.heard(expert, FeedStopped)[-1].reason == "replaced"


async def test_a_republished_feed_keeps_its_rows(world: World) -> None:
    member, _, session_id, viewer = await pair(world)
    await switch(world, member, CAM, True)
    assert isinstance(await world.house.publish(member, Feed.PRIVATE, "offer"), Answer)
    assert world.media.kinds(feed_source(session_id), viewer) == {Kind.VIDEO}
    assert world.heard(member, FeedStopped) == []


async def test_the_end_leaves_nothing_of_the_feed(world: World) -> None:
    member, expert, session_id, viewer = await pair(world)
    await switch(world, member, CAM, True)
    assert world.house.end(expert) is None
    source = feed_source(session_id)
    assert world.media.receivers(source) == set()
    assert source not in world.media.publishers
    assert viewer not in world.media.viewers
    assert f"seal {source}" in world.media.log
    await world.settle()
    for act in (world.house.publish, world.house.watch):
        for place in (member, expert):
            assert await act(place, Feed.PRIVATE, "offer") == Refusal(Code.NO_SESSION)


@pytest.mark.parametrize("act", ["publish", "watch"])
async def test_an_end_during_an_offer_leaves_nothing(world: World, act: str) -> None:
    member, expert, session_id, _ = await pair(world)
    world.house.unpublish(member, Feed.PRIVATE)
    world.house.unwatch(expert, Feed.PRIVATE)
    world.media.held_back = asyncio.Event()
    place = member if act == "publish" else expert
    offer = asyncio.create_task(getattr(world.house, act)(place, Feed.PRIVATE, "offer"))
    await world.settle()
    world.house.end(member)
    world.media.held_back.set()
    assert await offer == Refusal(Code.NO_SESSION)
    await world.settle()
    assert feed_source(session_id) not in world.media.publishers
    assert len(world.media.viewers) == 1  # the member's, of the free picture


async def test_flags_decide_what_may_be_sent(world: World) -> None:
    world.directory.add("luna", two_way_audio=False)
    member, _, session_id, _ = await pair(world)
    assert world.media.allowed[feed_source(session_id)] == {Kind.VIDEO}
    assert await switch(world, member, MIC, True) == Refusal(Code.NOT_AVAILABLE)
    assert await world.house.switch(member, CAM, True, 99) == Refusal(
        Code.PRICE_CHANGED, {"rate_units_per_s": 100}
    )


async def test_an_expert_without_flags_gets_no_feed(world: World) -> None:
    world.directory.add("luna", cam2cam=False, two_way_audio=False)
    expert, member = await world.live_expert(), world.member()
    await world.active(member, expert)
    refusal = await world.house.publish(member, Feed.PRIVATE, "offer")
    assert refusal == Refusal(Code.NOT_AVAILABLE)


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        ("insufficient_credits", Code.INSUFFICIENT_CREDITS),
        ("ledger_unavailable", Code.LEDGER_UNAVAILABLE),
    ],
)
async def test_a_switch_that_cannot_be_paid_stays_off(
    world: World, code: str, refusal: Code
) -> None:
    member, _, session_id, viewer = await pair(world)
    world.till.refuse = Refused(code)
    assert await switch(world, member, CAM, True) == Refusal(refusal)
    assert world.media.kinds(feed_source(session_id), viewer) == set()
    assert not any(e.session.cam2cam for e in world.heard(member, SessionChanged))


async def test_an_end_while_a_hold_is_written_lays_no_row(world: World) -> None:
    member, _, session_id, _ = await pair(world)
    world.till.held_back = asyncio.Event()
    switching = asyncio.create_task(switch(world, member, CAM, True))
    await world.settle()
    world.house.end(member)
    world.till.held_back.set()
    assert await switching == Refusal(Code.NOT_ACTIVE)
    await world.settle()
    assert world.media.receivers(feed_source(session_id)) == set()


async def test_switches_work_while_paused_too(world: World) -> None:
    member, _, session_id, viewer = await pair(world)
    world.house.on_meter(session_id, Paused(0))
    assert await switch(world, member, CAM, True) is None
    assert world.media.kinds(feed_source(session_id), viewer) == {Kind.VIDEO}


async def test_broken_ends_of_the_feed_are_told(world: World) -> None:
    member, expert, session_id, viewer = await pair(world)
    source = feed_source(session_id)
    world.house.on_media(QualityChanged(source, Direction.PUBLISH, QualityLevel.POOR, "loss"))
    world.house.on_media(QualityChanged(viewer, Direction.WATCH, QualityLevel.FAIR, "loss"))
    assert world.heard(member, FeedQuality)[-1].feed is Feed.PRIVATE
    assert world.heard(expert, FeedQuality)[-1].level is QualityLevel.FAIR
    world.house.on_media(SourceGone(source, world.media.publishers[source], "timeout"))
    assert world.heard(member, FeedStopped)[-1].direction is Direction.PUBLISH
    world.media.viewers.discard(viewer)
    world.house.on_media(ViewerGone(viewer, "timeout"))
    assert world.heard(expert, FeedStopped)[-1].direction is Direction.WATCH
