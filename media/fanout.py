"""Protect packets for many viewers in place and hand all of them to the kernel in one call.

Everything that can be is prepared when a lane is added: the message headers, the addresses, the
slots. What is left per viewer and packet is one call into libsrtp. Measured with 1.1 kB packets
and 60 viewers: writing the headers column by column (numpy) costs half of a loop over rows, and
packets that came in together and leave in one message per viewer (UDP_SEGMENT) cost the kernel
1.2 µs each instead of 3.1.

Packets wait for `flush` at the end of the receive batch that they came in, never longer.

Never a packet in clear: a slot whose encryption failed is left out of the call.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

import numpy as np

from media.batch import (
    HEADER,
    RTP_HEADER_BYTES,
    SEGMENTS,
    SLOTS,
    BatchSender,
    Lane,
    Shape,
    libc_ffi,
    srtp_ffi,
    srtp_protect,
)

VECTOR_ROWS_MIN: Final = 8
"""From this many rows on the columns are cheaper than a loop (measured: 6 to 10)."""
UDP_SEGMENT: Final = 103
_CONTROL = struct.Struct("@QiiH6x")  # struct cmsghdr and the segment size
_CONTROL_BYTES: Final = 18
_MESSAGE_WORDS: Final = 8  # struct mmsghdr in 64-bit words, and three of its fields
_WORD_IOVECS, _WORD_IOVEC_COUNT, _WORD_CONTROL_BYTES = 2, 3, 5

Queued = tuple[Any, int, int]
"""Packet, index, timestamp."""


class FanOut:
    """The lanes that get every packet of one track, and their prepared messages."""

    def __init__(self, sender: BatchSender) -> None:
        self._sender = sender
        self._lanes: list[Lane] = []
        self._chunks: list[_Chunk] = []
        self._queue: list[Queued] = []
        self._stale = False
        self._now_ns = 0
        self.packets = 0
        self.octets = 0

    def __len__(self) -> int:
        return len(self._lanes)

    def add(self, lane: Lane) -> None:
        """From the next packet on this lane gets everything."""
        self.flush()  # what came before is not for it
        self._lanes.append(lane)
        self._stale = True

    def remove(self, lane: Lane) -> None:
        """From now on this lane gets nothing."""
        self.flush()  # what came before was for it too
        self._lanes.remove(lane)
        self._chunks = []  # nothing that refers to its keys survives the call
        self._stale = True

    def queue(
        self, packet: Any, index: int, timestamp: int, payload_bytes: int, now_ns: int
    ) -> None:
        """One packet for all lanes; it leaves with the next `flush`."""
        self._queue.append((packet, index, timestamp))
        self._now_ns = now_ns
        self.packets += 1
        self.octets += payload_bytes
        if len(self._queue) == SEGMENTS:
            self.flush()

    def flush(self) -> None:
        """Send what is queued."""
        queue = self._queue
        if not queue:
            return
        self._queue = []
        if self._stale:
            self._rebuild()
        for chunk in self._chunks:
            if not chunk.send(queue, self._now_ns):
                self._stale = True

    def _rebuild(self) -> None:
        alike: dict[tuple[int, int], list[Lane]] = {}
        for lane in self._lanes:
            alike.setdefault((id(lane.shape), lane.trailer_bytes), []).append(lane)
        self._chunks = [
            _Chunk(self._sender, lanes[start : start + SLOTS])
            for lanes in alike.values()
            for start in range(0, len(lanes), SLOTS)
        ]
        self._stale = False


class _Chunk:
    """At most `SLOTS` lanes whose packets have the same size: one sendmmsg."""

    def __init__(self, sender: BatchSender, lanes: list[Lane]) -> None:
        count = len(lanes)
        self._sender = sender
        self._count = count
        self._lanes = lanes
        self._shape: Shape = lanes[0].shape
        self._srtps = [lane.srtp for lane in lanes]
        self._sequences = _column([lane.sequence_offset & 0xFFFF for lane in lanes])
        self._stamps = _column([lane.timestamp_offset & 0xFFFFFFFF for lane in lanes])
        self._ssrcs = _column([lane.ssrc for lane in lanes])
        starts = range(0, SEGMENTS * SLOTS, SLOTS)
        self._pointers = [sender.slot_pointers[at : at + count] for at in starts]
        self._length_pointers = [sender.length_pointers[at : at + count] for at in starts]
        self._lengths = sender.lengths[:, :count]
        self._bodies = sender.slab[:, :count]
        self._words = sender.words[:, :count]
        self._prepare_messages()

    def _prepare_messages(self) -> None:
        count = self._count
        self._control: Any = libc_ffi.new("char[]", _CONTROL.size)
        self._iovecs: Any = libc_ffi.new("struct iovec[]", count * SEGMENTS)
        self._messages: Any = libc_ffi.new("struct mmsghdr[]", count)
        for slot, lane in enumerate(self._lanes):
            for segment in range(SEGMENTS):
                address = self._sender.slot_addresses[segment * SLOTS + slot]
                iovec = self._iovecs[slot * SEGMENTS + segment]
                iovec.iov_base = libc_ffi.cast("void *", address)
            header = self._messages[slot].msg_hdr
            header.msg_name = lane.destination.pointer
            header.msg_namelen = lane.destination.length
            header.msg_control = self._control
        pairs = np.frombuffer(libc_ffi.buffer(self._iovecs), np.uint64)
        self._iovec_lengths = pairs.reshape(count, SEGMENTS, 2)[:, :, 1]
        words = np.frombuffer(libc_ffi.buffer(self._messages), np.uint64)
        fields = words.reshape(count, _MESSAGE_WORDS)
        self._first_iovecs = fields[:, _WORD_IOVECS]
        self._iovec_counts = fields[:, _WORD_IOVEC_COUNT]
        self._control_bytes = fields[:, _WORD_CONTROL_BYTES]
        first = int(libc_ffi.cast("uintptr_t", self._iovecs))
        size = libc_ffi.sizeof("struct iovec")
        self._iovec_addresses = np.arange(count * SEGMENTS, dtype=np.uint64) * size + first
        self._iovec_addresses = self._iovec_addresses.reshape(count, SEGMENTS)

    # --- sending -----------------------------------------------------------------------------

    def send(self, queue: list[Queued], now_ns: int) -> bool:
        """Up to `SEGMENTS` packets to every lane; False when lanes turned out to be unlike."""
        failures: list[list[int]] = []
        plain_bytes = 0
        for segment, (packet, index, timestamp) in enumerate(queue):
            template, word = self._shape.render(packet, now_ns)
            plain_bytes = len(template)
            if self._count < VECTOR_ROWS_MIN:
                self._write_rows(segment, template, word, index, timestamp)
            else:
                self._write_columns(segment, template, word, index, timestamp)
            pointers, lengths = self._pointers[segment], self._length_pointers[segment]
            failures.append(list(map(srtp_protect, self._srtps, pointers, lengths)))
        sizes = self._lengths[: len(queue)]
        if any(map(any, failures)):
            for segment, failed in enumerate(failures):
                self._send_protected(segment, failed)
            return True
        if (sizes != sizes[:, :1]).any():
            for segment, failed in enumerate(failures):
                self._send_protected(segment, failed)
            self._learn_trailers(sizes[-1] - plain_bytes)
            return False
        self._send_runs(sizes[:, 0].tolist())
        return True

    def _send_runs(self, sizes: list[int]) -> None:
        count = len(sizes)
        self._iovec_lengths[:, :count] = sizes
        start = 0
        for end in range(1, count + 1):
            if end == count or not self._joins(sizes, start, end):
                self._send_run(start, end, sizes[start])
                self._sender.octets += self._count * sum(sizes[start:end])
                start = end

    def _joins(self, sizes: list[int], start: int, end: int) -> bool:
        """UDP_SEGMENT cuts equal pieces; only the last one may be shorter."""
        if not self._sender.segmentation:
            return False
        return sizes[end] <= sizes[start] == sizes[end - 1]

    def _send_run(self, start: int, end: int, size: int) -> None:
        """Packets `start` to `end` of the queue, one message per lane."""
        sender, segments = self._sender, end - start
        self._first_iovecs[:] = self._iovec_addresses[:, start]
        self._iovec_counts[:] = segments
        self._control_bytes[:] = _CONTROL.size if segments > 1 else 0
        if segments > 1:
            control = _CONTROL.pack(_CONTROL_BYTES, socket.IPPROTO_UDP, UDP_SEGMENT, size)
            libc_ffi.memmove(self._control, control, _CONTROL.size)
        errors = sender.send_errors
        taken = sender.flush(self._messages, self._count)
        sender.packets += taken * segments
        if segments > 1 and sender.send_errors > errors:
            self._send_refused(start, end, tuple(sender.refused))

    def _send_refused(self, start: int, end: int, slots: tuple[int, ...]) -> None:
        """Lanes whose way out does not take cut messages get their packets one by one."""
        sender = self._sender
        sender.send_errors -= len(slots)
        for slot in slots:
            self._iovec_counts[slot] = 1
            self._control_bytes[slot] = 0
            for segment in range(start, end):
                self._first_iovecs[slot] = self._iovec_addresses[slot, segment]
                sender.packets += sender.flush(self._messages + slot, 1)

    def _send_protected(self, segment: int, failures: list[int]) -> None:
        """One packet to every lane, but slots that hold it in clear are left out."""
        self._iovec_lengths[:, segment] = self._lengths[segment]
        self._first_iovecs[:] = self._iovec_addresses[:, segment]
        self._iovec_counts[:] = 1
        self._control_bytes[:] = 0
        start = 0
        for slot in range(self._count + 1):
            if slot == self._count or failures[slot]:
                if slot > start:
                    sent = self._sender.flush(self._messages + start, slot - start)
                    self._sender.packets += sent
                start = slot + 1
        self._sender.protect_failures += sum(map(bool, failures))

    def _learn_trailers(self, trailers: Any) -> None:
        for lane, trailer_bytes in zip(self._lanes, trailers.tolist(), strict=True):
            lane.trailer_bytes = trailer_bytes

    # --- writing -----------------------------------------------------------------------------

    def _write_columns(
        self, segment: int, template: bytes, word: int, index: int, timestamp: int
    ) -> None:
        size = len(template)
        self._bodies[segment, :, :size] = np.frombuffer(template, np.uint8)
        words = self._words[segment]
        words[:, 0] = (self._sequences + (index & 0xFFFF) & 0xFFFF) | word
        words[:, 1] = self._stamps + (timestamp & 0xFFFFFFFF)
        words[:, 2] = self._ssrcs
        self._lengths[segment] = size

    def _write_rows(
        self, segment: int, template: bytes, word: int, index: int, timestamp: int
    ) -> None:
        size = len(template)
        pointers, lengths = self._pointers[segment], self._length_pointers[segment]
        for lane, pointer, length in zip(self._lanes, pointers, lengths, strict=True):
            sequence = index + lane.sequence_offset & 0xFFFF
            stamp = timestamp + lane.timestamp_offset & 0xFFFFFFFF
            srtp_ffi.memmove(pointer, template, size)
            header = HEADER.pack(word | sequence, stamp, lane.ssrc)
            srtp_ffi.memmove(pointer, header, RTP_HEADER_BYTES)
            length[0] = size


def _column(values: list[int]) -> Any:
    return np.array(values, np.uint32)
