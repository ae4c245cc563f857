"""The house as a whole: its timer, its drain, and what it tells HTTP."""

import asyncio
import time

import pytest

from rooms.deadlines import Due, Key
from rooms.events import Draining, RoomChanged, SessionSummary
from rooms.house import House
from rooms.presence import Notice, PresenceState
from rooms.private import Phase
from rooms.roles import Standing, Visitor, VisitorKind
from tests.rooms.world import World
from tests.turns import turn


async def test_the_timer_wakes_for_a_deadline_that_is_set_while_it_sleeps() -> None:
    world = World()
    house = House(world.media, world.till, world.purse, world.directory, clock_ns=time.monotonic_ns)
    done = asyncio.Event()
    house.lobby.on_departed = lambda place_id: done.set()
    await house.start()
    await turn()  # the timer sleeps: there is nothing to wait for
    place_id = house.lobby.arrive(Visitor(VisitorKind.GUEST, "g", "g"), Standing())
    assert isinstance(place_id, str)
    house.floor.set_deadline(Key(Due.PLACE, place_id), time.monotonic_ns() + 5_000_000)
    await asyncio.wait_for(done.wait(), 5)
    await house.close()
    assert house.floor.places == {}


async def test_a_timer_survives_a_fault_in_one_deadline(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = world.guest("a"), world.guest("b")
    world.house.lobby.lose(first)
    world.house.lobby.lose(second)
    depart, seen = world.house.lobby.depart, []

    def broken(place_id: str) -> None:
        seen.append(place_id)
        if place_id == first:
            raise RuntimeError("boom")
        depart(place_id)

    monkeypatch.setattr(world.house.lobby, "depart", broken)
    await world.pass_s(31)
    assert seen == [first, second]
    assert "boom" in caplog.text


async def test_a_drain_lets_running_sessions_end_by_themselves(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    session_id = await world.active(member, expert)
    draining = asyncio.create_task(world.house.drain(60))
    await world.settle()
    assert world.heard(member, Draining) == [Draining(60)]
    assert world.house.end(member) is None
    await asyncio.wait_for(draining, 5)
    assert world.till.closed == {session_id: "member_left"}


async def test_a_drain_without_time_ends_them(world: World) -> None:
    expert, member = await world.live_expert(), world.member()
    session_id = await world.active(member, expert)
    await world.house.drain()
    assert world.till.closed == {session_id: "server_stopped"}
    assert len(world.heard(member, SessionSummary)) == 1


async def test_a_drain_ends_a_ringing_request(world: World) -> None:
    await world.live_expert()
    member = world.member()
    await world.request(member)
    await world.house.drain()
    assert not world.house.in_session("luna")


async def test_the_grid_puts_live_ones_first_and_does_not_jump(world: World) -> None:
    for name in ("aria", "nova"):
        world.directory.add(name)
    nova = await world.live_expert("nova")
    await world.live_expert("aria")
    assert [card.name for card in world.house.cards()] == ["aria", "nova", "luna"]
    member = world.member()
    world.enter(member, "nova")
    await world.active(member, nova)
    assert [card.name for card in world.house.cards()] == ["aria", "nova", "luna"]
    assert world.house.card("NOVA").state is PresenceState.IN_PRIVATE
    assert world.house.card("nobody") is None


async def test_notices_change_by_themselves(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    await world.active(member, expert)
    assert world.heard(guest, RoomChanged)[-1].card.notice is Notice.ENTERING_PRIVATE
    await world.pass_s(5)
    assert world.heard(guest, RoomChanged)[-1].card.notice is Notice.IN_PRIVATE


async def test_a_changed_profile_is_pushed_and_locked_in_a_session(world: World) -> None:
    expert, member, guest = await world.live_expert(), world.member(), world.guest()
    world.told.clear()
    world.directory.add("luna", cam2cam=False)
    world.house.profile_changed("luna")
    assert not world.heard(guest, RoomChanged)[-1].card.cam2cam
    assert not world.house.in_session("luna")
    view = await world.request(member)
    assert world.house.in_session("luna")
    assert view.phase is Phase.RINGING
    assert world.house.decline(expert, view.session_id) is None
    assert not world.house.in_session("luna")


async def test_nothing_is_announced_twice(world: World) -> None:
    await world.live_expert()
    guest = world.guest()
    world.told.clear()
    world.house.floor.announce("luna")
    count = len(world.told)
    world.house.floor.announce("luna")
    assert len(world.told) == count
    assert world.heard(guest, RoomChanged) == world.heard(guest, RoomChanged)[:1]
