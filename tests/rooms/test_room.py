"""A room: its one lock, its walls, its two conversations."""

from billing_meter.tariff import Tariff
from rooms.events import Wall
from rooms.presence import Busy
from rooms.private import Cue, PrivateSession
from rooms.room import Room


def session(name: str, place: str = "member") -> PrivateSession:
    return PrivateSession(
        session_id=name,
        expert_id="luna",
        expert_name="luna",
        member_id=name,
        member_name=name,
        tariff=Tariff(299, 100, 50),
        possible=frozenset(),
        member_place=place,
        requested_ns=0,
    )


def room_with_everybody() -> Room:
    room = Room("luna")
    room.enter("host", hosting=True)
    for place in ("member", "guest"):
        room.enter(place, hosting=False)
    room.presence.media(True)
    return room


def test_the_lock_is_taken_once_and_freed_by_the_end_of_its_own_session() -> None:
    room = room_with_everybody()
    first, second = session("a"), session("b")
    assert room.lock(first, 0)
    assert not room.lock(second, 0)
    assert room.session is first
    second.apply(Cue.DECLINE, 0)
    room.follow(second, 0)
    assert room.session is first
    first.apply(Cue.DECLINE, 0)
    room.follow(first, 0)
    assert room.session is None
    assert room.presence.busy is Busy.FREE
    assert room.lock(session("c"), 0)


def test_ringing_does_not_wall_and_accepting_does() -> None:
    room = room_with_everybody()
    s = session("a")
    room.lock(s, 0)
    assert not room.sealed
    assert {room.wall(place, 0) for place in room.places} == {Wall.NONE}
    s.apply(Cue.ACCEPT, 0)
    room.follow(s, 0)
    assert room.sealed
    walls = {place: room.wall(place, 0) for place in ("host", "member", "guest", "stranger")}
    assert walls == {
        "host": Wall.NONE,
        "member": Wall.NONE,
        "guest": Wall.PRIVATE,
        "stranger": Wall.PRIVATE,
    }


def test_without_media_there_is_a_wall_for_everybody() -> None:
    room = room_with_everybody()
    room.presence.media(False)
    assert {room.wall(place, 0) for place in room.places} == {Wall.OFFLINE}


def test_circles_of_chat() -> None:
    room = room_with_everybody()
    assert room.chat_circle("guest") == ("host", "member", "guest")
    s = session("a")
    room.lock(s, 0)
    s.apply(Cue.ACCEPT, 0)
    room.follow(s, 0)
    assert room.chat_circle("host") == room.chat_circle("member") == ("host", "member")
    assert room.chat_circle("guest") == ("guest",)
    assert room.chat_of("member") is room.chat_of("host")
    assert room.chat_of("guest") is room.free_chat
    s.apply(Cue.EXPERT_LEFT, 0)
    room.follow(s, 0)
    assert room.private_chat is not None  # still private while it is being settled
    s.apply(Cue.SETTLED, 0)
    room.follow(s, 0)
    assert room.private_chat is None


def test_counting_and_leaving() -> None:
    room = room_with_everybody()
    room.public_viewers.add("player")
    assert room.viewer_count == 3
    for place in ("host", "member", "guest", "guest"):
        room.leave(place)
    assert room.viewer_count == 1
    assert not room.deserted
    room.public_viewers.clear()
    assert not room.deserted  # still on air
    room.presence.media(False)
    assert room.deserted
