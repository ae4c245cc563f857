"""Packets in a TCP stream: two bytes of length before each (RFC 4571 §2), sans-IO."""

from __future__ import annotations

from typing import Final

LENGTH_BYTES: Final = 2
FRAME_BYTES_MAX: Final = 1_500
"""As long as a datagram may be. What a stranger of another protocol says first (HTTP, TLS, SSH)
reads as a longer frame and is known at once."""


class FramingError(ValueError):
    """The stream holds a frame that no client of ours sends; nothing after it can be read."""


def framed(packet: bytes) -> bytes:
    """The packet as it goes into the stream. OverflowError when it is longer than 65,535 bytes."""
    return len(packet).to_bytes(LENGTH_BYTES) + packet


class FrameReader:
    """Cuts one connection's bytes into packets; keeps less than one frame between two calls."""

    __slots__ = ("_partial",)

    def __init__(self) -> None:
        self._partial = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are complete now, in order. FramingError ends the connection.

        Empty ones are left out: they carry nothing (RFC 4571 §2).
        """
        if self._partial:
            data = self._partial + data
        packets = []
        position, size = 0, len(data)
        while size - position >= LENGTH_BYTES:
            length = data[position] << 8 | data[position + 1]
            if length > FRAME_BYTES_MAX:
                raise FramingError("frame too long")
            end = position + LENGTH_BYTES + length
            if end > size:
                break
            if length:
                packets.append(data[position + LENGTH_BYTES : end])
            position = end
        self._partial = data[position:]
        return packets
