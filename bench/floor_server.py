"""The floor: a program that only encrypts each packet for everybody and calls sendmmsg.

No signalling, no ICE, no DTLS, no RTCP, no repair: what remains of a forwarder when all that makes
it one is taken away. Receivers come in on standard input, one a line: host, port, key in hex, and
the two SSRCs; packets come in clear on the port that it prints. One message carries up to
`--segments` packets (UDP_SEGMENT); 1 is plain sendmmsg.
"""

from __future__ import annotations

import argparse
import os
import selectors
import socket
import struct
from typing import Any

import cffi
import numpy as np
from pylibsrtp import Policy, Session, _binding

SLOT_BYTES = 1_728
SLOTS = 128
TRAILER_BYTES = 16
BATCH = 8
STDIN = 0
UDP_SEGMENT = 103
CONTROL = struct.Struct("@QiiH6x")
CONTROL_BYTES = 18

_ffi = cffi.FFI()
_ffi.cdef(
    """
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr {
        void *msg_name; uint32_t msg_namelen;
        struct iovec *msg_iov; size_t msg_iovlen;
        void *msg_control; size_t msg_controllen; int msg_flags;
    };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);
    """
)
_libc: Any = _ffi.dlopen(None)
_srtp_ffi: Any = _binding.ffi
_protect: Any = _binding.lib.srtp_protect


class Receivers:
    """Up to `SLOTS` receivers and everything that is prepared for them."""

    def __init__(self, sock: socket.socket) -> None:
        self._fd = sock.fileno()
        self._sessions: list[Session] = []
        self._ssrcs: list[tuple[int, int]] = []
        self._slab = np.zeros((BATCH, SLOTS, SLOT_BYTES), np.uint8)
        self._numbers = self._slab[:, :, 8:12].view(">u4")[:, :, 0]
        self._lengths = np.zeros((BATCH, SLOTS), np.int32)
        at, lengths_at = self._slab.ctypes.data, self._lengths.ctypes.data
        cells = range(BATCH * SLOTS)
        self._pointers = [_srtp_ffi.cast("char *", at + cell * SLOT_BYTES) for cell in cells]
        self._length_at = [_srtp_ffi.cast("int *", lengths_at + 4 * cell) for cell in cells]
        self._names = _ffi.new("char[]", SLOTS * 16)
        self._control = _ffi.new("char[]", CONTROL.size)
        self._iovecs = _ffi.new("struct iovec[]", SLOTS * BATCH)
        self._messages = _ffi.new("struct mmsghdr[]", SLOTS)
        for slot in range(SLOTS):
            for cell in range(BATCH):
                base = at + (cell * SLOTS + slot) * SLOT_BYTES
                self._iovecs[slot * BATCH + cell].iov_base = _ffi.cast("void *", base)
            header = self._messages[slot].msg_hdr
            header.msg_name, header.msg_namelen = self._names + slot * 16, 16
            header.msg_control = self._control
        pairs = np.frombuffer(_ffi.buffer(self._iovecs), np.uint64).reshape(SLOTS, BATCH, 2)
        self._iov_lengths = pairs[:, :, 1]
        fields = np.frombuffer(_ffi.buffer(self._messages), np.uint64).reshape(SLOTS, 8)
        fields[:, 2] = int(_ffi.cast("uintptr_t", self._iovecs)) + 16 * BATCH * np.arange(SLOTS)
        self._fields = fields
        self._calls: dict[int, tuple[list[Any], list[Any], list[Any]]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, host: str, port: int, key: bytes, ssrcs: tuple[int, int]) -> None:
        """One more."""
        slot = len(self)
        name = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s", port, socket.inet_aton(host))
        _ffi.memmove(self._names + slot * 16, name, len(name))
        profile = Policy.SRTP_PROFILE_AEAD_AES_128_GCM
        policy = Policy(key=key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
        self._sessions.append(Session(policy))
        self._ssrcs.append(ssrcs)
        self._calls = {}
        self._columns = np.array(self._ssrcs, np.uint32).T

    def send(self, packets: list[bytes], kind: int) -> None:
        """Packets of one stream and one size to everybody, encrypted receiver by receiver."""
        count, size = len(packets), len(packets[0])
        slots = len(self)
        for cell, packet in enumerate(packets):
            self._slab[cell, :slots, :size] = np.frombuffer(packet, np.uint8)
        self._numbers[:count, :slots] = self._columns[kind]
        self._lengths[:count, :slots] = size
        calls = self._calls.get(count) or self._prepare(count)
        if any(map(_protect, *calls)):
            raise RuntimeError("encryption failed")
        size += TRAILER_BYTES
        self._iov_lengths[:slots, :count] = size
        self._fields[:slots, 3] = count
        self._fields[:slots, 5] = CONTROL.size if count > 1 else 0
        control = CONTROL.pack(CONTROL_BYTES, socket.IPPROTO_UDP, UDP_SEGMENT, size)
        _ffi.memmove(self._control, control, len(control))
        _libc.sendmmsg(self._fd, self._messages, slots, socket.MSG_DONTWAIT)

    def _prepare(self, count: int) -> tuple[list[Any], list[Any], list[Any]]:
        """The arguments for this many packets to everybody, receiver by receiver."""
        cells = [cell * SLOTS + slot for slot in range(len(self)) for cell in range(count)]
        calls = self._calls[count] = (
            [session._srtp[0] for session in self._sessions for _ in range(count)],
            [self._pointers[cell] for cell in cells],
            [self._length_at[cell] for cell in cells],
        )
        return calls


def serve(host: str, segments: int) -> None:
    """Until standard input ends."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    sock.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)  # SO_SNDBUFFORCE
    sock.bind((host, 0))
    sock.setblocking(False)
    groups = [Receivers(sock)]
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    selector.register(STDIN, selectors.EVENT_READ)
    print(sock.getsockname()[1], flush=True)
    pending = b""
    while True:
        for ready, _ in selector.select():
            if ready.fileobj == STDIN:
                data = os.read(STDIN, 65_536)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    if len(groups[-1]) == SLOTS:
                        groups.append(Receivers(sock))
                    _admit(groups[-1], line.decode().split())
            else:
                _forward(sock, groups, segments)


def _admit(group: Receivers, words: list[str]) -> None:
    host, port, key, *ssrcs = words
    group.add(host, int(port), bytes.fromhex(key), (int(ssrcs[0]), int(ssrcs[1])))


def _forward(sock: socket.socket, groups: list[Receivers], segments: int) -> None:
    packets: list[bytes] = []
    while True:
        try:
            data = sock.recv(2_048)
        except BlockingIOError:
            break
        if data[0] >> 6 == 2 and not 192 <= data[1] <= 223:
            packets.append(data)
    while packets:
        alike = 1
        limit = min(segments, len(packets))
        while alike < limit and len(packets[alike]) == len(packets[0]):
            alike += 1
        kind = 0 if packets[0][1] & 0x7F == 111 else 1
        for group in groups:
            if len(group):
                group.send(packets[:alike], kind)
        del packets[:alike]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--segments", type=int, default=1, choices=range(1, BATCH + 1))
    options = parser.parse_args()
    serve(options.host, options.segments)
