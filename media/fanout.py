"""Protect packets for many viewers in place and hand all of them to the kernel in one call.

Everything that can be is prepared when a lane is added: the message headers, the addresses, the
slots, the arguments of every call into libsrtp. What is left per viewer and packet is that call.

Packets that came in together leave in one message per viewer (UDP_SEGMENT), and are encrypted
viewer by viewer, so that a viewer's keys are fetched from memory once for all of them. Headers are
written column by column (numpy), all packets at once. `docs/decisions/` has what each is worth.

Packets wait for `flush` at the end of the receive batch that they came in. In a large room those of
a frame that is not complete may wait a little longer, since publishers send a frame over 10 ms.

Never a packet in clear: a slot whose encryption failed is left out of the call.
"""

from __future__ import annotations

import socket
from collections import deque
from concurrent.futures import Future
from typing import Any, Final

import numpy as np

from media.batch import (
    CONTROL,
    CONTROL_BYTES,
    HEADER,
    RTP_HEADER_BYTES,
    SEGMENTS,
    SLOTS,
    UDP_SEGMENT,
    BatchSender,
    Lane,
    Shape,
    Slab,
    libc_ffi,
    srtp_ffi,
    srtp_protect,
)

FRAME_WAIT_NS: Final = 5_000_000
"""How long the first packets of a frame wait for the last. A picture is not shown any later for it,
and a browser's pacer sends two or three packets in this time."""
WAIT_LANES_MIN: Final = 30
"""Below, there is not enough to be won."""
OVERLAP_CHUNKS_MIN: Final = 3
"""From here on (257 viewers) a second thread hands one chunk to the kernel while the next one is
encrypted: half of the time per frame is the kernel's. For fewer, waking a thread costs more."""
OVERLAP_SLABS: Final = 2
VECTOR_ROWS_MIN: Final = 8
"""From this many rows on the columns are cheaper than a loop (measured: 6 to 10)."""
_MESSAGE_WORDS: Final = 8  # struct mmsghdr in 64-bit words, and its fields
_WORD_NAME, _WORD_NAME_BYTES, _WORD_IOVECS, _WORD_IOVEC_COUNT, _WORD_CONTROL = range(5)
_WORD_CONTROL_BYTES: Final = 5
_IOVEC_BYTES: Final = 16

Queued = tuple[Any, int, int]
"""Packet, index, timestamp."""
Rendered = list[tuple[bytes, int]]
"""Of each queued packet what `Shape.render` gives."""
ChunkKey = tuple[int, int]
"""Lanes with equal keys get packets of the same bytes but the header, and of the same size."""
_Calls = tuple[list[Any], list[Any], list[Any]]
"""SRTP sessions, slots and lengths: the arguments of `srtp_protect`, call by call."""


class FanOut:
    """The lanes that get every packet of one track, and their prepared messages.

    `frames` says that a packet is of no use to a decoder before the last one of its frame, the one
    with the marker.
    """

    def __init__(self, sender: BatchSender, *, frames: bool = False) -> None:
        self._sender = sender
        self._frames = frames
        self.waits_until_ns = 0
        """Until then what is queued may wait for the rest of its frame."""
        self._chunks: dict[ChunkKey, list[_Chunk]] = {}
        self._queue: list[Queued] = []
        self._count = 0
        self._now_ns = 0
        self.packets = 0
        self.octets = 0

    def __len__(self) -> int:
        return self._count

    def add(self, lane: Lane) -> None:
        """From the next packet on this lane gets everything."""
        self.flush()  # what came before is not for it
        self._count += 1
        self._place(lane)

    def remove(self, lane: Lane) -> None:
        """From now on this lane gets nothing, and nothing here refers to its keys."""
        self.flush()  # what came before was for it too
        for key, chunks in self._chunks.items():
            holder = next((chunk for chunk in chunks if lane in chunk.lanes), None)
            if holder is None:
                continue
            self._count -= 1
            last = chunks[-1]
            holder.remove(lane)
            if holder is not last:  # all chunks but the last stay full
                moved = last.lanes[-1]
                last.remove(moved)
                holder.add(moved)
            if not last.lanes:
                chunks.pop()
            if not chunks:
                del self._chunks[key]
            return
        raise ValueError("not a lane of this fan-out")

    def _place(self, lane: Lane) -> None:
        chunks = self._chunks.setdefault((id(lane.shape), lane.trailer_bytes), [])
        if not chunks or len(chunks[-1].lanes) >= SLOTS:
            chunks.append(_Chunk(self._sender, lane.shape))
        chunks[-1].add(lane)

    def queue(
        self,
        packet: Any,
        index: int,
        timestamp: int,
        payload_bytes: int,
        now_ns: int,
        *,
        complete: bool = True,
    ) -> None:
        """One packet for all lanes; it leaves with the next `flush`. `complete` ends a frame."""
        if complete:
            self.waits_until_ns = 0
        elif not self._queue and self._frames and self._count >= WAIT_LANES_MIN:
            self.waits_until_ns = now_ns + FRAME_WAIT_NS
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
        self._queue, self.waits_until_ns = [], 0
        work: list[tuple[_Chunk, Rendered]] = []
        for chunks in self._chunks.values():
            shape = chunks[0].shape
            rendered = [shape.render(packet, self._now_ns) for packet, _, _ in queue]
            work += [(chunk, rendered) for chunk in chunks]
        if len(work) >= OVERLAP_CHUNKS_MIN:
            self._send_overlapping(queue, work)
            return
        slab = self._sender.slabs[0]
        for chunk, rendered in work:
            chunk.encrypt(slab, queue, rendered)
            chunk.transmit()

    def _send_overlapping(self, queue: list[Queued], work: list[tuple[_Chunk, Rendered]]) -> None:
        """One chunk is encrypted while the kernel takes the one before, each in its own slab.

        All have left when this returns, as without the other thread.
        """
        sender = self._sender
        under_way: deque[Future[None]] = deque()
        try:
            for number, (chunk, rendered) in enumerate(work):
                if len(under_way) == OVERLAP_SLABS:
                    under_way.popleft().result()
                chunk.encrypt(sender.slab(number % OVERLAP_SLABS), queue, rendered)
                under_way.append(sender.beside.submit(chunk.transmit))
        finally:
            # Whatever broke: a slab that is being sent must not be written to, in clear at first.
            errors = [future.exception() for future in under_way]
        for error in errors:
            if error is not None:
                raise error


class _Chunk:
    """At most `SLOTS` lanes whose packets have the same size: one sendmmsg."""

    def __init__(self, sender: BatchSender, shape: Shape) -> None:
        self.shape = shape
        self.lanes: list[Lane] = []
        self._sender = sender
        self._trailer_bytes = 0
        self._prepared = self._verified = False
        self._forget()

    def add(self, lane: Lane) -> None:
        """One more."""
        self.lanes.append(lane)
        self._forget()

    def remove(self, lane: Lane) -> None:
        """One less; nothing here refers to it any more."""
        self.lanes.remove(lane)
        self._forget()

    def _forget(self) -> None:
        self._prepared = self._verified = False
        self._calls: list[_Calls | None] = [None] * (SEGMENTS + 1)
        self._run: tuple[int, int, int] | None = None
        self._sizes: list[int] = []

    def _prepare(self, slab: Slab) -> None:
        """Columns and messages for the lanes of now."""
        lanes, count = self.lanes, len(self.lanes)
        self._slab = slab
        self._count = count
        self._trailer_bytes = lanes[0].trailer_bytes
        self._sequences = _column([lane.sequence_offset & 0xFFFF for lane in lanes])
        self._stamps = _column([lane.timestamp_offset & 0xFFFFFFFF for lane in lanes])
        self._ssrcs = _column([lane.ssrc for lane in lanes])
        self._lengths = slab.lengths[:, :count]
        self._bodies = slab.bytes[:, :count]
        self._words = slab.words[:, :count]
        self._control: Any = libc_ffi.new("char[]", CONTROL.size)
        # Written through numpy: a column costs what one field costs through cffi.
        iovecs = np.zeros((count, SEGMENTS, 2), np.uint64)
        iovecs[:, :, 0] = slab.table[:, :count].T
        self._iovecs = iovecs
        self._iovec_lengths = iovecs[:, :, 1]
        self._iovec_table = np.arange(count * SEGMENTS, dtype=np.uint64).reshape(count, SEGMENTS)
        self._iovec_table = self._iovec_table * _IOVEC_BYTES + iovecs.ctypes.data
        fields = np.zeros((count, _MESSAGE_WORDS), np.uint64)
        fields[:, _WORD_NAME] = [lane.destination.address for lane in lanes]
        fields[:, _WORD_NAME_BYTES] = [lane.destination.length for lane in lanes]
        fields[:, _WORD_CONTROL] = int(libc_ffi.cast("uintptr_t", self._control))
        self._fields = fields
        self._messages: Any = libc_ffi.cast("struct mmsghdr *", fields.ctypes.data)
        self._first_iovecs = fields[:, _WORD_IOVECS]
        self._iovec_counts = fields[:, _WORD_IOVEC_COUNT]
        self._control_bytes = fields[:, _WORD_CONTROL_BYTES]
        self._prepared = True

    # --- sending -----------------------------------------------------------------------------

    def encrypt(self, slab: Slab, queue: list[Queued], rendered: Rendered) -> None:
        """Up to `SEGMENTS` packets, as the shape renders them, for every lane."""
        if not self._prepared or slab is not self._slab:
            self._forget()
            self._prepare(slab)
        if self._count < VECTOR_ROWS_MIN:
            self._write_rows(queue, rendered)
        else:
            self._write_columns(queue, rendered)
        calls = self._calls[len(queue)] or self._prepare_calls(len(queue))
        self._failures = list(map(srtp_protect, *calls))
        self._wanted = [len(template) + self._trailer_bytes for template, _ in rendered]

    def transmit(self) -> None:
        """Hand to the kernel what was encrypted last."""
        sizes, failures = self._wanted, self._failures
        if any(failures) or not (self._verified or self._verify(sizes)):
            self._send_one_by_one(len(sizes), failures)
            return
        if sizes != self._sizes:
            self._iovec_lengths[:, : len(sizes)] = self._sizes = sizes
        self._send_runs(sizes)

    def _prepare_calls(self, count: int) -> _Calls:
        """Arguments of libsrtp for this many packets: all of one lane, then all of the next."""
        slab = self._slab
        slots = [segment * SLOTS + slot for slot in range(self._count) for segment in range(count)]
        calls = self._calls[count] = (
            [lane.srtp for lane in self.lanes for _ in range(count)],
            [slab.pointers[slot] for slot in slots],
            [slab.length_pointers[slot] for slot in slots],
        )
        return calls

    def _verify(self, sizes: list[int]) -> bool:
        """What libsrtp added is what was expected of these lanes; it is then always so."""
        real = self._lengths[: len(sizes)]
        self._verified = bool((real == np.array(sizes, np.int32)[:, None]).all())
        return self._verified

    def _send_runs(self, sizes: list[int]) -> None:
        """UDP_SEGMENT cuts a message into equal pieces; only the last one may be shorter."""
        start, count = 0, len(sizes)
        cuts = self._sender.segmentation
        for end in range(1, count + 1):
            if end < count and cuts and sizes[end] <= sizes[start] == sizes[end - 1]:
                continue
            self._send_run(start, end - start, sizes[start])
            start = end
        self._sender.octets += self._count * sum(sizes)

    def _send_run(self, start: int, segments: int, size: int) -> None:
        """Packets from `start` on, one message per lane."""
        sender = self._sender
        run = (start, segments, size if segments > 1 else 0)
        if run != self._run:
            self._run = run
            self._first_iovecs[:] = self._iovec_table[:, start]
            self._iovec_counts[:] = segments
            self._control_bytes[:] = CONTROL.size if segments > 1 else 0
            control = CONTROL.pack(CONTROL_BYTES, socket.IPPROTO_UDP, UDP_SEGMENT, size)
            libc_ffi.memmove(self._control, control, CONTROL.size)
        errors = sender.send_errors
        sender.packets += sender.flush(self._messages, self._count) * segments
        if segments > 1 and sender.send_errors > errors:
            self._send_refused(start, segments, tuple(sender.refused))

    def _send_refused(self, start: int, segments: int, slots: tuple[int, ...]) -> None:
        """Lanes whose way out does not take cut messages get their packets one by one."""
        sender = self._sender
        sender.send_errors -= len(slots)
        self._run = None
        for slot in slots:
            self._iovec_counts[slot] = 1
            self._control_bytes[slot] = 0
            for segment in range(start, start + segments):
                self._first_iovecs[slot] = self._iovec_table[slot, segment]
                sender.packets += sender.flush(self._messages + slot, 1)

    def _send_one_by_one(self, count: int, failures: list[int]) -> None:
        """Each packet by its own size, but slots that hold one in clear are left out."""
        sender, self._run, self._sizes = self._sender, None, []
        self._iovec_lengths[:, :count] = self._lengths[:count].T
        self._iovec_counts[:] = 1
        self._control_bytes[:] = 0
        for position, failed in enumerate(failures):
            if failed:
                sender.protect_failures += 1
                continue
            slot, segment = divmod(position, count)
            self._first_iovecs[slot] = self._iovec_table[slot, segment]
            taken = sender.flush(self._messages + slot, 1)
            sender.packets += taken
            sender.octets += taken * int(self._lengths[segment, slot])

    # --- writing -----------------------------------------------------------------------------

    def _write_columns(self, queue: list[Queued], rendered: Rendered) -> None:
        count = len(queue)
        for segment, (template, _) in enumerate(rendered):
            size = len(template)
            self._bodies[segment, :, :size] = np.frombuffer(template, np.uint8)
            self._lengths[segment] = size
        words = self._words[:count]
        heads = [
            (index & 0xFFFF, timestamp & 0xFFFFFFFF, word)
            for (_, index, timestamp), (_, word) in zip(queue, rendered, strict=True)
        ]
        indexes, stamps, firsts = np.array(heads, np.uint32).T[:, :, None]
        words[:, :, 0] = (self._sequences + indexes & 0xFFFF) | firsts
        words[:, :, 1] = self._stamps + stamps
        words[:, :, 2] = self._ssrcs

    def _write_rows(self, queue: list[Queued], rendered: Rendered) -> None:
        slab = self._slab
        for segment, (template, word) in enumerate(rendered):
            _, index, timestamp = queue[segment]
            size, first = len(template), segment * SLOTS
            for slot, lane in enumerate(self.lanes, first):
                pointer = slab.pointers[slot]
                sequence = index + lane.sequence_offset & 0xFFFF
                stamp = timestamp + lane.timestamp_offset & 0xFFFFFFFF
                srtp_ffi.memmove(pointer, template, size)
                header = HEADER.pack(word | sequence, stamp, lane.ssrc)
                srtp_ffi.memmove(pointer, header, RTP_HEADER_BYTES)
                slab.length_pointers[slot][0] = size


def _column(values: list[int]) -> Any:
    return np.array(values, np.uint32)
