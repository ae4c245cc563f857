"""A network camera: RTSP over TCP, H.264 with its parameter sets in the SDP only."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import struct
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from aiortc.codecs.h264 import H264Encoder

from clients._containers import InputOptions, open_source
from clients._encoders import AnyPacket, VideoEncoder
from clients._failures import ClientFailure, InputLost
from clients._picture import Picture
from clients._sources import Kind

FPS = 25
NOON = datetime(2026, 1, 1, 12, 0, 0)
SPS, PPS, IDR = 7, 8, 5


def nals(data: bytes) -> list[bytes]:
    return [part for part in re.split(b"\0?\0\0\1", data) if part]


class Camera:
    """One film, sent at its own pace to whoever plays it; `off` is the power switch."""

    def __init__(self) -> None:
        encoder = VideoEncoder("H264", 160, 92, FPS)
        picture = Picture("camera", 160, 92)
        packets = [
            encoder.encode(picture.frame(number / FPS, NOON), number * 90_000 // FPS)
            for number in range(50)
        ]
        units = [nals(b"".join(map(bytes, frame))) for frame in packets]
        self.parameter_sets = [unit for unit in units[0] if unit[0] & 0x1F in (SPS, PPS)]
        self.frames = [
            [unit for unit in frame if unit[0] & 0x1F not in (SPS, PPS)] for frame in units
        ]
        self.off = asyncio.Event()

    def sdp(self) -> str:
        sets = ",".join(base64.b64encode(unit).decode() for unit in self.parameter_sets)
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
            "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
            f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\n"
            "a=control:track1\r\n"
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                method = request.split(b" ", 1)[0].decode()
                self.answer(method, request.decode(), writer)
                if method == "PLAY":
                    await self.play(writer)
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def answer(self, method: str, request: str, writer: asyncio.StreamWriter) -> None:
        number = re.search(r"CSeq: (\d+)", request)
        assert number is not None
        extra, body = "", ""
        match method:
            case "OPTIONS":
                extra = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            case "DESCRIBE":
                body = self.sdp()
                extra = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            case "SETUP":
                extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number[1]}\r\nSession: 1\r\n{extra}\r\n"
        writer.write((head + body).encode())

    async def play(self, writer: asyncio.StreamWriter) -> None:
        sequence = itertools.count()
        for number, frame in enumerate(itertools.cycle(self.frames)):
            payloads = H264Encoder._packetize(frame)
            for index, payload in enumerate(payloads):
                marker = 0x80 if index == len(payloads) - 1 else 0
                stamp = number * 90_000 // FPS
                header = struct.pack("!BBHLL", 0x80, marker | 96, next(sequence), stamp, 1)
                packet = header + payload
                writer.write(b"$\0" + struct.pack("!H", len(packet)) + packet)
            try:
                await asyncio.wait_for(self.off.wait(), 1 / FPS)
            except TimeoutError:
                continue
            return


@pytest.fixture
async def camera() -> AsyncIterator[tuple[Camera, str]]:
    """A camera that is on, and its address."""
    camera = Camera()
    server = await asyncio.start_server(camera.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield camera, f"rtsp://me:secret@127.0.0.1:{port}/stream"
    finally:
        camera.off.set()
        server.close()


@pytest.mark.slow
async def test_a_network_camera_passes_untouched_until_it_goes_away(
    camera: tuple[Camera, str],
) -> None:
    device, address = camera
    source = await asyncio.to_thread(open_source, InputOptions(address))
    assert [(t.kind, t.codec, t.passed) for t in source.tracks] == [("video", "H264", True)]
    loop = asyncio.get_running_loop()
    packets: list[AnyPacket] = []
    enough, ended = asyncio.Event(), asyncio.Event()
    ends: list[ClientFailure | None] = []

    def take(kind: Kind, packet: AnyPacket) -> None:
        packets.append(packet)
        if len(packets) == 15:
            loop.call_soon_threadsafe(enough.set)

    def end(failure: ClientFailure | None) -> None:
        ends.append(failure)
        loop.call_soon_threadsafe(ended.set)

    source.start(take, end)
    await asyncio.wait_for(enough.wait(), 20)
    first = [unit[0] & 0x1F for unit in nals(bytes(packets[0]))]
    assert first[:2] == [SPS, PPS]
    assert IDR in first
    times = [packet.pts for packet in packets]
    assert times == sorted(times)
    device.off.set()
    await asyncio.wait_for(ended.wait(), 20)
    assert isinstance(ends[0], InputLost)
    assert ends[0].retry
    assert "secret" not in str(ends[0])
    source.stop()
