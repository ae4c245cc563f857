"""A small WHIP and WHEP server of aiortc and aiohttp to test the clients against."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RTCP_PSFB_PLI, RtcpPsfbPacket, RtpPacket

from clients._aiortc_seam import (
    negotiated_codecs,
    offer_loopback,
    own_ssrc,
    receive_into,
    send_rtcp,
)
from clients._counting import starts_keyframe
from clients._encoders import AnyPacket
from clients._peer import close_peer, new_peer
from clients._sources import GeneratedSource, Kind
from clients.publish import PacketTrack

SMOOTH = {"libx264": {"sc_threshold": "0"}}
"""No keyframes out of turn, though the picture jumps."""


class Receiver:
    """Keeps the RTP packets of one transceiver."""

    def __init__(self, transceiver: Any) -> None:
        self.transceiver = transceiver
        self.packets: list[RtpPacket] = []
        self._keyframes: set[int] = set()
        self._wake = asyncio.Event()

    @property
    def keyframes(self) -> int:
        """How many came; a keyframe of several slices is one."""
        return len(self._keyframes)

    @property
    def codec(self) -> str:
        """Name of the codec that arrives."""
        table = {codec.payloadType: codec.name for codec in negotiated_codecs(self.transceiver)}
        return table[self.packets[-1].payload_type]

    def _handle_disconnect(self) -> None:
        return

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        return

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        self.packets.append(packet)
        if starts_keyframe(self.codec, packet.payload):
            self._keyframes.add(packet.timestamp)
        self._wake.set()

    async def until(self, condition: Callable[[Receiver], bool]) -> None:
        """Wait for a packet that makes the condition true."""
        while not condition(self):
            self._wake.clear()
            await asyncio.wait_for(self._wake.wait(), 10)

    async def ask_keyframe(self) -> None:
        """Send a PLI for what arrives here."""
        own, media = own_ssrc(self.transceiver), self.packets[-1].ssrc
        await send_rtcp(self.transceiver, [RtcpPsfbPacket(RTCP_PSFB_PLI, own, media)])


@dataclass
class WhipFake:
    """What the fake saw, and what it is to answer."""

    url: str = ""
    statuses: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    """Refusals to give first: status, headers, body."""
    offers: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    peers: list[RTCPeerConnection] = field(default_factory=list)
    receivers: list[dict[str, Receiver]] = field(default_factory=list)
    sources: list[GeneratedSource] = field(default_factory=list)
    connected: asyncio.Event = field(default_factory=asyncio.Event)

    async def post_whip(self, request: web.Request) -> web.Response:
        """Receives whatever is offered."""
        offer, refusal = await self._begin(request)
        if refusal is not None:
            return refusal
        peer = self._peer()
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        receivers: dict[str, Receiver] = {}
        for transceiver in peer.getTransceivers():
            receiver = Receiver(transceiver)
            receive_into(transceiver, receiver)
            receivers[transceiver.kind] = receiver
        self.receivers.append(receivers)
        return await self._answer(peer, "/whip/resource")

    async def post_whep(self, request: web.Request) -> web.Response:
        """Sends a generated picture and tone."""
        offer, refusal = await self._begin(request)
        if refusal is not None:
            return refusal
        peer = self._peer()
        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        source = GeneratedSource("fake", "VP8")
        self.sources.append(source)
        tracks: dict[Kind, PacketTrack] = {}
        for transceiver in peer.getTransceivers():
            track = PacketTrack("video" if transceiver.kind == "video" else "audio")
            transceiver.sender.replaceTrack(track)
            transceiver.direction = "sendonly"
            tracks["video" if transceiver.kind == "video" else "audio"] = track
        loop = asyncio.get_running_loop()

        def deliver(kind: Kind, packet: AnyPacket) -> None:
            loop.call_soon_threadsafe(tracks[kind].push, packet)

        source.start(deliver, lambda failure: None)
        return await self._answer(peer, "/whep/resource")

    async def delete(self, request: web.Request) -> web.Response:
        self.deleted.append(request.path)
        return web.Response(status=200)

    async def close(self) -> None:
        for source in self.sources:
            await asyncio.to_thread(source.stop)
        for peer in self.peers:
            await close_peer(peer)

    async def _begin(self, request: web.Request) -> tuple[str, web.Response | None]:
        offer = await request.text()
        self.offers.append(offer)
        self.keys.append(request.headers.get("Authorization"))
        if not self.statuses:
            return offer, None
        status, headers, body = self.statuses.pop(0)
        return offer, web.Response(status=status, headers=headers, text=body)

    def _peer(self) -> RTCPeerConnection:
        peer = new_peer()
        self.peers.append(peer)

        def changed() -> None:
            if peer.connectionState == "connected":
                self.connected.set()

        peer.on("connectionstatechange", changed)
        return peer

    async def _answer(self, peer: RTCPeerConnection, location: str) -> web.Response:
        offer_loopback(peer)
        await peer.setLocalDescription(await peer.createAnswer())
        return web.Response(
            status=201,
            text=peer.localDescription.sdp,
            content_type="application/sdp",
            headers={"Location": location},
        )


@pytest.fixture
async def whip() -> AsyncIterator[WhipFake]:
    """The fake server, running."""
    fake = WhipFake()
    app = web.Application()
    app.router.add_post("/whip/ada", fake.post_whip)
    app.router.add_post("/whep/ada", fake.post_whep)
    app.router.add_delete("/whip/resource", fake.delete)
    app.router.add_delete("/whep/resource", fake.delete)
    server = TestServer(app)
    await server.start_server()
    fake.url = str(server.make_url("/whip/ada"))
    try:
        yield fake
    finally:
        await fake.close()
        await server.close()


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """Writes a one-second file: `clip("a.mp4", "libx264", {"bf": "0"}, audio="libopus")`."""

    def write(
        name: str,
        video: str | None = "libx264",
        options: dict[str, str] | None = None,
        audio: str | None = None,
        size: tuple[int, int] = (320, 180),
        frames: int = 15,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            if video is not None:
                stream = container.add_stream(
                    video, rate=15, options=SMOOTH.get(video, {}) | (options or {})
                )
                stream.width, stream.height = size
                stream.pix_fmt = "yuv420p"
                stream.codec_context.gop_size = 15
            if audio is not None:
                sound = container.add_stream(audio, rate=48000, layout="stereo")
            if video is not None:
                _write_picture(container, stream, size, frames)
            if audio is not None:
                _write_sound(container, sound, frames / 15)
        return path

    return write


def _write_picture(container: Any, stream: Any, size: tuple[int, int], frames: int) -> None:
    width, height = size
    for number in range(frames):
        image = np.full((height, width, 3), (number * 15) % 255, np.uint8)
        image[: height // 2, : width // 2] = np.random.default_rng(number).integers(
            0, 255, (height // 2, width // 2, 3), np.uint8
        )
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 15)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_sound(container: Any, stream: Any, seconds: float) -> None:
    wave = np.zeros((1, 2 * 960), np.int16)
    for number in range(round(seconds * 50)):
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48000, number * 960
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
