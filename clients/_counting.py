"""Counts one received track packet by packet: loss, retransmission, keyframes. No decoding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiortc import RTCRtpTransceiver
from aiortc.rtp import (
    RTCP_PSFB_PLI,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    RtpPacket,
)

from clients._aiortc_seam import negotiated_codecs, own_ssrc, send_rtcp

MISSING_MAX = 500
"""A larger hole is an outage or a new start of the numbers, not a loss that can be repaired."""
SEQUENCE_MASK = 0xFFFF
HALF_RANGE = 0x8000

NAL_FU_A, NAL_STAP_A, NAL_IDR, NAL_SPS = 28, 24, 5, 7


@dataclass(slots=True)
class Counts:
    """Totals of one track; `lost` are those that no retransmission brought back."""

    codec: str = ""
    packets: int = 0
    bytes: int = 0
    lost: int = 0
    retransmitted: int = 0
    keyframes: int = 0
    first_packet_ms: int | None = None
    """From the start of the program to the first packet."""
    first_keyframe_ms: int | None = None


class CountingSink:
    """Where the packets of one transceiver end: counted, reported on, thrown away."""

    def __init__(self, transceiver: RTCRtpTransceiver, elapsed_ms: Callable[[], int]) -> None:
        self.counts = Counts()
        self._transceiver = transceiver
        self._elapsed_ms = elapsed_ms
        self._codecs: dict[int, str] = {}
        self._media_ssrc: int | None = None
        self._highest: int | None = None
        self._missing: dict[int, None] = {}
        self._expected = self._reported_expected = self._reported_lost = 0
        self._key_timestamp: int | None = None
        self._last_sr = 0
        self._last_sr_ms = 0

    def _handle_disconnect(self) -> None:
        """Called by aiortc when the connection ends; there is nothing to release."""

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        if isinstance(packet, RtcpSrPacket):
            self._last_sr = (packet.sender_info.ntp_timestamp >> 16) & 0xFFFFFFFF
            self._last_sr_ms = self._elapsed_ms()

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        counts = self.counts
        codec = self._codec_of(packet.payload_type)
        if codec == "rtx":
            self._take_retransmitted(packet)
            return
        now_ms = self._elapsed_ms()
        if counts.first_packet_ms is None:
            counts.first_packet_ms = now_ms
        counts.codec = codec
        counts.packets += 1
        counts.bytes += len(packet.payload)
        # A picture may come in several slices, each of which starts like a keyframe.
        if packet.timestamp != self._key_timestamp and starts_keyframe(codec, packet.payload):
            self._key_timestamp = packet.timestamp
            counts.keyframes += 1
            if counts.first_keyframe_ms is None:
                counts.first_keyframe_ms = now_ms
        self._media_ssrc = packet.ssrc
        gap = self._follow(packet.sequence_number)
        if gap and self._transceiver.kind == "video":
            await self._send(RtcpRtpfbPacket(RTCP_RTPFB_NACK, self._own(), packet.ssrc, lost=gap))

    async def report(self) -> None:
        """Send what a receiver owes: a report, and a request while no keyframe has come."""
        if self._media_ssrc is None:
            return
        reports: list[AnyRtcpPacket] = [RtcpRrPacket(self._own(), [self._receiver_info()])]
        if self._transceiver.kind == "video" and self.counts.first_keyframe_ms is None:
            reports.append(RtcpPsfbPacket(RTCP_PSFB_PLI, self._own(), self._media_ssrc))
        await self._send(*reports)

    def settle(self) -> None:
        """Count what is missing now as lost."""
        self.counts.lost += len(self._missing)
        self._missing.clear()

    def _take_retransmitted(self, packet: RtpPacket) -> None:
        """RFC 4588: the first two bytes of the payload are the original's sequence number."""
        if len(packet.payload) < 2:
            return
        original = int.from_bytes(packet.payload[:2], "big")
        if original in self._missing:
            del self._missing[original]
            self.counts.retransmitted += 1
            self.counts.bytes += len(packet.payload) - 2

    def _follow(self, sequence: int) -> list[int]:
        """Keep the books of sequence numbers; the numbers that are newly missing."""
        if self._highest is None:
            self._highest = sequence
            self._expected = 1
            return []
        step = (sequence - self._highest) & SEQUENCE_MASK
        if step == 0 or step >= HALF_RANGE:
            self._missing.pop(sequence, None)
            return []
        gap = [(self._highest + ahead) & SEQUENCE_MASK for ahead in range(1, step)]
        self._highest = sequence
        self._expected += step
        if len(gap) > MISSING_MAX:
            self.counts.lost += len(gap)
            return []
        for number in gap:
            self._missing[number] = None
        while len(self._missing) > MISSING_MAX:
            self._missing.pop(next(iter(self._missing)))
            self.counts.lost += 1
        return gap

    def _receiver_info(self) -> RtcpReceiverInfo:
        lost = self.counts.lost + len(self._missing)
        expected = max(1, self._expected - self._reported_expected)
        fraction = min(255, max(0, 256 * (lost - self._reported_lost) // expected))
        self._reported_expected, self._reported_lost = self._expected, lost
        since_sr_ms = self._elapsed_ms() - self._last_sr_ms
        return RtcpReceiverInfo(
            ssrc=self._media_ssrc or 0,
            fraction_lost=fraction,
            packets_lost=lost,
            highest_sequence=self._highest or 0,
            jitter=0,
            lsr=self._last_sr,
            dlsr=since_sr_ms * 65536 // 1000 if self._last_sr else 0,
        )

    def _codec_of(self, payload_type: int) -> str:
        if not self._codecs:
            for codec in negotiated_codecs(self._transceiver):
                if codec.payloadType is not None:
                    self._codecs[codec.payloadType] = codec.name
        return self._codecs.get(payload_type, f"PT {payload_type}")

    def _own(self) -> int:
        return own_ssrc(self._transceiver)

    async def _send(self, *packets: AnyRtcpPacket) -> None:
        await send_rtcp(self._transceiver, list(packets))


def starts_keyframe(codec: str, payload: bytes) -> bool:
    """Whether this RTP payload is the first of a keyframe (VP8: RFC 7741, H.264: RFC 6184)."""
    match codec.upper():
        case "VP8":
            return _starts_vp8_keyframe(payload)
        case "H264":
            return _starts_h264_keyframe(payload)
        case _:
            return False


def _starts_vp8_keyframe(payload: bytes) -> bool:
    if len(payload) < 2 or not payload[0] & 0x10 or payload[0] & 0x07:
        return False
    at = 1
    if payload[0] & 0x80:
        extended = payload[1]
        at = 2
        if extended & 0x80 and len(payload) > at:
            at += 2 if payload[at] & 0x80 else 1
        at += bool(extended & 0x40) + bool(extended & 0x30)
    return len(payload) > at and not payload[at] & 0x01


def _starts_h264_keyframe(payload: bytes) -> bool:
    """By the IDR slice, not by the parameter sets: some encoders repeat these on their own."""
    if len(payload) < 2:
        return False
    nal = payload[0] & 0x1F
    if nal == NAL_FU_A:
        return bool(payload[1] & 0x80) and payload[1] & 0x1F == NAL_IDR
    if nal != NAL_STAP_A:
        return nal == NAL_IDR
    at = 1
    while at + 2 < len(payload):
        if payload[at + 2] & 0x1F == NAL_IDR:
            return True
        at += 2 + int.from_bytes(payload[at : at + 2], "big")
    return False
