"""Clients for the tests of the media plane: a small one of our own, and aiortc as a stranger."""

import asyncio
import itertools
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar

import aioice.ice
import av
import pytest
from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
    VideoStreamTrack,
)

from media.aiortc_seam import (
    DtlsSrtp,
    DtlsState,
    Fingerprint,
    SrtpSessions,
    new_certificate,
)
from media.api import BOTH_KINDS, Answer, IceDescription, MediaConfig, MediaEvent
from media.batch import PacketBuffer, srtp_protect, srtp_protect_rtcp
from media.framing import FrameReader, framed
from media.server import MediaPlane
from media.stun import (
    BINDING_REQUEST,
    binding_request,
    binding_success,
    parse_binding_request,
)

WAIT_S = 10
"""A test that waits this long for an event has failed."""

TCP_RECEIVE_BYTES = 16_384
"""A reader that stops is felt after some packets, not after the megabytes of a grown buffer."""

CLIENT_PASSWORD = "client-password-0123456789"

CERTIFICATE = new_certificate()

Event = TypeVar("Event", bound=MediaEvent)


class Stage:
    """A running media plane, its events, and a way to wait for one of them."""

    def __init__(self, config: MediaConfig | None = None) -> None:
        self.shift_ns = 0
        self.utc_shift = timedelta()
        self.cpu_ns = 0
        self.events: list[MediaEvent] = []
        self.listener_raises = False
        self._changed = asyncio.Event()
        self.plane = MediaPlane(
            config or MediaConfig("127.0.0.1", 0),
            clock_ns=self.clock_ns,
            utc_now=lambda: datetime.now(UTC) + self.utc_shift,
            cpu_ns=lambda: self.cpu_ns,
            on_event=self._on_event,
        )

    @property
    def addresses(self) -> int:
        """How many socket addresses the port lets in now."""
        return len(self.plane._ice.owners)

    @property
    def failures(self) -> int:
        """How many datagrams made a handler raise."""
        return self.plane._port.counters.failures

    def clock_ns(self) -> int:
        """Real time plus what a test has skipped."""
        return time.monotonic_ns() + self.shift_ns

    def _on_event(self, event: MediaEvent) -> None:
        if self.listener_raises:
            raise RuntimeError("a bug in the listener")
        self.events.append(event)
        self._changed.set()

    async def wait_for(self, kind: type[Event], **fields: Any) -> Event:
        """The first event of this kind with these fields, past or to come."""
        async with asyncio.timeout(WAIT_S):
            while True:
                self._changed.clear()
                for event in self.events:
                    if isinstance(event, kind) and all(
                        getattr(event, name) == value for name, value in fields.items()
                    ):
                        return event
                await self._changed.wait()

    def skip(self, seconds: float) -> None:
        """Lets that much time pass for the plane, and everything that is due happen."""
        self.shift_ns += int(seconds * 1e9)
        self.plane.tick(self.clock_ns(), sweep=True)


@asynccontextmanager
async def staged(config: MediaConfig | None = None) -> AsyncIterator[Stage]:
    """A media plane that runs, and ends with all its callers, whatever becomes of the test."""
    made = Stage(config)
    await made.plane.start()
    try:
        yield made
    finally:
        await Caller.all_vanish()
        await made.plane.close()


# --- a small client of our own ------------------------------------------------------------------


def offer(
    direction: str,
    *,
    setup: str = "actpass",
    ufrag: str = "client",
    certificate: Any = CERTIFICATE,
    audio: bool = True,
) -> str:
    """An offer with Opus (payload type 111, mid 0) and VP8 (96, RTX 97, mid 1)."""
    transport = (
        f"a=ice-ufrag:{ufrag}\r\na=ice-pwd:{CLIENT_PASSWORD}\r\n"
        f"a=fingerprint:sha-256 {certificate.sha256_fingerprint()}\r\na=setup:{setup}\r\n"
        "a=rtcp-mux\r\na=rtcp-rsize\r\n"
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
    )
    sections = (
        f"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na={direction}\r\n"
        f"{transport}a=rtpmap:111 opus/48000/2\r\n"
        if audio
        else ""
    ) + (
        f"m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na={direction}\r\n"
        f"{transport}a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n"
        "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n"
    )
    bundle = "a=group:BUNDLE 0 1\r\n" if audio else "a=group:BUNDLE 1\r\n"
    return f"v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{bundle}{sections}"


def rtp(sequence: int, *, ssrc: int = 4711, pt: int = 96, payload: bytes | None = None) -> bytes:
    """A plain RTP packet; by default a VP8 keyframe that fits one packet."""
    frame = b"\x10" + b"\x10\x02\x00\x9d\x01\x2a\x80\x02\xe0\x01"
    body = frame + bytes(200) + marker(sequence)
    head = bytes([0x80, 0x80 | pt]) + sequence.to_bytes(2) + (sequence * 3_000).to_bytes(4)
    return head + ssrc.to_bytes(4) + (body if payload is None else payload)


def marker(sequence: int) -> bytes:
    """How the payload of `rtp(sequence)` ends, whatever the header became on the way."""
    return b"mark" + sequence.to_bytes(4)


async def flowing(sender: "Caller", receiver: "Caller", sequence: int) -> None:
    """Fails unless this packet of the sender reaches the receiver."""
    sender.send(rtp(sequence))
    end = marker(sequence)
    await receiver.until(lambda: any(packet.endswith(end) for packet in receiver.media()))


class Caller:
    """One UDP socket that speaks ICE, DTLS and SRTP, and shows everything it gets in clear."""

    _transactions = itertools.count(secrets.randbits(60))
    _made: ClassVar[list["Caller"]] = []

    def __init__(self, answer: Answer, *, certificate: Any = CERTIFICATE) -> None:
        self.answer = answer
        self.received: list[bytes] = []
        self.stun_answers = 0
        self.vanished = False  # nothing arrives any more, and so nothing is answered
        self._changed = asyncio.Event()
        text = answer.sdp
        host, port = re.findall(r"udp \d+ (\S+) (\d+) typ host", text)[0]
        self.server = (host, int(port))
        self.username = re.findall(r"ice-ufrag:(\S+)", text)[0] + ":client"
        self.password = re.findall(r"ice-pwd:(\S+)", text)[0]
        fingerprint = Fingerprint("sha-256", re.findall(r"sha-256 (\S+)", text)[0])
        self.socket = self._new_socket()
        self.dtls = DtlsSrtp(
            certificate, [fingerprint], server="a=setup:active" in text, send=self.send_raw
        )
        self._buffer = PacketBuffer()
        self._made.append(self)

    def _new_socket(self) -> socket.socket:
        ipv6 = ":" in self.server[0]
        sock = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("::1" if ipv6 else "127.0.0.1", 0))
        asyncio.get_running_loop().add_reader(sock.fileno(), self._on_readable, sock)
        return sock

    def _on_readable(self, sock: socket.socket) -> None:
        while True:
            try:
                data = self.receive(sock)
            except OSError:
                return
            if self.vanished:
                continue
            if data[:2] == BINDING_REQUEST.to_bytes(2):
                self._answer_check(data)
            elif data[0] < 4:
                self.stun_answers += 1
            elif data[0] < 64:
                self.dtls.feed(data)
            else:
                self.on_media(data)
            self._changed.set()

    def _answer_check(self, data: bytes) -> None:
        """As every full agent does (RFC 8445 §7.3)."""
        request = parse_binding_request(data)
        local, remote = self.username.split(":")
        assert request.username == f"{remote}:{local}".encode()
        assert not request.controlling
        assert request.integrity_ok(CLIENT_PASSWORD.encode())
        host = self.server[0]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.send_raw(
            binding_success(
                request.transaction_id,
                socket.inet_pton(family, host),
                self.server[1],
                CLIENT_PASSWORD.encode(),
            )
        )

    def receive(self, sock: socket.socket) -> bytes:
        """The next datagram; BlockingIOError when there is none."""
        return sock.recv(2_000)

    def on_media(self, data: bytes) -> None:
        """An SRTP or SRTCP datagram; what comes before there are keys is nothing to us."""
        if self.srtp is not None:
            self._on_srtp(data, self.srtp)

    def _on_srtp(self, data: bytes, srtp: SrtpSessions) -> None:
        buffer = self._buffer
        buffer.data[: len(data)] = data
        rtcp = 191 < data[1] < 224
        unprotect = buffer.unprotect_rtcp if rtcp else buffer.unprotect
        length = unprotect(srtp.rx, len(data))
        assert length > 0, "the server sent something that is not ours"
        self.received.append(bytes(buffer.data[:length]))

    async def until(self, condition: Any) -> None:
        """Waits until what arrived satisfies `condition()`."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def send_raw(self, data: bytes) -> None:
        """One datagram as it is."""
        self.socket.sendto(data, self.server)

    def check(self, *, nominate: bool = True) -> bytes:
        """Sends an authenticated check and returns it."""
        data = binding_request(
            (next(self._transactions) % (1 << 96)).to_bytes(12),
            self.username.encode(),
            self.password.encode(),
            use_candidate=nominate,
        )
        self.send_raw(data)
        return data

    async def ice(self) -> None:
        """Checks until answered."""
        before = self.stun_answers
        self.check()
        await self.until(lambda: self.stun_answers > before)

    async def connect(self) -> "Caller":
        """ICE and DTLS to the end; AssertionError when the handshake fails."""
        await self.ice()
        self.start_handshake()
        await self.until(lambda: self.dtls.state is not DtlsState.SHAKING)
        assert self.srtp is not None
        return self

    @property
    def srtp(self) -> SrtpSessions | None:
        """The keys, once there are some."""
        return self.dtls.srtp

    def start_handshake(self) -> None:
        """Begins DTLS and does not wait for what becomes of it."""
        self.dtls.begin()

    def use(self, ours: IceDescription) -> None:
        """From now on checks of the restarted ICE session."""
        self.username, self.password = f"{ours.ufrag}:{ours.remote_ufrag}", ours.password

    async def move(self) -> None:
        """Goes on from another port, as a phone that changes networks."""
        asyncio.get_running_loop().remove_reader(self.socket.fileno())
        self.socket.close()
        self.socket = self._new_socket()
        # The first may bring a question, before the second's answer we have answered it, and
        # before the third's that was read.
        for _ in range(3):
            await self.ice()

    def protected(self, plain: bytes) -> bytes:
        """The packet as SRTP or SRTCP under this call's keys."""
        assert self.srtp is not None
        buffer = PacketBuffer()
        buffer.data[: len(plain)] = plain
        buffer.length_pointer[0] = len(plain)
        protect = srtp_protect_rtcp if 191 < plain[1] < 224 else srtp_protect
        assert protect(self.srtp.tx, buffer.pointer, buffer.length_pointer) == 0
        return bytes(buffer.data[: buffer.length_pointer[0]])

    def send(self, plain: bytes) -> None:
        """Protects and sends one packet."""
        self.send_raw(self.protected(plain))

    def media(self) -> list[bytes]:
        """The RTP packets that came, without the RTCP."""
        return [data for data in self.received if not 191 < data[1] < 224]

    def hang_up(self) -> None:
        """Says close_notify."""
        self.dtls.close()

    def vanish(self) -> None:
        """Is gone without a word."""
        if self.socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.socket.fileno())
            self.socket.close()

    @classmethod
    async def all_vanish(cls) -> None:
        """What the end of a test does."""
        while cls._made:
            caller = cls._made.pop()
            caller.vanish()


class TcpCaller(Caller):
    """The same over a TCP connection (RFC 6544, active), or over UDP when `tcp` is set to False
    before it moves.
    """

    tcp = True

    def _new_socket(self) -> socket.socket:
        if not self.tcp:
            return super()._new_socket()
        self._frames = FrameReader()
        self._waiting: list[bytes] = []
        sock = socket.socket(socket.AF_INET6 if ":" in self.server[0] else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TCP_RECEIVE_BYTES)
        sock.connect(self.server)
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._on_readable, sock)
        return sock

    def receive(self, sock: socket.socket) -> bytes:
        """The next packet of the stream; OSError when there is none."""
        if not self.tcp:
            return super().receive(sock)
        while not self._waiting:
            data = sock.recv(65_536)
            if not data:
                asyncio.get_running_loop().remove_reader(sock.fileno())
                raise ConnectionResetError
            self._waiting = self._frames.feed(data)
        return self._waiting.pop(0)

    def send_raw(self, data: bytes) -> None:
        """One packet as it is."""
        if self.tcp:
            self.socket.sendall(framed(data))
        else:
            super().send_raw(data)


async def publisher(
    stage: Stage, source_id: str = "source", *, caller: type[Caller] = Caller, **options: Any
) -> Caller:
    """A connected publisher of our own kind."""
    answer = await stage.plane.publish(source_id, offer("sendonly", **options), allowed=BOTH_KINDS)
    return await caller(answer).connect()


async def viewer(
    stage: Stage, viewer_id: str = "viewer", *, caller: type[Caller] = Caller, **options: Any
) -> Caller:
    """A connected viewer of our own kind."""
    answer = await stage.plane.watch(viewer_id, offer("recvonly", **options))
    return await caller(answer).connect()


# --- aiortc as the client ------------------------------------------------------------------------


class Picture(VideoStreamTrack):
    """A small moving picture, fast enough to be decoded within a test."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(160, 120, "yuv420p")
        for number, plane in enumerate(frame.planes):
            level = (self._count * 7 + number * 40) % 256
            plane.update(bytes([level]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        self._count += 1
        return frame


def loopback_ice(patch: pytest.MonkeyPatch) -> None:
    """aioice leaves out 127.0.0.1; a machine without a network has nothing else."""
    patch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


def aiortc_connection() -> RTCPeerConnection:
    """A peer connection that asks no STUN server."""
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


async def aiortc_offer(connection: RTCPeerConnection) -> str:
    """The complete local offer."""
    await connection.setLocalDescription(await connection.createOffer())
    return connection.localDescription.sdp


async def aiortc_accept(connection: RTCPeerConnection, answer: Answer) -> None:
    """Takes the server's answer."""
    await connection.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
