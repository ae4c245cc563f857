"""RTP packets (RFC 3550 §5, RFC 8285): parsing, building and sequence arithmetic; pure functions.

Input comes from the network: whatever the bytes are, the only exception is `RtpError`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

HEADER_BYTES: Final = 12
ONE_BYTE_PROFILE: Final = 0xBEDE
TWO_BYTE_PROFILE: Final = 0x1000

URI_ABS_SEND_TIME: Final = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
URI_AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
URI_VIDEO_ORIENTATION: Final = "urn:3gpp:video-orientation"
URI_DEPENDENCY_DESCRIPTOR: Final = (
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)
URI_RID: Final = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
URI_REPAIRED_RID: Final = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
URI_MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"
URI_TRANSPORT_WIDE: Final = (
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
)

FORWARDED_EXTENSIONS: Final = (
    URI_AUDIO_LEVEL,
    URI_VIDEO_ORIENTATION,
    URI_DEPENDENCY_DESCRIPTOR,
)
"""Header extensions that mean the same behind the forwarder. Everything else that a publisher
sends ends here: it is either about this one connection or nobody else's business."""

_HEADER = struct.Struct("!BBHII")
_U16 = struct.Struct("!H")
_EXTENSION_HEAD = struct.Struct("!HH")


class RtpError(ValueError):
    """These bytes are not an RTP packet that we forward."""


@dataclass(slots=True)
class Header:
    """A parsed packet: fields, and where its parts lie in the buffer (offsets in bytes).

    Never changed (and not frozen: that costs a microsecond for every packet).

    The payload is `[payload_start, payload_end)`, padding excluded. `extension_end` is 0 when
    there is no header extension.
    """

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    extension_profile: int
    extension_start: int
    extension_end: int
    payload_start: int
    payload_end: int


def parse(data: bytes | bytearray | memoryview, length: int) -> Header:
    """The header of the packet in the first `length` bytes of `data`; RtpError when it is none."""
    if length < HEADER_BYTES or length > len(data):
        raise RtpError("shorter than its header")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data, 0)
    if first >> 6 != 2:
        raise RtpError("not version 2")
    start = HEADER_BYTES + 4 * (first & 0x0F)
    profile = extension_start = extension_end = 0
    if first & 0x10:
        if start + 4 > length:
            raise RtpError("header extension cut off")
        profile = _U16.unpack_from(data, start)[0]
        extension_start = start + 4
        extension_end = extension_start + 4 * _U16.unpack_from(data, start + 2)[0]
        start = extension_end
    if start > length:
        raise RtpError("header longer than the packet")
    end = length
    if first & 0x20:
        padding = data[length - 1] if length > start else 0
        if not 0 < padding <= length - start:
            raise RtpError("padding longer than the payload")
        end = length - padding
    return Header(
        second & 0x7F,
        second >= 0x80,
        sequence,
        timestamp,
        ssrc,
        profile,
        extension_start,
        extension_end,
        start,
        end,
    )


def extensions(data: bytes | bytearray | memoryview, header: Header) -> dict[int, bytes]:
    """The header extension's elements by id; a malformed rest is left out, nothing is raised."""
    profile = header.extension_profile
    block = bytes(data[header.extension_start : header.extension_end])
    if profile == ONE_BYTE_PROFILE:
        return _one_byte_elements(block)
    if profile & 0xFFF0 == TWO_BYTE_PROFILE:
        return _two_byte_elements(block)
    return {}


def _one_byte_elements(block: bytes) -> dict[int, bytes]:
    """RFC 8285 §4.2."""
    found: dict[int, bytes] = {}
    position, end = 0, len(block)
    while position < end:
        head = block[position]
        position += 1
        if not head:  # padding between elements
            continue
        after = position + (head & 0x0F) + 1
        if after > end or head >= 0xF0:  # cut off, or the id that means "stop here"
            break
        found[head >> 4] = block[position:after]
        position = after
    return found


def _two_byte_elements(block: bytes) -> dict[int, bytes]:
    """RFC 8285 §4.3."""
    found: dict[int, bytes] = {}
    position, end = 0, len(block)
    while position < end:
        head = block[position]
        position += 1
        if not head:
            continue
        if position >= end:
            break
        after = position + 1 + block[position]
        if after > end:
            break
        found[head] = block[position + 1 : after]
        position = after
    return found


def build_extensions(elements: Iterable[tuple[int, bytes]]) -> bytes:
    """A header extension block for these (id, value) pairs, empty for none (RFC 8285 §4.2, §4.3).

    Two-byte form only where an element does not fit the one-byte form.
    """
    pairs = list(elements)
    body = b""
    for element, value in pairs:
        if element > 14 or not 1 <= len(value) <= 16:
            return _two_byte_extensions(pairs)
        body += bytes((element << 4 | len(value) - 1,)) + value
    return _extension_block(ONE_BYTE_PROFILE, body) if pairs else b""


def _two_byte_extensions(pairs: list[tuple[int, bytes]]) -> bytes:
    parts = [bytes((element, len(value))) + value for element, value in pairs]
    return _extension_block(TWO_BYTE_PROFILE, b"".join(parts))


def _extension_block(profile: int, body: bytes) -> bytes:
    words = (len(body) + 3) // 4
    return _EXTENSION_HEAD.pack(profile, words) + body.ljust(4 * words, b"\0")


def build(
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    extension_block: bytes = b"",
) -> bytes:
    """A whole packet; `extension_block` comes from `build_extensions`."""
    head = _HEADER.pack(
        0x90 if extension_block else 0x80,
        payload_type | (0x80 if marker else 0),
        sequence,
        timestamp,
        ssrc,
    )
    return b"".join((head, extension_block, payload))


def forwarded_ids(ids: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """The URIs of `FORWARDED_EXTENSIONS` that were negotiated, with their ids."""
    return tuple((uri, ids[uri]) for uri in FORWARDED_EXTENSIONS if uri in ids)


def abs_send_time(now_ns: int) -> bytes:
    """24 bits of send time, 6.18 fixed point seconds. Only differences mean something."""
    return ((now_ns << 18) // 1_000_000_000 & 0xFFFFFF).to_bytes(3, "big")


def unwrap(value: int, near: int, bits: int = 16) -> int:
    """The number congruent to `value` modulo 2**bits that is nearest to `near`.

    Half a turn away counts as ahead. Extended sequence numbers and timestamps never wrap.
    """
    turn = 1 << bits
    delta = (value - near) & (turn - 1)
    if delta > turn >> 1:
        delta -= turn
    return near + delta
