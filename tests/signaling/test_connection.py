"""The WebSocket over a real socket: who gets in, how it resumes, and what abuse leads to."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer

from rooms.chat import ChatLine
from rooms.events import ChatPosted
from rooms.floor import Place
from rooms.roles import Role, Visitor, VisitorKind
from signaling import connection, wire
from signaling.connection import Door, Outbox
from signaling.hub import CONNECTIONS_PER_PERSON_MAX, Hub
from signaling.tickets import Tickets
from tests.rooms.world import World

GOOD_ORIGIN = "https://parlour.example"


class Site:
    """A running server with one door."""

    def __init__(
        self, client: TestClient[Any, Any], world: World, tickets: Tickets, hub: Hub
    ) -> None:
        self.client = client
        self.hub = hub
        self.world = world
        self.tickets = tickets

    def ticket(self, kind: VisitorKind = VisitorKind.MEMBER, name: str = "mia") -> str:
        return self.tickets.issue(Visitor(kind, name, name)).token

    async def open(self, **options: Any) -> ClientWebSocketResponse:
        options.setdefault("protocols", (wire.SUBPROTOCOL_JSON,))
        return await self.client.ws_connect("/ws", **options)

    async def lose(self, socket: ClientWebSocketResponse) -> None:
        """Close the socket and wait until the house has noticed."""
        lobby, noticed = self.world.house.lobby, asyncio.Event()
        lose = lobby.lose

        def lose_and_tell(place_id: str) -> None:
            lose(place_id)
            noticed.set()

        lobby.lose = lose_and_tell
        await socket.close()
        await asyncio.wait_for(noticed.wait(), 5)
        lobby.lose = lose

    async def greet(
        self, kind: VisitorKind = VisitorKind.MEMBER, name: str = "mia", **hello: Any
    ) -> tuple[ClientWebSocketResponse, wire.Welcome]:
        socket = await self.open()
        await send(socket, wire.Hello(ticket=self.ticket(kind, name), **hello))
        welcome = await receive(socket)
        assert isinstance(welcome, wire.Welcome)
        return socket, welcome


async def send(socket: ClientWebSocketResponse, message: wire.ClientMessage) -> None:
    await socket.send_str(wire.encode_json(message).decode())


async def receive(socket: ClientWebSocketResponse) -> Any:
    return wire.decode_server_json(await socket.receive_str(timeout=5))


async def closed_with(socket: ClientWebSocketResponse) -> int:
    while True:
        frame = await socket.receive(timeout=5)
        if frame.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
            assert socket.close_code is not None
            return socket.close_code


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    world = World()
    tickets = Tickets(clock_ns=world.clock)
    hub = Hub(world.house, tickets)
    app = web.Application()
    door = Door(hub, frozenset({GOOD_ORIGIN}), clock_ns=world.clock)
    app.router.add_get("/ws", door.websocket_handler)
    async with TestClient(TestServer(app)) as client:
        yield Site(client, world, tickets, hub)


async def test_hello_is_answered_by_a_welcome_with_the_balance(site: Site) -> None:
    socket, welcome = await site.greet(id=7, language="nb")
    assert welcome.seq == 1
    assert welcome.id == 7
    assert welcome.you == wire.You(
        role="member", name="mia", premium=True, rank="bronze", language="nb", locked=[]
    )
    assert welcome.balance is not None
    assert welcome.balance.available_units == 600_000
    assert not welcome.resumed
    await socket.close()


async def test_guests_have_no_balance(site: Site) -> None:
    _, welcome = await site.greet(VisitorKind.GUEST, "g1")
    assert welcome.balance is None
    assert welcome.you.role == "guest"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (GOOD_ORIGIN, 101),
        (None, 101),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://parlour.example", 403),
        ("https://parlour.example:444", 403),
        ("https://parlour.example.evil.example", 403),
        ("https://sub.parlour.example", 403),
        ("HTTPS://PARLOUR.EXAMPLE", 403),
    ],
)
async def test_the_origin_is_exact(site: Site, origin: str | None, status: int) -> None:
    headers = {} if origin is None else {"Origin": origin}
    if status == 101:
        socket = await site.open(headers=headers)
        await socket.close()
        return
    with pytest.raises(WSServerHandshakeError) as refusal:
        await site.open(headers=headers)
    assert refusal.value.status == status


async def test_a_replayed_ticket_is_refused(site: Site) -> None:
    ticket = site.ticket()
    first, second = await site.open(), await site.open()
    await send(first, wire.Hello(ticket=ticket))
    assert isinstance(await receive(first), wire.Welcome)
    await send(second, wire.Hello(ticket=ticket))
    error = await receive(second)
    assert error.code == "bad_ticket"
    assert await closed_with(second) == wire.CLOSE_UNAUTHENTICATED


async def test_no_hello_in_time_closes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HELLO_TIMEOUT_S", 0.01)
    assert await closed_with(await site.open()) == wire.CLOSE_HELLO_TIMEOUT


async def test_another_first_message_closes(site: Site) -> None:
    socket = await site.open()
    await send(socket, wire.RoomLeave())
    assert await closed_with(socket) == wire.CLOSE_UNAUTHENTICATED


async def test_an_unreadable_hello_closes(site: Site) -> None:
    socket = await site.open()
    await socket.send_str("{")
    assert (await receive(socket)).code == "bad_message"
    assert await closed_with(socket) == wire.CLOSE_BAD_MESSAGE


async def test_bad_messages_are_answered_and_the_socket_stays(site: Site) -> None:
    socket, _ = await site.greet()
    for text in ("{", '{"type":"nope"}', '{"type":"room.leave","admin":true}'):
        await socket.send_str(text)
        assert (await receive(socket)).code == "bad_message"
    await socket.send_bytes(b"\x80")
    assert (await receive(socket)).code == "bad_message"
    await send(socket, wire.PresenceSubscribe(id=1))
    assert isinstance(await receive(socket), wire.PresenceList)
    await send(socket, wire.Hello(ticket="x", id=2))
    assert (await receive(socket)).code == "already_welcome"


async def test_forty_bad_messages_are_enough(site: Site) -> None:
    socket, _ = await site.greet()
    for _ in range(41):
        await socket.send_str("{")
        assert (await receive(socket)).code == "bad_message"
        site.world.clock.now_ns += 100_000_000  # no flood: this is about reading
    assert await closed_with(socket) == wire.CLOSE_BAD_MESSAGE


async def test_a_flood_gets_errors_and_then_the_door(site: Site) -> None:
    socket, _ = await site.greet()
    for _ in range(100):
        await send(socket, wire.RoomLeave(id=1))
    codes = []
    while len(codes) < 41:
        codes.append((await receive(socket)).code)
    assert codes[:40] == ["not_in_room"] * 40
    assert codes[40] == "too_many_messages"
    assert await closed_with(socket) == wire.CLOSE_TOO_MANY_MESSAGES


async def test_too_large_a_frame_closes(site: Site) -> None:
    socket, _ = await site.greet()
    await socket.send_str('{"type":"chat.send","text":"' + "x" * wire.FRAME_BYTES_MAX + '"}')
    assert await closed_with(socket) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_msgpack_speaks_the_same(site: Site) -> None:
    socket = await site.open(protocols=(wire.SUBPROTOCOL_MSGPACK,))
    await socket.send_bytes(wire.encode_msgpack(wire.Hello(ticket=site.ticket())))
    answer = msgspec.msgpack.decode(await socket.receive_bytes(timeout=5), type=wire.ServerMessage)
    assert isinstance(answer, wire.Welcome)
    await socket.send_str("{}")
    answer = msgspec.msgpack.decode(await socket.receive_bytes(timeout=5), type=wire.ServerMessage)
    assert answer.code == "bad_message"


async def test_a_lost_socket_comes_back_to_its_room(site: Site) -> None:
    socket, welcome = await site.greet(VisitorKind.MEMBER, "mia")
    await send(socket, wire.RoomEnter(expert="luna", id=1))
    assert isinstance(await receive(socket), wire.RoomEntered)
    await site.lose(socket)
    assert not place_of(site, "mia").connected
    socket, again = await site.greet(VisitorKind.MEMBER, "mia", resume=welcome.resume)
    assert again.resumed
    assert again.resume == welcome.resume
    entered = await receive(socket)
    assert isinstance(entered, wire.RoomEntered)
    assert entered.seq == 2
    assert place_of(site, "mia").connected
    assert len(site.world.house.floor.places) == 1


async def test_a_resume_while_the_old_socket_is_open_replaces_it(site: Site) -> None:
    old, welcome = await site.greet()
    new, again = await site.greet(resume=welcome.resume)
    assert again.resumed
    assert await closed_with(old) == wire.CLOSE_REPLACED
    await send(new, wire.RoomEnter(expert="luna", id=1))
    assert isinstance(await receive(new), wire.RoomEntered)
    assert place_of(site, "mia").connected  # the old one's end took nothing with it


async def test_a_resume_token_is_worthless_for_another_account(site: Site) -> None:
    _, welcome = await site.greet(VisitorKind.MEMBER, "mia")
    _, stolen = await site.greet(VisitorKind.MEMBER, "eve", resume=welcome.resume)
    assert not stolen.resumed
    assert stolen.resume != welcome.resume


async def test_after_the_grace_the_place_is_gone(site: Site) -> None:
    socket, welcome = await site.greet()
    await site.lose(socket)
    assert not place_of(site, "mia").connected
    await site.world.pass_s(30)
    _, again = await site.greet(resume=welcome.resume)
    assert not again.resumed


async def test_one_account_has_so_many_connections(site: Site) -> None:
    for _ in range(CONNECTIONS_PER_PERSON_MAX):
        await site.greet()
    socket = await site.open()
    await send(socket, wire.Hello(ticket=site.ticket()))
    assert (await receive(socket)).code == "too_many_connections"
    assert await closed_with(socket) == wire.CLOSE_TOO_MANY_CONNECTIONS
    await site.greet(VisitorKind.MEMBER, "max")


async def test_jobs_of_one_connection_wait_for_each_other_in_a_bounded_queue(site: Site) -> None:
    socket, _ = await site.greet()
    await send(socket, wire.RoomEnter(expert="luna", id=1))
    await receive(socket)
    await site.world.live_expert()
    site.world.media.held_back = asyncio.Event()
    for number in range(20):
        await send(socket, wire.MediaWatch(feed="stream", sdp="offer", id=100 + number))
    refused: list[int] = []
    answered: list[int] = []
    while len(refused) + len(answered) < 20:
        message = await receive(socket)
        if isinstance(message, wire.Error):
            assert message.code == "busy_here"
            refused.append(message.id)
            if len(refused) == 3:  # nothing was answered while the first one was at work
                assert answered == []
                site.world.media.held_back.set()
        elif isinstance(message, wire.MediaAnswer):
            answered.append(message.id)
    assert answered == list(range(100, 100 + len(answered)))  # in order
    assert len(answered) in (16, 17)  # the queue, and the one at work if it was taken in time


async def test_a_failing_request_breaks_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    socket, _ = await site.greet()

    async def broken(*arguments: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(site.world.house, "watch", broken)
    await send(socket, wire.MediaWatch(feed="stream", sdp="offer", id=1))
    error = await receive(socket)
    assert error.code == "internal"
    assert "secret" not in error.message
    assert "a request failed" in caplog.text
    await send(socket, wire.RoomEnter(expert="luna", id=2))
    assert isinstance(await receive(socket), wire.RoomEntered)


async def test_one_that_does_not_read_is_closed_and_others_notice_nothing() -> None:
    outbox = Outbox(messages_max=3)
    for number in range(4):
        outbox.post(wire.Ack(id=number + 1))
    assert outbox.closing == (wire.CLOSE_OVERFLOW, "reads too slowly")
    assert await outbox.take() is None  # what it did not read is not kept
    outbox.post(wire.Ack(id=9))
    assert await outbox.take() is None


async def test_a_socket_that_reads_nothing_is_closed_for_overflow(site: Site) -> None:
    socket, _ = await site.greet()
    await send(socket, wire.RoomEnter(expert="luna", id=1))
    await receive(socket)
    (place_id,) = site.world.house.floor.places
    line = ChatLine(1, 0, "max", Role.MEMBER, "none", "x" * 500)
    for _ in range(300):  # more than the outbox holds, without letting the writer run
        site.world.house.emit(place_id, ChatPosted(line))
    assert await closed_with(socket) == wire.CLOSE_OVERFLOW


async def test_sequence_numbers_have_no_gap(site: Site) -> None:
    socket, _ = await site.greet()
    seqs = []
    for number in range(5):
        await send(socket, wire.PresenceSubscribe(id=number + 1))
        seqs.append((await receive(socket)).seq)
    assert seqs == [2, 3, 4, 5, 6]


def place_of(site: Site, name: str) -> Place:
    (place,) = site.world.house.floor.places_of((VisitorKind.MEMBER, name))
    return place


async def test_a_hello_that_fails_inside_tells_nothing_and_closes(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(visitor: Visitor) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(site.world.directory, "standing", broken)
    socket = await site.open()
    await send(socket, wire.Hello(ticket=site.ticket(), id=1))
    error = await receive(socket)
    assert (error.code, error.id) == ("internal", 1)
    assert "secret" not in error.message
    assert await closed_with(socket) == wire.CLOSE_INTERNAL
    assert "a hello failed" in caplog.text


async def test_a_draining_server_takes_nobody_new(site: Site) -> None:
    site.hub.draining = True
    socket = await site.open()
    await send(socket, wire.Hello(ticket=site.ticket()))
    assert (await receive(socket)).code == "server_draining"
    assert await closed_with(socket) == wire.CLOSE_DRAINING
