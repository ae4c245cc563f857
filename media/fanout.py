"""Protect packets for many viewers in place and hand all of them to the kernel in one call.

Everything that can be is prepared when a lane is added: the message headers, the addresses, the
slots, the arguments of every call into libsrtp. What is left per viewer and packet is that call.

Packets that came in together leave in one message per viewer (UDP_SEGMENT), and are encrypted
viewer by viewer, so that a viewer's keys are fetched from memory once for all of them. Headers are
written column by column. What runs here has to be little code: it is cold whenever it is wanted.
`docs/decisions/` has what each is worth.

Packets wait for `flush` at the end of the receive batch that they came in. In a large room those of
a frame that is not complete may wait a little longer, since publishers send a frame over 10 ms.

Never a packet in clear: a slot whose encryption failed is left out of the call.
"""

from __future__ import annotations

import socket
from array import array
from collections import deque
from concurrent.futures import Future
from typing import Any, Final

from media.batch import (
    CONTROL,
    CONTROL_BYTES,
    SEGMENTS,
    SLOT_BYTES,
    SLOT_WORDS,
    SLOTS,
    UDP_SEGMENT,
    BatchSender,
    Lane,
    Shape,
    Slab,
    srtp_ffi,
    srtp_protect,
)
from media.header_columns import HeaderColumns
from media.mmsg import libc_ffi

FRAME_WAIT_NS: Final = 5_000_000
"""How long the first packets of a frame wait for the last. A picture is not shown any later for it,
and a browser's pacer sends two or three packets in this time."""
WAIT_LANES_MIN: Final = 30
"""Below, there is not enough to be won."""
OVERLAP_CHUNKS_MIN: Final = 3
"""From here on (257 viewers) a second thread hands one chunk to the kernel while the next one is
encrypted: half of the time per frame is the kernel's. For fewer, waking a thread costs more."""
OVERLAP_SLABS: Final = 2
_WORD_BYTES: Final = 8
_MESSAGE_WORDS: Final = 8  # struct mmsghdr in 64-bit words, and its fields
_WORD_NAME, _WORD_NAME_BYTES, _WORD_IOVECS, _WORD_IOVEC_COUNT, _WORD_CONTROL = range(5)
_WORD_CONTROL_BYTES: Final = 5
_IOVEC_BYTES: Final = 16
_IOVEC_WORDS: Final = 2  # address and length
_LANE_WORDS: Final = SEGMENTS * _IOVEC_WORDS

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
        errors: list[BaseException | None] = []
        try:
            for number, (chunk, rendered) in enumerate(work):
                if len(under_way) == OVERLAP_SLABS:
                    errors.append(sender.outcome(under_way.popleft()))
                chunk.encrypt(sender.slab(number % OVERLAP_SLABS), queue, rendered)
                under_way.append(sender.beside.submit(chunk.transmit))
        finally:
            # Whatever broke: a slab that is being sent must not be written to, in clear at first.
            errors += map(sender.outcome, under_way)
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
        self._slab, self._count = slab, count
        self._trailer_bytes = lanes[0].trailer_bytes
        self._headers = HeaderColumns(
            [lane.sequence_offset for lane in lanes],
            [lane.timestamp_offset for lane in lanes],
            [lane.ssrc for lane in lanes],
        )
        self._control: Any = libc_ffi.new("char[]", CONTROL.size)
        # Written through memoryviews: a column costs what one field costs through cffi.
        self._iovec_storage: Any = libc_ffi.new("struct iovec[]", count * SEGMENTS)
        self._iovecs = memoryview(libc_ffi.buffer(self._iovec_storage)).cast("B").cast("Q")
        for segment in range(SEGMENTS):
            at = slab.address + segment * SLOTS * SLOT_BYTES
            slots = range(at, at + count * SLOT_BYTES, SLOT_BYTES)
            self._iovecs[_IOVEC_WORDS * segment :: _LANE_WORDS] = array("Q", slots)
        self._messages: Any = libc_ffi.new("struct mmsghdr[]", count)
        self._fields = memoryview(libc_ffi.buffer(self._messages)).cast("B").cast("Q")
        for word, values in (
            (_WORD_NAME, [lane.destination.address for lane in lanes]),
            (_WORD_NAME_BYTES, [lane.destination.length for lane in lanes]),
            (_WORD_CONTROL, [int(libc_ffi.cast("uintptr_t", self._control))] * count),
        ):
            self._fields[word::_MESSAGE_WORDS] = array("Q", values)
        self._prepared = True

    # --- sending -----------------------------------------------------------------------------

    def encrypt(self, slab: Slab, queue: list[Queued], rendered: Rendered) -> None:
        """Up to `SEGMENTS` packets, as the shape renders them, for every lane."""
        if not self._prepared or slab is not self._slab:
            self._forget()
            self._prepare(slab)
        self._write(queue, rendered)
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
            self._sizes = sizes
            for segment, size in enumerate(sizes):
                self._iovecs[_IOVEC_WORDS * segment + 1 :: _LANE_WORDS] = self._column(size)
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
        count = self._count
        self._verified = all(
            self._slab.lengths[first : first + count].tolist() == [size] * count
            for first, size in zip(range(0, SLOTS * SEGMENTS, SLOTS), sizes, strict=False)
        )
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
            at = int(libc_ffi.cast("uintptr_t", self._iovec_storage)) + start * _IOVEC_BYTES
            step = _LANE_WORDS * _WORD_BYTES
            iovecs = array("Q", range(at, at + self._count * step, step))
            self._fields[_WORD_IOVECS::_MESSAGE_WORDS] = iovecs
            self._fields[_WORD_IOVEC_COUNT::_MESSAGE_WORDS] = self._column(segments)
            control_bytes = self._column(CONTROL.size if segments > 1 else 0)
            self._fields[_WORD_CONTROL_BYTES::_MESSAGE_WORDS] = control_bytes
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
            for segment in range(start, start + segments):
                sender.packets += self._send_single(slot, segment)

    def _send_one_by_one(self, count: int, failures: list[int]) -> None:
        """Each packet by its own size, but slots that hold one in clear are left out."""
        sender, self._run, self._sizes = self._sender, None, []
        for position, failed in enumerate(failures):
            if failed:
                sender.protect_failures += 1
                continue
            slot, segment = divmod(position, count)
            size = self._slab.lengths[segment * SLOTS + slot]
            self._iovec_storage[slot * SEGMENTS + segment].iov_len = size
            taken = self._send_single(slot, segment)
            sender.packets += taken
            sender.octets += taken * size

    def _send_single(self, slot: int, segment: int) -> int:
        """One packet of one lane by itself: 1 when the kernel took it."""
        header = self._messages[slot].msg_hdr
        header.msg_iov = self._iovec_storage + (slot * SEGMENTS + segment)
        header.msg_iovlen = 1
        header.msg_controllen = 0
        return self._sender.flush(self._messages + slot, 1)

    # --- writing -----------------------------------------------------------------------------

    def _write(self, queue: list[Queued], rendered: Rendered) -> None:
        slab, count, headers = self._slab, self._count, self._headers
        for segment, (template, word) in enumerate(rendered):
            _, index, timestamp = queue[segment]
            first, size = segment * SLOTS, len(template)
            self._spread(first, template)
            at, end = first * SLOT_WORDS, (first + count) * SLOT_WORDS
            slab.words[at:end:SLOT_WORDS] = headers.first_words(word, index)
            slab.words[at + 1 : end : SLOT_WORDS] = headers.timestamps(timestamp)
            slab.words[at + 2 : end : SLOT_WORDS] = headers.ssrcs
            slab.lengths[first : first + count] = array("i", (size,)) * count

    def _spread(self, first: int, template: bytes) -> None:
        """The template into a slot per lane, from `first` on: twice as many with every copy."""
        pointers, count, filled, size = self._slab.pointers, self._count, 1, len(template)
        source = pointers[first]
        srtp_ffi.memmove(source, template, size)
        while filled < count:
            more = min(filled, count - filled)
            srtp_ffi.memmove(pointers[first + filled], source, (more - 1) * SLOT_BYTES + size)
            filled += more

    def _column(self, value: int) -> array[int]:
        return array("Q", (value,)) * self._count
