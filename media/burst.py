"""Several packets to one viewer in as few messages as may be: what a joiner gets from the cache.

A kept second of video is some 170 packets. One by one they cost 6 µs each, cut by the kernel out
of messages of eight (UDP_SEGMENT) a third of that. A joiner finds this code cold, so there is
little of it per packet: what is equal for all is worked out once.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

from media.batch import (
    CONTROL,
    CONTROL_BYTES,
    HEADER,
    RTP_HEADER_BYTES,
    SEGMENTS,
    SLOT_BYTES,
    TRAILER_BYTES,
    UDP_SEGMENT,
    BatchSender,
    Lane,
    srtp_ffi,
    srtp_protect,
)
from media.mmsg import libc_ffi
from media.rewrite import Segment
from media.ring import Packet

_SIZE_MAX: Final = SLOT_BYTES - TRAILER_BYTES
_MARKER: Final = 0x80 << 16
"""In the first word of a header."""


def written(lane: Lane, segment: Segment, packets: Sequence[Packet], now_ns: int) -> list[bytes]:
    """Packets as they leave at this moment on this lane, but for encryption."""
    found: list[bytes] = []
    extensions = timestamp = None
    block, plain_word, stamp = b"", 0, 0
    for packet in packets:
        payload = packet.payload
        if packet.extensions != extensions:
            # What stands between header and payload says the same of all that are sent now.
            extensions = packet.extensions
            template, word = lane.shape.render(packet, now_ns)
            block = template[RTP_HEADER_BYTES : len(template) - len(payload)]
            plain_word = word & ~_MARKER
        if packet.timestamp != timestamp:
            timestamp = packet.timestamp
            stamp = segment.out_timestamp(timestamp) & 0xFFFFFFFF
        word = plain_word | _MARKER if packet.marker else plain_word
        sequence = packet.index + segment.sequence_offset & 0xFFFF
        found.append(b"".join((HEADER.pack(word | sequence, stamp, lane.ssrc), block, payload)))
    return found


class Burst:
    """One message of up to `SEGMENTS` packets, in memory of its own."""

    def __init__(self, sender: BatchSender) -> None:
        self._sender = sender
        self._memory: Any = srtp_ffi.new("char[]", SEGMENTS * SLOT_BYTES)
        self._view = memoryview(srtp_ffi.buffer(self._memory))
        self._starts = range(0, SEGMENTS * SLOT_BYTES, SLOT_BYTES)
        self._slots = [self._memory + start for start in self._starts]
        self._lengths: Any = srtp_ffi.new("int[]", SEGMENTS)
        self._length_pointers = [self._lengths + segment for segment in range(SEGMENTS)]
        self._control: Any = libc_ffi.new("char[]", CONTROL.size)
        self._iovecs: Any = libc_ffi.new("struct iovec[]", SEGMENTS)
        self._sizes: list[int] = []  # what the vectors say
        self._message: Any = libc_ffi.new("struct mmsghdr *")
        address = int(srtp_ffi.cast("uintptr_t", self._memory))
        for segment, start in enumerate(self._starts):
            self._iovecs[segment].iov_base = libc_ffi.cast("void *", address + start)

    def send(self, lane: Lane, packets: Sequence[bytes]) -> int:
        """In order: how many left. Pieces of one message are equal but for a shorter last one."""
        sender, sent, start = self._sender, 0, 0
        cuts = lane.destination.stream is None
        while start < len(packets):
            size, end = len(packets[start]), start + 1
            if cuts and sender.segmentation and size <= _SIZE_MAX:
                last = min(start + SEGMENTS, len(packets))
                while end < last and len(packets[end]) <= size == len(packets[end - 1]):
                    end += 1
            if end - start == 1:
                packet = packets[start]
                to, header = lane.destination, packet[:RTP_HEADER_BYTES]
                sent += sender.send_plain(lane.srtp, to, header, packet, urgent=lane.urgent)
            else:
                sent += self._send_cut(lane, packets[start:end])
            start = end
        return sent

    def _send_cut(self, lane: Lane, packets: Sequence[bytes]) -> int:
        sender, view, count = self._sender, self._view, len(packets)
        sizes = [len(packet) for packet in packets]
        for start, size, packet in zip(self._starts, sizes, packets, strict=False):
            view[start : start + size] = packet
        self._lengths[0:count] = sizes
        failures = list(
            map(srtp_protect, repeat(lane.srtp, count), self._slots, self._length_pointers)
        )
        sizes = srtp_ffi.unpack(self._lengths, count)
        if sizes != self._sizes:
            self._sizes = sizes
            for segment, size in enumerate(sizes):
                self._iovecs[segment].iov_len = size
        header = self._message.msg_hdr
        header.msg_name, header.msg_namelen = lane.destination.pointer, lane.destination.length
        if any(failures):  # never a packet in clear
            sender.protect_failures += sum(map(bool, failures))
            good = [segment for segment, failed in enumerate(failures) if not failed]
            return self._send_apart(sizes, good)
        header.msg_iov, header.msg_iovlen = self._iovecs, count
        header.msg_control, header.msg_controllen = self._control, CONTROL.size
        control = CONTROL.pack(CONTROL_BYTES, socket.IPPROTO_UDP, UDP_SEGMENT, sizes[0])
        libc_ffi.memmove(self._control, control, CONTROL.size)
        errors = sender.send_errors
        if sender.flush(self._message, 1):
            sender.packets += count
            sender.octets += sum(sizes)
            return count
        if sender.send_errors == errors:
            return 0
        sender.send_errors = errors  # the way out does not take a cut message
        return self._send_apart(sizes, range(count))

    def _send_apart(self, sizes: Sequence[int], segments: Sequence[int]) -> int:
        sender, header, sent = self._sender, self._message.msg_hdr, 0
        header.msg_iovlen, header.msg_controllen = 1, 0
        for segment in segments:
            header.msg_iov = self._iovecs + segment
            if sender.flush(self._message, 1):
                sent += 1
                sender.octets += sizes[segment]
        sender.packets += sent
        return sent
