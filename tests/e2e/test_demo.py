"""`parlour serve --demo` is alive: three experts stream, and one of them takes a private session.

The member here is a program on the public API, so that this needs no browser.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiortc import RTCPeerConnection

from clients._aiortc_seam import prefer_codec, receive_into
from clients._counting import CountingSink
from clients._encoders import AnyPacket
from clients._peer import close_peer, make_offer, new_peer, take_answer, wait_connected
from clients._sources import GeneratedSource, Kind
from clients.publish import PacketTrack
from clients.watch import WatchOptions, watch
from signaling import wire
from tests.e2e.harness import Server, running_server

MEMBER, EXPERT, PASSWORD = "mia", "luna", "demo-parlour"
EXPERTS = ("luna", "orion", "sunniva")
M = TypeVar("M")


class Member:
    """A signed-in member's WebSocket, and the peer connections behind it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._peers: list[RTCPeerConnection] = []
        self._source: GeneratedSource | None = None

    async def send(self, message: wire.ClientMessage) -> None:
        await self._socket.send_str(wire.encode_json(message).decode())

    async def until(
        self, kind: type[M], fits: Callable[[M], bool] = lambda _: True, within_s: float = 30
    ) -> M:
        """The next message of that kind that fits; an error in between fails the test."""
        async with asyncio.timeout(within_s):
            while True:
                message = wire.decode_server_json(await self._socket.receive_str())
                assert not isinstance(message, wire.Error), message
                if isinstance(message, kind) and fits(message):
                    return message

    async def watch_stream(self) -> CountingSink:
        """Watch the room; the counter of the picture."""
        peer = self._new_peer()
        sinks = {}
        for kind in ("audio", "video"):
            transceiver = peer.addTransceiver(kind, direction="recvonly")
            sinks[kind] = CountingSink(transceiver, lambda: 0)
            receive_into(transceiver, sinks[kind])
        sdp = await make_offer(peer)
        await self.send(wire.MediaWatch(feed="stream", sdp=sdp, id=next(self._ids)))
        await self._connect(peer, "watch")
        return sinks["video"]

    async def publish_private(self) -> None:
        """Camera and microphone for Cam2Cam and two-way audio."""
        peer = self._new_peer()
        source = self._source = GeneratedSource(MEMBER, "VP8")
        tracks: dict[Kind, PacketTrack] = {}
        for track in source.tracks:
            tracks[track.kind] = PacketTrack(track.kind)
            transceiver = peer.addTransceiver(tracks[track.kind], direction="sendonly")
            prefer_codec(transceiver, track.codec)
        sdp = await make_offer(peer)
        await self.send(wire.MediaPublish(feed="private", sdp=sdp, id=next(self._ids)))
        await self._connect(peer, "publish")
        loop = asyncio.get_running_loop()

        def deliver(kind: Kind, packet: AnyPacket) -> None:
            loop.call_soon_threadsafe(tracks[kind].push, packet)

        source.start(deliver, lambda _: None)

    async def _connect(self, peer: RTCPeerConnection, direction: str) -> None:
        answer = await self.until(wire.MediaAnswer, lambda a: a.direction == direction)
        await take_answer(peer, answer.sdp)
        await wait_connected(peer)

    def _new_peer(self) -> RTCPeerConnection:
        self._peers.append(new_peer())
        return self._peers[-1]

    async def close(self) -> None:
        if self._source is not None:
            await asyncio.to_thread(self._source.stop)
        for peer in self._peers:
            await close_peer(peer)


@asynccontextmanager
async def signed_in(server: Server) -> AsyncIterator[Member]:
    """The member, welcomed."""
    headers = {"Origin": server.url}
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(server.url, cookie_jar=jar, headers=headers) as http:
        body = {"username": MEMBER, "password": PASSWORD}
        async with http.post("/api/v1/login", json=body) as response:
            assert response.status == 200
        async with http.post("/api/v1/ws-ticket", json={}) as response:
            ticket = (await response.json())["ticket"]
        async with http.ws_connect("/ws", protocols=[wire.SUBPROTOCOL_JSON]) as socket:
            member = Member(socket)
            await member.send(wire.Hello(ticket=ticket))
            await member.until(wire.Welcome)
            try:
                yield member
            finally:
                await member.close()


async def everybody_live(server: Server, within_s: float = 60) -> None:
    """Until the three experts are on air, by the public list."""
    states: dict[str, str] = {}
    async with aiohttp.ClientSession(server.url) as http, asyncio.timeout(within_s):
        while [states.get(name) for name in EXPERTS] != ["live_free"] * len(EXPERTS):
            await asyncio.sleep(0.3)
            async with http.get("/api/v1/experts") as response:
                listed: dict[str, Any] = await response.json()
            states = {card["name"]: card["state"] for card in listed["experts"]}


async def test_the_demo_is_alive_and_takes_a_private_session(tmp_path: Path) -> None:
    async with running_server(tmp_path, "--demo") as server:
        await everybody_live(server)
        for name in EXPERTS:
            options = WatchOptions(url=f"{server.url}/whep/{name}", seconds=1)
            summary = await watch(options, stop=asyncio.Event(), say=lambda _: None)
            assert summary.tracks["video"].keyframes >= 1
            assert summary.tracks["audio"].packets > 10
        async with signed_in(server) as member:
            await a_private_session(member)
        server.books_are_clean()


async def a_private_session(member: Member) -> None:
    """With Cam2Cam and two-way audio, a few paid seconds, and a summary that adds up."""
    await member.send(wire.RoomEnter(expert=EXPERT))
    prices = (await member.until(wire.RoomEntered)).expert.prices
    picture = await member.watch_stream()
    rate = prices.private + prices.cam2cam + prices.two_way_audio
    request = wire.PrivateRequest(accepted_units_per_s=rate, cam2cam=True, two_way_audio=True)
    await member.send(request)
    # The demo's host accepts by itself, and takes the member's feed.
    await member.until(wire.PrivateState, lambda s: s.session.phase == "connecting")
    await member.publish_private()
    await member.until(wire.PrivateState, lambda s: s.session.phase == "active")
    hud = await member.until(wire.PrivateHud, lambda h: all(line.seconds >= 2 for line in h.lines))
    assert hud.rate_units_per_s == rate
    assert picture.counts.packets > 30
    await member.send(wire.PrivateEnd())
    summary = await member.until(wire.PrivateSummary)
    assert summary.reason == "member_left"
    charged = {line.component: line.seconds * line.rate_units_per_s for line in summary.lines}
    assert {line.component: line.units for line in summary.lines} == charged
    assert summary.total_units == sum(charged.values())
    assert all(units > 0 for units in charged.values())
