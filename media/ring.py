"""A source track's last packets, stored once and shared by all of its viewers. Pure.

Packets are stored plain, as the publisher sent them, under the source's own continuous index.
What a viewer asks again, and what a joining viewer starts with, comes from here; forgetting the
ring forgets both (a privacy boundary).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from media.links import CodecFormat

VIDEO_PACKETS: Final = 2_048
"""At least 2 s at 10 Mbit/s, and 7 s at 2.5: long enough for the keyframe interval of most
encoders that do not answer a PLI. At most 3 MB."""
AUDIO_PACKETS: Final = 256
"""More than 2 s of 10 ms packets."""
KEYFRAME_AGE_NS_MAX: Final = 5_000_000_000
"""A joining viewer is not started further back than this: a new keyframe costs less."""
RESEND_AGE_NS_MAX: Final = 2_000_000_000
"""What is older is of no use to anybody's jitter buffer."""
FORGOTTEN_AT_ONCE_MAX: Final = 4
"""Packets let go for one that comes: the ring shrinks quickly, and no packet pays for all."""


@dataclass(slots=True, eq=False)
class Packet:
    """One packet of a source in the source's own numbering.

    `index` is the unwrapped continuous sequence number, `timestamp` the unwrapped continuous
    timestamp in ticks of the codec's clock; `extensions` are the forwarded header extensions by
    URI; `keyframe` says that a keyframe starts here.
    """

    index: int
    timestamp: int
    marker: bool
    payload: bytes
    extensions: Mapping[str, bytes]
    format: CodecFormat
    arrived_ns: int
    keyframe: bool


class PacketRing:
    """At most the last `size` packets (a power of two) by index, while they are of use."""

    __slots__ = ("_keyframe", "_mask", "_newest", "_oldest", "_slots")

    def __init__(self, size: int) -> None:
        self._slots: list[Packet | None] = [None] * size
        self._mask = size - 1
        self._keyframe: Packet | None = None
        self._oldest: int | None = None  # nothing of use is kept before this index
        self._newest = 0

    def put(self, packet: Packet) -> None:
        """Store; the packet `size` indexes ago makes room, and so do those of no use any more."""
        self._slots[packet.index & self._mask] = packet
        if packet.keyframe:
            last = self._keyframe
            # Several packets of one picture may be marked; it starts at the first of them.
            if last is None or (packet.timestamp, -packet.index) > (last.timestamp, -last.index):
                self._keyframe = packet
        if self._oldest is None:
            self._oldest = self._newest = packet.index
        elif packet.index > self._newest:
            self._newest = packet.index
            self._forget_some(self._oldest, packet.arrived_ns)

    def _forget_some(self, index: int, now_ns: int) -> None:
        """From `index` on: who asks again wants two seconds, who joins the last keyframe and on."""
        slots, mask, keyframe = self._slots, self._mask, self._keyframe
        wanted_from = self._newest
        if keyframe is not None and now_ns - keyframe.arrived_ns <= KEYFRAME_AGE_NS_MAX:
            wanted_from = keyframe.index
        for _ in range(FORGOTTEN_AT_ONCE_MAX):
            if index >= wanted_from:
                break
            packet = slots[index & mask]
            if packet is not None and packet.index == index:
                if now_ns - packet.arrived_ns <= RESEND_AGE_NS_MAX:
                    break
                slots[index & mask] = None
            index += 1
        self._oldest = index

    def get(self, index: int) -> Packet | None:
        """The packet with this index, None when it is gone or never came."""
        packet = self._slots[index & self._mask]
        return packet if packet is not None and packet.index == index else None

    def run(self, first: int, end: int) -> list[Packet]:
        """Those with an index from `first` to before `end`, in order."""
        slots, mask = self._slots, self._mask
        return [
            packet
            for index in range(first, end)
            if (packet := slots[index & mask]) is not None and packet.index == index
        ]

    def keyframe(self, now_ns: int) -> Packet | None:
        """Where the last keyframe starts, None when it is gone or too old to start with."""
        packet = self._keyframe
        if packet is None or now_ns - packet.arrived_ns > KEYFRAME_AGE_NS_MAX:
            return None
        return packet if self.get(packet.index) is packet else None

    def clear(self) -> None:
        """Forget everything."""
        self._slots = [None] * len(self._slots)
        self._keyframe = self._oldest = None
