"""Several packets to one viewer in as few messages as may be: what a joiner gets from the cache.

A kept second of video is some 170 packets. One by one they cost 6 µs each, cut by the kernel out
of messages of eight (UDP_SEGMENT) a third of that.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Final

from media.batch import (
    CONTROL,
    CONTROL_BYTES,
    HEADER,
    RTP_HEADER_BYTES,
    SEGMENTS,
    SLOT_BYTES,
    SLOTS,
    TRAILER_BYTES,
    UDP_SEGMENT,
    BatchSender,
    Lane,
    libc_ffi,
    srtp_ffi,
    srtp_protect,
)

Outgoing = tuple[bytes, int, int, int]
"""Template, first header word, sequence and timestamp, as `BatchSender.send_rtp` takes them."""
_SIZE_MAX: Final = SLOT_BYTES - TRAILER_BYTES


class Burst:
    """One message of up to `SEGMENTS` packets, in the sender's slots."""

    def __init__(self, sender: BatchSender) -> None:
        self._sender = sender
        slab, cells = sender.slabs[0], range(0, SEGMENTS * SLOTS, SLOTS)
        self._slots = [slab.pointers[cell] for cell in cells]
        self._lengths = [slab.length_pointers[cell] for cell in cells]
        self._control: Any = libc_ffi.new("char[]", CONTROL.size)
        self._iovecs: Any = libc_ffi.new("struct iovec[]", SEGMENTS)
        self._message: Any = libc_ffi.new("struct mmsghdr *")
        for segment in range(SEGMENTS):
            address = libc_ffi.cast("void *", int(slab.table[segment, 0]))
            self._iovecs[segment].iov_base = address

    def send(self, lane: Lane, packets: Sequence[Outgoing]) -> int:
        """In order: how many left. Pieces of one message are equal but for a shorter last one."""
        sender, sent, start = self._sender, 0, 0
        while start < len(packets):
            size, end = len(packets[start][0]), start + 1
            if sender.segmentation and lane.destination.stream is None and size <= _SIZE_MAX:
                last = min(start + SEGMENTS, len(packets))
                while end < last and len(packets[end][0]) <= size == len(packets[end - 1][0]):
                    end += 1
            if end - start == 1:
                sent += sender.send_rtp(lane, *packets[start])
            else:
                sent += self._send_cut(lane, packets[start:end])
            start = end
        return sent

    def _send_cut(self, lane: Lane, packets: Sequence[Outgoing]) -> int:
        count = octets = 0
        for packet in packets:
            size = self._protect(lane, packet, count)
            if size:  # never a packet in clear: its place is taken by the next
                self._iovecs[count].iov_len = size
                octets += size
                count += 1
        if not count:
            return 0
        sender, message = self._sender, self._message
        header = message.msg_hdr
        header.msg_name, header.msg_namelen = lane.destination.pointer, lane.destination.length
        header.msg_iov, header.msg_iovlen = self._iovecs, count
        header.msg_control, header.msg_controllen = self._control, CONTROL.size
        piece = int(self._iovecs[0].iov_len)
        control = CONTROL.pack(CONTROL_BYTES, socket.IPPROTO_UDP, UDP_SEGMENT, piece)
        libc_ffi.memmove(self._control, control, CONTROL.size)
        errors = sender.send_errors
        sent = sender.flush(message, 1) * count
        if sender.send_errors > errors:
            sender.send_errors = errors
            sent = self._send_apart(count)
        sender.packets += sent
        sender.octets += octets if sent == count else 0
        return sent

    def _protect(self, lane: Lane, packet: Outgoing, segment: int) -> int:
        template, word, sequence, stamp = packet
        slot, length = self._slots[segment], self._lengths[segment]
        srtp_ffi.memmove(slot, template, len(template))
        header = HEADER.pack(word | sequence & 0xFFFF, stamp & 0xFFFFFFFF, lane.ssrc)
        srtp_ffi.memmove(slot, header, RTP_HEADER_BYTES)
        length[0] = len(template)
        if srtp_protect(lane.srtp, slot, length):
            self._sender.protect_failures += 1
            return 0
        return int(length[0])

    def _send_apart(self, count: int) -> int:
        """The way out does not take a cut message."""
        header, sent = self._message.msg_hdr, 0
        header.msg_iovlen, header.msg_controllen = 1, 0
        for segment in range(count):
            header.msg_iov = self._iovecs + segment
            sent += self._sender.flush(self._message, 1)
        return sent
