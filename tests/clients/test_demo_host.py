"""The demo's host against a small server that speaks the wire: it signs in, accepts, watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer
from aiortc import RTCSessionDescription

from clients._aiortc_seam import offer_loopback
from clients._failures import ServerRefused
from clients._peer import close_peer, new_peer
from clients.demo_host import HostOptions, host
from clients.publish import PacketTrack
from signaling import wire

M = TypeVar("M")
PRICES = wire.Prices(private=299, cam2cam=100, two_way_audio=50)


def silent(text: str) -> None:
    return


def card() -> wire.ExpertCard:
    return wire.ExpertCard(
        name="ada",
        display_name="Ada",
        headline="",
        categories=[],
        languages=["en"],
        state="live_free",
        notice=None,
        has_sound=True,
        cam2cam=True,
        two_way_audio=True,
        prices=PRICES,
        viewers=1,
    )


def session(phase: wire.Phase) -> wire.SessionView:
    return wire.SessionView(
        session="s1",
        phase=phase,
        expert="ada",
        member="max",
        prices=PRICES,
        cam2cam=True,
        two_way_audio=False,
        cam2cam_possible=True,
        two_way_audio_possible=True,
    )


class House:
    """The server's side: logins, tickets, and WebSockets the test talks through."""

    def __init__(self) -> None:
        self.logins: list[dict[str, str]] = []
        self.login_status = 200
        self.origins: set[str | None] = set()
        self.sockets: asyncio.Queue[Line] = asyncio.Queue()
        self.url = ""

    async def login(self, request: web.Request) -> web.Response:
        self.origins.add(request.headers.get("Origin"))
        self.logins.append(await request.json())
        response = web.json_response({"you": None}, status=self.login_status)
        response.set_cookie("session", "c00kie")
        return response

    async def ticket(self, request: web.Request) -> web.Response:
        assert request.cookies.get("session") == "c00kie"
        return web.json_response({"ticket": "t1cket", "expires_s": 30})

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        self.origins.add(request.headers.get("Origin"))
        socket = web.WebSocketResponse(protocols=(wire.SUBPROTOCOL_JSON,))
        await socket.prepare(request)
        line = Line(socket)
        self.sockets.put_nowait(line)
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                line.received.put_nowait(wire.decode_client_json(frame.data))
        return socket

    async def admitted(self) -> Line:
        """The next connection, welcomed."""
        line = await asyncio.wait_for(self.sockets.get(), 10)
        hello = await line.next(wire.Hello)
        assert hello.ticket == "t1cket"
        line.resume = hello.resume
        you = wire.You(role="expert", name="Ada", premium=False, rank="", language="en", locked=[])
        await line.send(
            wire.Welcome(
                id=1, you=you, resume="r1", resumed=False, heartbeat_s=15, server_time_ms=0
            )
        )
        assert (await line.next(wire.RoomEnter)).expert == "ada"
        return line


class Line:
    """One WebSocket of the host, seen from the server."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.received: asyncio.Queue[Any] = asyncio.Queue()
        self.resume: str | None = None

    async def next(self, kind: type[M]) -> M:
        message = await asyncio.wait_for(self.received.get(), 10)
        assert isinstance(message, kind), message
        return message

    async def send(self, message: wire.ServerMessage) -> None:
        await self.socket.send_str(wire.encode_json(message).decode())


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    app = web.Application()
    app.router.add_post("/api/v1/login", house.login)
    app.router.add_post("/api/v1/ws-ticket", house.ticket)
    app.router.add_get("/ws", house.socket)
    server = TestServer(app)
    await server.start_server()
    house.url = str(server.make_url("")).rstrip("/")
    yield house
    await server.close()


@pytest.fixture
async def hosting(house: House) -> AsyncIterator[House]:
    """A host at work."""
    stop = asyncio.Event()
    task = asyncio.create_task(host(options(house), stop=stop, say=silent))
    yield house
    stop.set()
    await asyncio.wait_for(task, 10)


def options(house: House, small_talk_s: float = 3600) -> HostOptions:
    return HostOptions(
        server_url=house.url,
        expert="ada",
        username="ada",
        password="pass-word",
        answer_delay_s=0,
        small_talk_s=small_talk_s,
    )


async def test_signs_in_and_enters_its_room(hosting: House) -> None:
    await hosting.admitted()
    assert hosting.logins == [{"username": "ada", "password": "pass-word"}]
    assert hosting.origins == {hosting.url}


async def test_accepts_a_request_once(hosting: House) -> None:
    line = await hosting.admitted()
    incoming = wire.PrivateIncoming(
        session=session("ringing"),
        member_rank="",
        balance_band="over_10_min",
        rate_units_per_s=399,
    )
    await line.send(incoming)
    await line.send(wire.PrivateState(session=session("ringing")))
    assert (await line.next(wire.PrivateAccept)).session == "s1"
    await line.send(wire.PrivateState(session=session("connecting")))
    await line.next(wire.MediaWatch)


async def test_receives_the_members_feed_until_the_session_ends(hosting: House) -> None:
    line = await hosting.admitted()
    await line.send(wire.PrivateState(session=session("connecting")))
    offer = await line.next(wire.MediaWatch)
    assert offer.feed == "private"
    peer = new_peer()
    states: asyncio.Queue[str] = asyncio.Queue()
    peer.on("connectionstatechange", lambda: states.put_nowait(peer.connectionState))
    try:
        await peer.setRemoteDescription(RTCSessionDescription(offer.sdp, "offer"))
        for transceiver in peer.getTransceivers():
            transceiver.direction = "sendonly"
            transceiver.sender.replaceTrack(
                PacketTrack("video" if transceiver.kind == "video" else "audio")
            )
        offer_loopback(peer)
        await peer.setLocalDescription(await peer.createAnswer())
        sdp = peer.localDescription.sdp
        await line.send(wire.MediaAnswer(feed="private", direction="watch", sdp=sdp, id=offer.id))
        while await asyncio.wait_for(states.get(), 10) != "connected":
            continue
        await line.send(wire.PrivateState(session=session("ended")))
        while await asyncio.wait_for(states.get(), 10) != "closed":
            continue
    finally:
        await close_peer(peer)


async def test_offers_anew_after_an_error_and_after_a_cut(hosting: House) -> None:
    line = await hosting.admitted()
    await line.send(wire.PrivateState(session=session("connecting")))
    first = await line.next(wire.MediaWatch)
    await line.send(wire.Error(code="not_yet", message="", id=first.id))
    await line.send(wire.PrivateState(session=session("active")))
    second = await line.next(wire.MediaWatch)
    assert second.id != first.id
    await line.send(wire.MediaStopped(feed="private", direction="watch", reason="lost"))
    await line.send(wire.PrivateState(session=session("paused")))
    await line.next(wire.MediaWatch)


async def test_greets_a_member_once(hosting: House) -> None:
    line = await hosting.admitted()
    for number, (name, role) in enumerate(
        [("Guest 7", "guest"), ("max", "member"), ("max", "member")], start=1
    ):
        chat = wire.ChatLine(n=number, at_ms=0, name=name, role=role, rank="", text="hi")
        await line.send(wire.ChatMessage(line=chat))
    assert (await line.next(wire.ChatSend)).text == "Hello max!"
    await line.send(wire.PrivateState(session=session("active")))
    await line.next(wire.MediaWatch)


async def test_comes_back_with_its_resume_token_and_no_second_login(hosting: House) -> None:
    line = await hosting.admitted()
    await line.socket.close(code=wire.CLOSE_OVERFLOW)
    again = await hosting.admitted()
    assert again.resume == "r1"
    assert len(hosting.logins) == 1


async def test_a_garbled_message_starts_the_connection_anew(hosting: House) -> None:
    line = await hosting.admitted()
    await line.socket.send_str("{")
    await hosting.admitted()


async def test_small_talk(house: House) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(host(options(house, small_talk_s=0.01), stop=stop, say=silent))
    line = await house.admitted()
    said = [(await line.next(wire.ChatSend)).text for _ in range(2)]
    assert said[0] != said[1]
    stop.set()
    await task


async def test_a_wrong_password_is_final(house: House) -> None:
    house.login_status = 401
    with pytest.raises(ServerRefused):
        await asyncio.wait_for(host(options(house), stop=asyncio.Event(), say=silent), 10)
