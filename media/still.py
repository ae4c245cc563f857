"""Puts one cached keyframe together again, as a decoder wants it; pure, total, bounded.

Only codecs on the list are taken apart (VP8: RFC 7741, H.264: RFC 6184). Nothing is decoded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from media.codecs import H264, VP8
from media.keyframes import stap_units, vp8_payload_start
from media.ring import PacketRing

STILL_CODECS: Final = (VP8, H264)
"""The whitelist, in the order of their numbers on the pipe to the decoding process."""
STILL_BYTES_MAX: Final = 1 << 20
"""A 4K keyframe of a camera has about half of it."""
STILL_PACKETS_MAX: Final = 1_000

_START_CODE: Final = b"\x00\x00\x00\x01"
_STAP_A, _FU_A = 24, 28


@dataclass(frozen=True, slots=True)
class Still:
    """One encoded picture that needs no other one."""

    codec: str
    data: bytes


def still_of(ring: PacketRing, now_ns: int) -> Still | None:
    """The last keyframe of a video ring; None when it is old, incomplete or of another codec."""
    first = ring.keyframe(now_ns)
    if first is None or first.format.name not in STILL_CODECS:
        return None
    payloads: list[bytes] = []
    for index in range(first.index, first.index + STILL_PACKETS_MAX):
        packet = ring.get(index)
        if packet is None or packet.timestamp != first.timestamp:
            return None
        payloads.append(packet.payload)
        if packet.marker:
            break
    else:
        return None
    data = _vp8(payloads) if first.format.name == VP8 else _h264(payloads)
    return Still(first.format.name, data) if data and len(data) <= STILL_BYTES_MAX else None


def _vp8(payloads: list[bytes]) -> bytes | None:
    parts = []
    for payload in payloads:
        start = vp8_payload_start(payload)
        if start is None:
            return None
        parts.append(payload[start:])
    return b"".join(parts)


def _h264(payloads: list[bytes]) -> bytes | None:
    parts: list[bytes] = []
    for payload in payloads:
        unit = payload[0] & 0x1F if payload else 0
        if unit == _STAP_A:
            for single in stap_units(payload):
                parts += (_START_CODE, single)
        elif unit == _FU_A and len(payload) > 2:
            if payload[1] & 0x80:
                parts += (_START_CODE, bytes(((payload[0] & 0xE0) | (payload[1] & 0x1F),)))
            parts.append(payload[2:])
        elif 0 < unit < _STAP_A:
            parts += (_START_CODE, payload)
        else:
            return None
    return b"".join(parts)
