"""Far ends for the forwarder's tests: publishers and viewers with their own SRTP sessions.

Everything is real but the clock and the handshake: packets are encrypted, cross the forwarder,
leave through `sendmmsg`, and are read from UDP sockets on loopback and decrypted again.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pylibsrtp import Policy, Session

from media import rtcp, rtp
from media.api import Kind, MediaEvent
from media.batch import BatchSender, Destination, PacketBuffer
from media.forward import Forwarder
from media.links import CodecFormat, PublishedTrack, PublisherLink, ViewerLink, ViewerTrack
from media.rtcp import RtcpPacket

MS = 1_000_000
SECOND_NS = 1_000_000_000
FEEDBACK = frozenset({"nack", "nack pli", "ccm fir", "goog-remb"})
VP8 = CodecFormat("vp8", 96, 90_000, 97, {}, FEEDBACK)
H264 = CodecFormat("h264", 102, 90_000, 103, {"packetization-mode": "1"}, FEEDBACK)
OPUS = CodecFormat("opus", 111, 48_000)
VIEWER_VP8 = CodecFormat("vp8", 120, 90_000, 121)
VIEWER_OPUS = CodecFormat("opus", 109, 48_000)
KEY, DELTA = b"\x10\x00", b"\x10\x01"
"""The first payload bytes of a VP8 keyframe and of another picture."""
AUDIO_SSRC, VIDEO_SSRC, VIDEO_RTX_SSRC = 0xA0, 0xB0, 0xB1


def session(key: bytes, direction: int, *, gcm: bool = True) -> Session:
    policy = Policy(
        key=key,
        ssrc_type=direction,
        srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM
        if gcm
        else Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    )
    policy.window_size = 1024
    return Session(policy)


@dataclass
class Got:
    """One decrypted packet as a viewer saw it."""

    header: rtp.Header
    payload: bytes
    extensions: Mapping[int, bytes]

    @property
    def sequence(self) -> int:
        return self.header.sequence


class FarEnd:
    """Keys both ways and a socket."""

    def __init__(self, *, gcm: bool = True) -> None:
        inward, outward = os.urandom(30), os.urandom(30)
        self.server_rx = session(inward, Policy.SSRC_ANY_INBOUND, gcm=gcm)
        self.server_tx = session(outward, Policy.SSRC_ANY_OUTBOUND, gcm=gcm)
        self.tx = session(inward, Policy.SSRC_ANY_OUTBOUND, gcm=gcm)
        self.rx = session(outward, Policy.SSRC_ANY_INBOUND, gcm=gcm)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.destination = Destination.from_address(*self.socket.getsockname())
        self.protected: list[bytes] = []
        self._gathered: list[bytes] = []

    def close(self) -> None:
        self.socket.close()

    def gather(self) -> None:
        """Take in what arrived, for whoever asks later: a socket holds but a second of video."""
        while True:
            try:
                datagram = self.socket.recv(2_048)
            except BlockingIOError:
                return
            self._gathered.append(datagram)
            self.protected.append(datagram)

    def datagrams(self) -> list[bytes]:
        """Everything that arrived since the last time."""
        self.gather()
        gathered, self._gathered = self._gathered, []
        return gathered

    def drain(self) -> tuple[list[Got], list[RtcpPacket]]:
        """Everything that arrived since the last time, decrypted."""
        packets: list[Got] = []
        reports: list[RtcpPacket] = []
        for datagram in self.datagrams():
            if 192 <= datagram[1] <= 223:
                plain = self.rx.unprotect_rtcp(datagram)
                reports += rtcp.parse(plain, len(plain))
                continue
            plain = self.rx.unprotect(datagram)
            header = rtp.parse(plain, len(plain))
            payload = plain[header.payload_start : header.payload_end]
            packets.append(Got(header, payload, rtp.extensions(plain, header)))
        return packets, reports


class World:
    """A forwarder, its clock, and everybody around it."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND_NS
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.sender = BatchSender(self.socket)
        self.events: list[MediaEvent] = []
        self.forwarder = Forwarder(self.sender, lambda: self.now_ns, self.events.append)
        self.buffer = PacketBuffer()
        self.refusals_expected = 0
        self.batching = False  # True: the test says when a receive batch ends
        self._ends: list[FarEnd] = []

    def close(self) -> None:
        for end in self._ends:
            end.close()
        self.socket.close()
        # libsrtp refuses to encrypt twice under one number: with AES-GCM that would give the
        # key away. Nothing may ever try.
        assert self.sender.protect_failures == self.refusals_expected

    def publisher(self, source_id: str = "s", **changes: Any) -> "FarPublisher":
        end = FarPublisher(self, source_id, **changes)
        self._ends.append(end)
        return end

    def viewer(self, viewer_id: str = "v", **changes: Any) -> "FarViewer":
        end = FarViewer(self, viewer_id, **changes)
        self._ends.append(end)
        return end

    def round_trip_ms(self, source_id: str = "s") -> float | None:
        """To the source's publisher, as the server has measured it."""
        publisher = self.forwarder._sources[source_id].publisher
        assert publisher is not None
        smoothed_ns = publisher.round_trip.smoothed_ns
        return None if smoothed_ns is None else smoothed_ns / MS

    def pass_ms(self, time_ms: int) -> None:
        """Let time pass with the timer running every 20 ms."""
        end_ns = self.now_ns + time_ms * MS
        while self.now_ns < end_ns:
            self.now_ns = min(self.now_ns + 20 * MS, end_ns)
            self.forwarder.timer(self.now_ns)
            self.gather()

    def gather(self) -> None:
        """Empty everybody's socket into memory."""
        for end in self._ends:
            end.gather()


class FarPublisher(FarEnd):
    def __init__(
        self,
        world: World,
        source_id: str,
        *,
        video: Iterable[CodecFormat] = (VP8,),
        audio: Iterable[CodecFormat] = (OPUS,),
        extension_ids: Mapping[str, int] | None = None,
        rids: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self._world = world
        ids = extension_ids or {}
        self.link = PublisherLink(
            source_id=source_id,
            peer_id=f"peer-{id(self)}",
            srtp_rx=self.server_rx._srtp[0],
            srtp_tx=self.server_tx._srtp[0],
            destination=self.destination,
            tracks=(
                PublishedTrack(Kind.AUDIO, "0", tuple(audio), ids),
                PublishedTrack(Kind.VIDEO, "1", tuple(video), ids, tuple(rids)),
            ),
            rtcp_ssrc=0xCAFE,
            cname="cname",
            keep_alive=self,
        )
        world.forwarder.attach_publisher(self.link)

    def protect(
        self,
        payload: bytes,
        sequence: int,
        timestamp: int = 0,
        *,
        ssrc: int = VIDEO_SSRC,
        payload_type: int = 96,
        marker: bool = False,
        extensions: Iterable[tuple[int, bytes]] = (),
        padding: int = 0,
    ) -> bytes:
        block = rtp.build_extensions(extensions)
        packet = rtp.build(
            payload_type,
            marker,
            sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
            payload,
            block,
        )
        if padding:
            head = bytes((packet[0] | 0x20,))
            packet = head + packet[1:] + bytes(padding - 1) + bytes((padding,))
        return self.tx.protect(packet)

    def send_raw(self, datagram: bytes) -> None:
        world = self._world
        world.buffer.data[: len(datagram)] = datagram
        world.forwarder.on_publisher_rtp(self.link, world.buffer, len(datagram), world.now_ns)
        if not world.batching:
            world.forwarder.flush(world.now_ns)

    def video(self, payload: bytes, sequence: int, timestamp: int = 0, **fields: Any) -> None:
        self.send_raw(self.protect(payload, sequence, timestamp, **fields))

    def audio(self, payload: bytes, sequence: int, timestamp: int = 0) -> None:
        self.send_raw(self.protect(payload, sequence, timestamp, ssrc=AUDIO_SSRC, payload_type=111))

    def rtx(self, payload: bytes, original: int, sequence: int, timestamp: int = 0) -> None:
        self.send_raw(
            self.protect(
                original.to_bytes(2, "big") + payload,
                sequence,
                timestamp,
                ssrc=VIDEO_RTX_SSRC,
                payload_type=97,
            )
        )

    def rtcp(self, compound: bytes) -> None:
        world = self._world
        datagram = self.tx.protect_rtcp(compound)
        world.buffer.data[: len(datagram)] = datagram
        world.forwarder.on_publisher_rtcp(self.link, world.buffer, len(datagram), world.now_ns)

    def echo(
        self, *, ssrc: int | None = None, last_rr: int | None = None, round_trip_ms: int = 0
    ) -> None:
        """Answer the server's last reference time, or another, as if the path were this long."""
        sent = self._world.forwarder._publishers[self.link][1]._times_sent
        ours = self.link.rtcp_ssrc if ssrc is None else ssrc
        middle = list(sent)[-1] if last_rr is None else last_rr
        sent_ns = sent.get(middle, self._world.now_ns)
        waited_ns = max(self._world.now_ns - sent_ns - round_trip_ms * MS, 0)
        echo = rtcp.Echo(ours, middle, rtcp.ntp_from_ns(waited_ns) >> 16)
        self.rtcp(rtcp.build_rr(1) + rtcp.build_echo(VIDEO_SSRC, echo))

    def asked(self) -> list[RtcpPacket]:
        """The RTCP that the server sent since the last time."""
        return self.drain()[1]


class FarViewer(FarEnd):
    def __init__(
        self,
        world: World,
        viewer_id: str,
        *,
        video: Iterable[CodecFormat] = (VIEWER_VP8,),
        audio: Iterable[CodecFormat] = (VIEWER_OPUS,),
        extension_ids: Mapping[str, int] | None = None,
        rtx: bool = True,
        attach: bool = True,
        gcm: bool = True,
    ) -> None:
        super().__init__(gcm=gcm)
        self._world = world
        ids = extension_ids or {}
        number = int.from_bytes(os.urandom(3), "big") << 4
        self.audio_ssrc, self.video_ssrc, self.rtx_ssrc = number, number + 1, number + 2
        self.link = ViewerLink(
            heard_ns=1 << 62,
            viewer_id=viewer_id,
            srtp_rx=self.server_rx._srtp[0],
            srtp_tx=self.server_tx._srtp[0],
            destination=self.destination,
            tracks=(
                ViewerTrack(Kind.AUDIO, "0", self.audio_ssrc, None, tuple(audio), ids),
                ViewerTrack(
                    Kind.VIDEO,
                    "1",
                    self.video_ssrc,
                    self.rtx_ssrc if rtx else None,
                    tuple(video),
                    ids,
                ),
            ),
            cname="cname",
            trailer_bytes=16 if gcm else 10,
            keep_alive=self,
        )
        if attach:
            self.attach()

    def attach(self) -> None:
        self._world.forwarder.attach_viewer(self.link)

    def packets(self, ssrc: int | None = None) -> list[Got]:
        """The packets that arrived since the last time, of one stream or of all."""
        return [got for got in self.drain()[0] if ssrc in (None, got.header.ssrc)]

    def payloads(self) -> list[bytes]:
        return [got.payload for got in self.packets()]

    def rtcp(self, compound: bytes) -> None:
        world = self._world
        datagram = self.tx.protect_rtcp(compound)
        world.buffer.data[: len(datagram)] = datagram
        world.forwarder.on_viewer_rtcp(self.link, world.buffer, len(datagram), world.now_ns)

    def nack(self, *sequences: int) -> None:
        self.rtcp(rtcp.build_rr(1) + rtcp.build_nack(1, self.video_ssrc, sequences))
