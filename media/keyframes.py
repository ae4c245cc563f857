"""Where a keyframe starts, seen in a packet's payload; and VP8's picture ids. Pure, total.

The payload comes from the network and is looked at without decoding: every function answers for
any bytes, and never reads beyond them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Payload = bytes | bytearray | memoryview

_H264_IDR: Final = 5
_H264_SPS: Final = 7
_H264_STAP_A: Final = 24
_H264_FU_A: Final = 28
_AV1_SEQUENCE_HEADER: Final = 1
AV1_UNITS_MAX: Final = 8
"""OBUs looked at in one packet; the sequence header is the first of a picture, or the second."""


def vp8_keyframe_start(payload: Payload) -> bool:
    """RFC 7741 §4.2, §4.3: start of partition 0 of a frame whose P bit is clear."""
    if not payload or payload[0] & 0x17 != 0x10:  # S set, partition index 0
        return False
    start = _vp8_descriptor_bytes(payload)
    return start is not None and start < len(payload) and not payload[start] & 0x01


def h264_keyframe_start(payload: Payload) -> bool:
    """RFC 6184 §5: an IDR slice or the parameter sets before it, alone, aggregated or fragmented.

    A recovery point without IDR that repeats its SPS counts too: decoders start there.
    """
    if not payload:
        return False
    unit = payload[0] & 0x1F
    if unit == _H264_STAP_A:
        return any(unit[0] & 0x1F in (_H264_IDR, _H264_SPS) for unit in stap_units(payload))
    if unit == _H264_FU_A:
        if len(payload) < 2 or not payload[1] & 0x80:  # only the first fragment starts it
            return False
        unit = payload[1] & 0x1F
    return unit in (_H264_IDR, _H264_SPS)


def vp9_keyframe_start(payload: Payload) -> bool:
    """RFC 9628 §4.2: beginning of a frame of the lowest layer, and its own header says key.

    A clear P bit alone is not enough: an intra-only frame has it too, and nothing starts there.
    """
    if not payload or payload[0] & 0x48 != 0x08:  # P clear, B set
        return False
    start = _vp9_descriptor_bytes(payload)
    if start is None or start >= len(payload):
        return False
    head = payload[start]
    if head & 0xC0 != 0x80:  # frame_marker
        return False
    # Profile 3 has one reserved bit before show_existing_frame and frame_type.
    return not head & (0x06 if head & 0x30 == 0x30 else 0x0C)


def av1_keyframe_start(payload: Payload) -> bool:
    """AV1 RTP specification §4.4: N set, and the sequence header that a decoder needs is here."""
    if not payload or payload[0] & 0x88 != 0x08:  # Z clear: it begins with a whole OBU
        return False
    return _AV1_SEQUENCE_HEADER in _av1_units(payload)


def audio_start(payload: Payload) -> bool:
    """Sound can be joined at any packet."""
    return True


_STARTS: Final[dict[str, Callable[[Payload], bool]]] = {
    "vp8": vp8_keyframe_start,
    "h264": h264_keyframe_start,
    "vp9": vp9_keyframe_start,
    "av1": av1_keyframe_start,
}


def detector(codec_name: str) -> Callable[[Payload], bool]:
    """The function for a codec. For an unknown one every packet is a start: nothing waits."""
    return _STARTS.get(codec_name, audio_start)


@dataclass(slots=True)
class Vp8Picture:
    """Where a packet's picture id and TL0PICIDX lie (0: absent) and what they are.

    Never changed; made for every packet, like `rtp.Header`.
    """

    picture_at: int
    picture_bits: int
    picture_id: int
    tl0_at: int
    tl0_index: int


def vp8_picture(payload: Payload) -> Vp8Picture | None:
    """The ids in a VP8 payload descriptor, None when there are none or it is cut off."""
    if len(payload) < 2 or not payload[0] & 0x80 or _vp8_descriptor_bytes(payload) is None:
        return None
    flags = payload[1]
    position = 2
    picture_at = picture_bits = picture_id = tl0_at = tl0_index = 0
    if flags & 0x80:
        picture_at = position
        if payload[position] & 0x80:
            picture_bits = 15
            picture_id = (payload[position] & 0x7F) << 8 | payload[position + 1]
            position += 2
        else:
            picture_bits, picture_id = 7, payload[position]
            position += 1
    if flags & 0x40:
        tl0_at, tl0_index = position, payload[position]
    if not picture_at and not tl0_at:
        return None
    return Vp8Picture(picture_at, picture_bits, picture_id, tl0_at, tl0_index)


def vp8_payload_start(payload: Payload) -> int | None:
    """Where the picture's bytes begin behind the descriptor, None when there are none."""
    start = _vp8_descriptor_bytes(payload) if payload else None
    return start if start is not None and start < len(payload) else None


def picture_size(codec_name: str, payload: Payload) -> tuple[int, int] | None:
    """Width and height in pixels that a keyframe's first packet tells; None when it tells none."""
    match codec_name:
        case "vp8":
            return _vp8_size(payload)
        case _:
            return None


def _vp8_size(payload: Payload) -> tuple[int, int] | None:
    """RFC 6386 §9.1: frame tag, start code, then 14 bits each of width and height."""
    start = vp8_payload_start(payload)
    if start is None or len(payload) < start + 10 or payload[start] & 0x01:
        return None
    if bytes(payload[start + 3 : start + 6]) != b"\x9d\x01\x2a":
        return None
    width = payload[start + 6] | (payload[start + 7] & 0x3F) << 8
    height = payload[start + 8] | (payload[start + 9] & 0x3F) << 8
    return (width, height) if width and height else None


def _vp8_descriptor_bytes(payload: Payload) -> int | None:
    """Length of the descriptor, None when the payload ends inside it."""
    size = 1
    if payload[0] & 0x80:
        if len(payload) < 2:
            return None
        flags = payload[1]
        size = 2
        if flags & 0x80:
            if len(payload) <= size:
                return None
            size += 2 if payload[size] & 0x80 else 1
        size += 1 if flags & 0x40 else 0
        size += 1 if flags & 0x30 else 0
    return size if size <= len(payload) else None


def stap_units(payload: Payload) -> list[bytes]:
    """The units inside a STAP-A, as far as its lengths hold (RFC 6184 §5.7.1)."""
    units: list[bytes] = []
    position = 1
    while position + 2 < len(payload):
        size = payload[position] << 8 | payload[position + 1]
        position += 2
        if size == 0 or position + size > len(payload):
            break
        units.append(bytes(payload[position : position + size]))
        position += size
    return units


def _vp9_descriptor_bytes(payload: Payload) -> int | None:
    """Length of the descriptor of a picture without references, None when it is cut off.

    None too for another layer than the lowest, which is no place to start.
    """
    flags, size, end = payload[0], 1, len(payload)
    if flags & 0x80:  # picture id
        if size >= end:
            return None
        size += 2 if payload[size] & 0x80 else 1
    if flags & 0x20:  # layer indices, and TL0PICIDX where pictures name no references
        if size >= end or payload[size] >> 1 & 0x07:
            return None
        size += 1 if flags & 0x10 else 2
    if flags & 0x02:
        return _vp9_structure_end(payload, size)
    return size if size <= end else None


def _vp9_structure_end(payload: Payload, start: int) -> int | None:
    """Where the scalability structure that begins at `start` ends, None when it is cut off."""
    end = len(payload)
    if start >= end:
        return None
    head, position = payload[start], start + 1
    if head & 0x10:  # a width and a height for every spatial layer
        position += 4 * ((head >> 5) + 1)
    if head & 0x08:  # the pictures of a group, each with its references
        if position >= end:
            return None
        pictures = payload[position]
        position += 1
        for _ in range(pictures):
            if position >= end:
                return None
            position += 1 + (payload[position] >> 2 & 0x03)
    return position if position <= end else None


def _av1_units(payload: Payload) -> list[int]:
    """The types of the OBUs in a packet, as far as its lengths hold."""
    units: list[int] = []
    count = payload[0] >> 4 & 0x03  # 0: any number, each with its length
    position, end = 1, len(payload)
    while position < end and len(units) < AV1_UNITS_MAX:
        size = end - position
        if len(units) + 1 != count:
            found = _leb128(payload, position)
            if found is None:
                break
            size, position = found
        if not 0 < size <= end - position or payload[position] & 0x80:  # the forbidden bit
            break
        units.append(payload[position] >> 3 & 0x0F)
        position += size
        if len(units) == count:
            break
    return units


def _leb128(payload: Payload, start: int) -> tuple[int, int] | None:
    """A number and where it ends; None when it is cut off or longer than any packet needs."""
    value = 0
    for index in range(3):
        if start + index >= len(payload):
            return None
        byte = payload[start + index]
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, start + index + 1
    return None
