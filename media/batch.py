"""The way in and out of the kernel and of libsrtp: buffers, addresses, one socket's sends.

Packets are encrypted and decrypted in place, in memory that is allocated once.
"""

from __future__ import annotations

import errno
import ipaddress
import mmap
import socket
import struct
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pylibsrtp import _binding

from media.mmsg import MSG_DONTWAIT, libc_ffi, sendmmsg

SLOT_BYTES: Final = 1_728
"""A plain packet with our own header extensions and SRTP's trailer (at most 144 bytes), and not a
multiple of 2048, so that the slots do not all fall into the same sets of the cache."""
SLOT_WORDS: Final = SLOT_BYTES // 4
LENGTH_BYTES: Final = 4
SLOTS: Final = 128
"""Viewers per sendmmsg. With `SEGMENTS` packets for each they fill 1.8 MB."""
SEGMENTS: Final = 8
"""Packets to one viewer in one message (UDP_SEGMENT): a 1.5 Mbit/s stream has six per picture, and
a longer burst would overrun small receive buffers on the way."""
SOCKADDR_IN_BYTES: Final = 16
SOCKADDR_IN6_BYTES: Final = 28
RTP_HEADER_BYTES: Final = 12
TRAILER_BYTES: Final = 16 + 128 + 4
"""SRTP_MAX_TRAILER_LEN of libsrtp, and the index that SRTCP adds."""

HEADER: Final = struct.Struct("!III")
UDP_SEGMENT: Final = 103
"""Cut this message into datagrams of so many bytes (udp(7))."""
CONTROL: Final = struct.Struct("@QiiH6x")
"""struct cmsghdr and the segment size."""
CONTROL_BYTES: Final = 18

srtp_ffi: Any = _binding.ffi
srtp_protect: Any = _binding.lib.srtp_protect
srtp_unprotect: Any = _binding.lib.srtp_unprotect
srtp_protect_rtcp: Any = _binding.lib.srtp_protect_rtcp
srtp_unprotect_rtcp: Any = _binding.lib.srtp_unprotect_rtcp


class Stream(Protocol):
    """A TCP connection to a peer. What it cannot take is dropped, never waited for."""

    def write(self, packet: bytes, *, urgent: bool) -> bool:
        """Take one packet, protected already; False when it is dropped.

        `urgent` for what is kept longest when there is too much: sound and feedback.
        """
        ...


class Destination:
    """A peer's address in the form that the kernel takes, changed in place when the peer moves.

    With a `stream` packets go there and the sockaddr is not looked at.
    """

    __slots__ = ("_storage", "address", "length", "pointer", "stream")

    def __init__(self, sockaddr: bytes) -> None:
        if len(sockaddr) not in (SOCKADDR_IN_BYTES, SOCKADDR_IN6_BYTES):
            raise ValueError("not a sockaddr of an Internet address")
        self.length = len(sockaddr)
        self._storage: Any = libc_ffi.new("char[]", sockaddr)
        self.pointer: Any = libc_ffi.cast("void *", self._storage)
        self.address = int(libc_ffi.cast("uintptr_t", self._storage))
        self.stream: Stream | None = None

    @classmethod
    def from_raw(cls, sockaddr: bytes) -> Destination:
        """From a packed `struct sockaddr_in` or `sockaddr_in6`. ValueError when it is neither."""
        return cls(sockaddr)

    @classmethod
    def from_address(cls, host: str, port: int) -> Destination:
        """From a numeric IPv4 or IPv6 address, scope 0. ValueError when it is neither."""
        return cls(pack_address(host, port))

    def set_raw(self, sockaddr: bytes) -> None:
        """Point to another address of the same family. ValueError when it is of another."""
        if len(sockaddr) != self.length:
            raise ValueError("a sockaddr of another family")
        libc_ffi.memmove(self._storage, sockaddr, len(sockaddr))


def pack_address(host: str, port: int) -> bytes:
    """A `struct sockaddr_in` or `sockaddr_in6` for a numeric address."""
    address = ipaddress.ip_address(host)
    if address.version == 4:
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, address.packed)
    return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI16s4x", port, 0, address.packed)


class PacketBuffer:
    """One reusable buffer for datagrams: fill `data` (or `view`), SRTP works on it in place."""

    __slots__ = ("data", "length_pointer", "pointer", "view")

    def __init__(self, size: int = 2_048) -> None:
        self.data = bytearray(size)
        self.view = memoryview(self.data)
        self.pointer: Any = srtp_ffi.from_buffer("char[]", self.data)
        self.length_pointer: Any = srtp_ffi.new("int *")

    def unprotect(self, srtp: Any, length: int) -> int:
        """Verify and decrypt an SRTP packet in place: the plain length, 0 when it is refused."""
        self.length_pointer[0] = length
        if srtp_unprotect(srtp, self.pointer, self.length_pointer):
            return 0
        return int(self.length_pointer[0])

    def unprotect_rtcp(self, srtp: Any, length: int) -> int:
        """Verify and decrypt an SRTCP packet in place: the plain length, 0 when it is refused."""
        self.length_pointer[0] = length
        if srtp_unprotect_rtcp(srtp, self.pointer, self.length_pointer):
            return 0
        return int(self.length_pointer[0])


class Shape(Protocol):
    """One way to write a packet out, shared by the viewers who negotiated the same."""

    def render(self, packet: Any, now_ns: int) -> tuple[bytes, int]:
        """The packet with 12 blank header bytes, and the first header word without sequence."""
        ...


@dataclass(slots=True, eq=False)
class Lane:
    """One stream to one viewer: everything that its packets are rewritten with.

    A packet with source index i and timestamp t leaves with sequence i + `sequence_offset` and
    timestamp t + `timestamp_offset`. `trailer_bytes` is what its SRTP profile adds. `urgent` lanes
    are the last to lose packets on a slow stream.
    """

    srtp: Any
    destination: Destination
    ssrc: int
    shape: Shape
    trailer_bytes: int
    sequence_offset: int = 0
    timestamp_offset: int = 0
    urgent: bool = False


class Slab:
    """Memory in which packets are written and encrypted: a slot per segment and viewer.

    Slots follow one another segment by segment, `SLOT_BYTES` apart from `address` on. `words` is
    all of it in 32-bit items, `lengths` a packet's bytes slot by slot; the pointers, in the same
    order, are what libsrtp takes.
    """

    __slots__ = ("_memory", "address", "length_pointers", "lengths", "pointers", "words")

    def __init__(self) -> None:
        slots = range(SEGMENTS * SLOTS)
        # Whole pages: slots begin where lines of the cache do, and nothing is taken until written.
        self._memory = mmap.mmap(-1, SEGMENTS * SLOTS * (SLOT_BYTES + LENGTH_BYTES))
        memory, lengths_at = memoryview(self._memory), SEGMENTS * SLOTS * SLOT_BYTES
        self.words = memory[:lengths_at].cast("I")
        self.lengths = memory[lengths_at:].cast("i")
        first: Any = srtp_ffi.from_buffer("char[]", self._memory)
        self.address = int(srtp_ffi.cast("uintptr_t", first))
        self.pointers = [first + slot * SLOT_BYTES for slot in slots]
        self.length_pointers = [
            srtp_ffi.cast("int *", first + lengths_at + slot * LENGTH_BYTES) for slot in slots
        ]


class BatchSender:
    """The way out: one socket (non-blocking) and the slots in which packets are encrypted.

    Nothing waits: what the kernel does not take at once is dropped and counted. Counters are sums
    since the start.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock  # kept: its descriptor must not be given to another file
        self._fd = sock.fileno()
        self.packets = 0  # RTP alone
        self.octets = 0
        self.dropped_full = 0
        self.dropped_stream = 0
        self.send_errors = 0
        self.protect_failures = 0
        self.segmentation = True
        """False once the kernel said that it cannot cut messages (UDP_SEGMENT)."""
        self.refused: list[int] = []
        """Positions of the messages that the last `flush` could not send."""
        self._beside: ThreadPoolExecutor | None = None
        self.waited_ns = 0
        """How long its users waited for `beside`: time at work, and no time of a processor."""
        self.slabs = [Slab()]
        """More than one once sending goes on beside encryption (`media.fanout`)."""
        self.slot, self.length = self.slabs[0].pointers[0], self.slabs[0].length_pointers[0]
        self._iovec: Any = libc_ffi.new("struct iovec *")
        self._message: Any = libc_ffi.new("struct mmsghdr *")
        self._iovec.iov_base = libc_ffi.cast("void *", self.slabs[0].address)
        self._message.msg_hdr.msg_iov = self._iovec
        self._message.msg_hdr.msg_iovlen = 1

    def slab(self, number: int) -> Slab:
        """Slab 0, 1, ...; made when it is wanted first."""
        while len(self.slabs) <= number:
            self.slabs.append(Slab())
        return self.slabs[number]

    @property
    def beside(self) -> ThreadPoolExecutor:
        """One thread for system calls beside encryption; whoever gives it work waits for it."""
        if self._beside is None:
            self._beside = ThreadPoolExecutor(1, "media-send")
        return self._beside

    def outcome(self, work: Future[None]) -> BaseException | None:
        """Waits for work given to `beside`: what it failed with, None when all went well."""
        if work.done():
            return work.exception()
        began_ns = time.monotonic_ns()
        error = work.exception()
        self.waited_ns += time.monotonic_ns() - began_ns
        return error

    def close(self) -> None:
        """Ends the thread; the socket is somebody else's."""
        if self._beside is not None:
            self._beside.shutdown()
            self._beside = None

    def send_rtp(
        self,
        lane: Lane,
        template: bytes,
        word: int,
        sequence: int,
        stamp: int,
        *,
        ssrc: int | None = None,
    ) -> bool:
        """Protect and send one packet; False when it did not leave. `ssrc` replaces the lane's."""
        number = lane.ssrc if ssrc is None else ssrc
        header = HEADER.pack(word | sequence & 0xFFFF, stamp & 0xFFFFFFFF, number)
        return self.send_plain(lane.srtp, lane.destination, header, template, urgent=lane.urgent)

    def send_plain(
        self,
        srtp: Any,
        to: Destination,
        header: bytes,
        template: bytes,
        *,
        urgent: bool = False,
    ) -> bool:
        """The same with the 12 header bytes given: they replace the first 12 of `template`."""
        size = len(template)
        if size > SLOT_BYTES - TRAILER_BYTES:
            self.send_errors += 1
            return False
        slot, length = self.slot, self.length
        srtp_ffi.memmove(slot, template, size)
        srtp_ffi.memmove(slot, header, RTP_HEADER_BYTES)
        length[0] = size
        if srtp_protect(srtp, slot, length):
            self.protect_failures += 1
            return False
        size = length[0]
        if not self._send_slot(to, size, urgent=urgent):
            return False
        self.packets += 1
        self.octets += size
        return True

    def send_rtcp(self, srtp: Any, to: Destination, compound: bytes) -> bool:
        """Protect and send an RTCP compound; False when it did not leave."""
        if len(compound) > SLOT_BYTES - TRAILER_BYTES:
            self.send_errors += 1
            return False
        slot, length = self.slot, self.length
        srtp_ffi.memmove(slot, compound, len(compound))
        length[0] = len(compound)
        if srtp_protect_rtcp(srtp, slot, length):
            self.protect_failures += 1
            return False
        return self._send_slot(to, length[0], urgent=True)

    def _send_slot(self, to: Destination, size: int, *, urgent: bool) -> bool:
        if to.stream is not None:
            packet = bytes(srtp_ffi.buffer(self.slot, size))
            taken = to.stream.write(packet, urgent=urgent)
            self.dropped_stream += not taken
            return taken
        self._iovec.iov_len = size
        self._message.msg_hdr.msg_name = to.pointer
        self._message.msg_hdr.msg_namelen = to.length
        return self.flush(self._message, 1) == 1

    def flush(self, messages: Any, count: int) -> int:
        """Hand prepared messages to the kernel: how many it took."""
        taken = int(sendmmsg(self._fd, messages, count, MSG_DONTWAIT))
        if taken == count:
            return count
        return self._flush_rest(messages, count, taken)

    def _flush_rest(self, messages: Any, count: int, taken: int) -> int:
        """After a short count: a full socket drops the rest, a bad message only itself."""
        total = position = 0
        self.refused = []
        while True:
            if taken > 0:
                total += taken
                position += taken
            else:
                code = libc_ffi.errno
                if code in (errno.EAGAIN, errno.ENOBUFS) or taken == 0:
                    self.dropped_full += count - position
                    break
                if code != errno.EINTR:
                    self._refuse(position, code)
                    position += 1
            if position >= count:
                break
            taken = int(sendmmsg(self._fd, messages + position, count - position, MSG_DONTWAIT))
        return total

    def _refuse(self, position: int, code: int) -> None:
        self.send_errors += 1
        self.refused.append(position)
        if code == errno.EIO:  # no checksum offload on the way out (udp(7))
            self.segmentation = False
