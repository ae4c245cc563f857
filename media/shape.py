"""How a packet is written out: payload type and header extensions for those who agreed on them.

Viewers who negotiated the same share one shape, and a packet is rendered once for all of them.
"""

from __future__ import annotations

import struct
from typing import Final

from media.links import CodecFormat, ViewerTrack
from media.ring import Packet
from media.rtp import (
    HEADER_BYTES,
    URI_ABS_SEND_TIME,
    abs_send_time,
    build_extensions,
    forwarded_ids,
)

_BLANK: Final = bytes(HEADER_BYTES)

ShapeKey = tuple[int, int | None, tuple[tuple[str, int], ...]]


class PacketShape:
    """Payload type and extension ids of some viewers' negotiation."""

    __slots__ = ("_ids", "_send_time_id", "payload_type", "rtx_payload_type")

    def __init__(self, codec: CodecFormat, track: ViewerTrack) -> None:
        self.payload_type = codec.payload_type
        self.rtx_payload_type = codec.rtx_payload_type
        ids = track.extension_ids
        self._send_time_id = ids.get(URI_ABS_SEND_TIME)
        self._ids = forwarded_ids(ids)

    @staticmethod
    def key(codec: CodecFormat, track: ViewerTrack) -> ShapeKey:
        """Equal for viewers who can share a shape."""
        ids = sorted(track.extension_ids.items())
        return codec.payload_type, codec.rtx_payload_type, tuple(ids)

    def render(self, packet: Packet, now_ns: int) -> tuple[bytes, int]:
        """The packet with 12 blank header bytes, and the first header word without sequence."""
        block = self._extension_block(packet, now_ns)
        return b"".join((_BLANK, block, packet.payload)), self._word(
            self.payload_type, packet.marker, block
        )

    def render_rtx(
        self, packet: Packet, original_sequence: int, now_ns: int
    ) -> tuple[bytes, int] | None:
        """The same as a retransmission (RFC 4588 §4); None when the viewer did not agree to it."""
        if self.rtx_payload_type is None:
            return None
        block = self._extension_block(packet, now_ns)
        original = struct.pack("!H", original_sequence & 0xFFFF)
        return b"".join((_BLANK, block, original, packet.payload)), self._word(
            self.rtx_payload_type, packet.marker, block
        )

    def render_padding(self, size: int, now_ns: int) -> tuple[bytes, int] | None:
        """An empty packet of the retransmission stream, up to 255 bytes of padding (RFC 3550 §5.1).

        None when the viewer did not agree to that stream.
        """
        if self.rtx_payload_type is None:
            return None
        elements = []
        if self._send_time_id is not None:
            elements.append((self._send_time_id, abs_send_time(now_ns)))
        block = build_extensions(elements)
        padding = bytes(size - 1) + bytes((size,))
        word = self._word(self.rtx_payload_type, False, block) | 0x20 << 24
        return b"".join((_BLANK, block, padding)), word

    def _extension_block(self, packet: Packet, now_ns: int) -> bytes:
        elements: list[tuple[int, bytes]] = []
        extensions = packet.extensions
        if extensions:
            elements += [(id_, extensions[uri]) for uri, id_ in self._ids if uri in extensions]
        if self._send_time_id is not None:
            # The viewer's estimate of its path starts here, not at the publisher.
            elements.append((self._send_time_id, abs_send_time(now_ns)))
        return build_extensions(elements)

    @staticmethod
    def _word(payload_type: int, marker: bool, block: bytes) -> int:
        first = 0x90 if block else 0x80
        return first << 24 | (payload_type | (0x80 if marker else 0)) << 16
