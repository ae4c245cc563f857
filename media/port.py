"""The media port: packets come in here, are told apart (RFC 7983) and handed to their peer.

A datagram's way: `MediaPort._on_readable` takes up to `BATCH_DATAGRAMS` at once with recvmmsg into
buffers that are never replaced. RTP and RTCP from a validated address go to the peer's handlers in
place; DTLS from a validated address is copied to the peer; STUN is judged by `IceLite`; the rest
is counted and forgotten. Nothing that a stranger sends reaches further than that. Packets that
came over TCP (`media.tcp_port`) take the same way from `take_frame` on.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from media.batch import Destination, PacketBuffer, Stream
from media.ice_lite import Address, IceLite
from media.mmsg import MSG_DONTWAIT, libc_ffi, recvmmsg

BATCH_DATAGRAMS = 32
"""Beyond this the syscall is no longer what costs (measured: 2.4 µs alone, 0.8 µs in 32)."""
ROUNDS_PER_WAKE_UP = 4
"""Then the loop's other work has its turn; the socket stays readable."""
DATAGRAM_BYTES_MAX = 1_500
"""An Ethernet frame; nobody sends larger ones on purpose, and SRTP code trips over them."""
RECEIVE_BUFFER_BYTES = 8 << 20
"""About 50 ms of 1 Gbit/s: what arrives while the loop is busy with something else."""
SEND_BUFFER_BYTES = 8 << 20
"""A keyframe for every viewer of a big room at once."""
FLOOD_BURST_NS = 1_000_000_000
"""How far ahead of its packet rate a peer may run: a second's worth, for keyframes and stalls."""
LOG_EVERY_NS = 10_000_000_000
"""At most one line per this long about datagrams that broke something."""

_SOCKET_ADDRESS_BYTES = 28
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_SO_MEMINFO = 55
_MEMINFO_WORDS = 9
_MEMINFO_DROPS = 8
"""SK_MEMINFO_DROPS of linux/sock_diag.h: datagrams that found the receive buffer full."""
_MAPPED_IPV4 = bytes(10) + b"\xff\xff"
"""How IPv4 peers look on an IPv6 socket (RFC 4291 §2.5.5.2)."""

OnPacket = Callable[[Any, PacketBuffer, int, int], None]
"""(link, buffer, length, now_ns); still SRTP-protected; the buffer is reused afterwards."""

log = structlog.get_logger("media.port")


class PortPeer(Protocol):
    """What the port knows of a peer. `flood_at_ns` is the token bucket's state, kept by the port.

    `link`, `on_rtp` and `on_rtcp` change when DTLS is up; before that the handlers ignore all.
    """

    link: Any
    on_rtp: OnPacket
    on_rtcp: OnPacket
    packet_cost_ns: int
    flood_at_ns: int

    def on_dtls(self, data: bytes) -> bool:
        """A DTLS datagram from a validated address; False when it was not taken."""

    def on_check(self, moved: bool, now_ns: int) -> None:
        """An authenticated check arrived; `moved` when the peer's address is now another."""

    def on_address_lost(self) -> None:
        """One of its TCP connections is gone, and media went there."""


@dataclass(slots=True)
class PortCounters:
    """Sums since the start."""

    datagrams: int = 0
    bytes: int = 0
    dropped_length: int = 0
    dropped_unknown_address: int = 0
    dropped_first_byte: int = 0
    dropped_stun: int = 0
    dropped_flood: int = 0
    dropped_queue_full: int = 0
    failures: int = 0
    send_errors: int = 0


class MediaPort:
    """The UDP socket and its receive loop. Peers are found through `ice`.

    `streams` are the open TCP connections by the key of their address; `media.tcp_port` keeps it.
    """

    def __init__(self, ice: IceLite[PortPeer], clock_ns: Callable[[], int]) -> None:
        self.counters = PortCounters()
        self.streams: dict[bytes, Stream] = {}
        self.on_batch_end: Callable[[int], None] = _nothing
        """Called with the time after the last datagram of each receive batch."""
        self._ice = ice
        self._clock_ns = clock_ns
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._family = socket.AF_INET
        self._logged_ns: int | None = None
        self._buffers = [PacketBuffer() for _ in range(BATCH_DATAGRAMS)]
        self._headers = libc_ffi.new("struct mmsghdr[]", BATCH_DATAGRAMS)
        self._vectors = libc_ffi.new("struct iovec[]", BATCH_DATAGRAMS)
        self._names = [libc_ffi.new("char[]", _SOCKET_ADDRESS_BYTES) for _ in self._buffers]
        self._name_views = [libc_ffi.buffer(name) for name in self._names]
        self._key = slice(2, 8)
        self._frame = PacketBuffer()

    def open(self, host: str, port: int) -> None:
        """Binds and starts to receive on the running loop. OSError when the address is not free."""
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            _enlarge_buffers(sock)
            if self._family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        self._socket = sock
        self._prepare_headers()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._on_readable)

    def _prepare_headers(self) -> None:
        # The kernel writes the address length back; a family's is constant, so it is set once.
        ipv6 = self._family == socket.AF_INET6
        self._key = slice(2, _SOCKET_ADDRESS_BYTES) if ipv6 else slice(2, 8)
        for i, buffer in enumerate(self._buffers):
            self._vectors[i].iov_base = buffer.pointer
            self._vectors[i].iov_len = DATAGRAM_BYTES_MAX + 1
            header = self._headers[i].msg_hdr
            header.msg_name = self._names[i]
            header.msg_namelen = _SOCKET_ADDRESS_BYTES if ipv6 else 16
            header.msg_iov = self._vectors + i
            header.msg_iovlen = 1

    def close(self) -> None:
        """Stops receiving and frees the port."""
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    @property
    def socket(self) -> socket.socket:
        """The open socket, for whoever sends in batches. RuntimeError when not open."""
        if self._socket is None:
            raise RuntimeError("the media port is not open")
        return self._socket

    def receive_dropped(self) -> int:
        """Datagrams that the kernel dropped because we did not read in time; 0 if it cannot say."""
        if self._socket is None:
            return 0
        try:
            raw = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_WORDS)
        except OSError:  # before Linux 4.12
            return 0
        words = memoryview(raw).cast("I")
        return words[_MEMINFO_DROPS] if len(words) > _MEMINFO_DROPS else 0

    def send_to(self, data: bytes, address: Address) -> bool:
        """Sends one packet now or not at all: what is lost here the protocols above repeat."""
        if address.stream:
            stream = self.streams.get(address.key)
            return stream is not None and stream.write(data, urgent=True)
        if self._socket is None:
            return False
        try:
            self._socket.sendto(data, self._tuple_of(address))
        except OSError:
            self.counters.send_errors += 1
            return False
        return True

    def _tuple_of(self, address: Address) -> tuple[str, int] | tuple[str, int, int, int]:
        if self._family == socket.AF_INET:
            return socket.inet_ntop(socket.AF_INET, address.ip), address.port
        host = socket.inet_ntop(socket.AF_INET6, address.key[6:22])
        scope = int.from_bytes(address.key[22:26], sys.byteorder)
        return host, address.port, 0, scope

    def socket_address(self, address: Address) -> bytes:
        """The raw sockaddr of an address, as sendmmsg wants it."""
        padding = b"" if self._family == socket.AF_INET6 else bytes(8)
        return struct.pack("=H", self._family) + address.key + padding

    def destination(self, address: Address) -> Destination:
        """Where packets for this address go from now on."""
        made = Destination.from_raw(bytes(28 if self._family == socket.AF_INET6 else 16))
        self.point(made, address)
        return made

    def point(self, destination: Destination, address: Address) -> None:
        """Changes it in place."""
        if address.stream:
            destination.stream = self.streams[address.key]
        else:
            destination.set_raw(self.socket_address(address))
            destination.stream = None

    def _address(self, key: bytes) -> Address:
        port = int.from_bytes(key[:2])
        if self._family == socket.AF_INET:
            return Address(key, key[2:6], port)
        ip = key[6:22]
        # An IPv4 peer must be told its IPv4 address, however our socket sees it.
        return Address(key, ip[12:] if ip.startswith(_MAPPED_IPV4) else ip, port)

    def _on_readable(self) -> None:
        """Takes what is there, in bounded rounds. The hot path starts here."""
        if self._socket is None:
            return
        fd = self._socket.fileno()
        for _ in range(ROUNDS_PER_WAKE_UP):
            count = recvmmsg(fd, self._headers, BATCH_DATAGRAMS, MSG_DONTWAIT, libc_ffi.NULL)
            if count <= 0:
                return
            now_ns = self._clock_ns()
            self._dispatch(count, now_ns)
            self.end_batch(now_ns)
            if count < BATCH_DATAGRAMS or self._socket is None:
                return

    def _dispatch(self, count: int, now_ns: int) -> None:
        counters = self.counters
        owners = self._ice.owners
        headers, buffers, names, key_slice = (
            self._headers,
            self._buffers,
            self._name_views,
            self._key,
        )
        counters.datagrams += count
        for i in range(count):
            length = headers[i].msg_len
            if not 0 < length <= DATAGRAM_BYTES_MAX:
                counters.dropped_length += 1
                continue
            counters.bytes += length
            buffer = buffers[i]
            data = buffer.data
            first = data[0]
            key = names[i][key_slice]
            if first < 4:
                self._on_stun(bytes(data[:length]), self._address(key), now_ns)
                continue
            if not (127 < first < 192 or 19 < first < 64):
                counters.dropped_first_byte += 1
                continue
            peer = owners.get(key)
            if peer is None:
                counters.dropped_unknown_address += 1
                continue
            self._hand_over(peer, buffer, length, now_ns)

    def take_frame(self, packet: bytes, source: Address, now_ns: int) -> None:
        """One packet of a TCP connection, by the rules of a datagram."""
        counters, length = self.counters, len(packet)
        counters.datagrams += 1
        counters.bytes += length
        first = packet[0]
        if first < 4:
            self._on_stun(packet, source, now_ns)
            return
        if not (127 < first < 192 or 19 < first < 64):
            counters.dropped_first_byte += 1
            return
        peer = self._ice.owners.get(source.key)
        if peer is None:
            counters.dropped_unknown_address += 1
            return
        self._frame.data[:length] = packet
        self._hand_over(peer, self._frame, length, now_ns)

    def _hand_over(self, peer: PortPeer, buffer: PacketBuffer, length: int, now_ns: int) -> None:
        """DTLS, RTP or RTCP from an address of the peer."""
        flood_at_ns = peer.flood_at_ns
        if flood_at_ns < now_ns:
            flood_at_ns = now_ns
        elif flood_at_ns - now_ns > FLOOD_BURST_NS:
            self.counters.dropped_flood += 1
            return
        peer.flood_at_ns = flood_at_ns + peer.packet_cost_ns
        data = buffer.data
        try:
            if data[0] < 64:
                if not peer.on_dtls(bytes(data[:length])):
                    self.counters.dropped_queue_full += 1
            elif 191 < data[1] < 224:  # RFC 5761 §4: RTCP's types, marker bit included
                peer.on_rtcp(peer.link, buffer, length, now_ns)
            else:
                peer.on_rtp(peer.link, buffer, length, now_ns)
        except Exception as error:  # noqa: BLE001 one bad packet must not hurt the next
            self._failed(error, now_ns)

    def end_batch(self, now_ns: int) -> None:
        """The last packet of a batch was handed over."""
        try:
            self.on_batch_end(now_ns)
        except Exception as error:  # noqa: BLE001 one bad batch must not hurt the next
            self._failed(error, now_ns)

    def _on_stun(self, data: bytes, source: Address, now_ns: int) -> None:
        try:
            checked = self._ice.receive(data, source, now_ns)
            if checked is None:
                self.counters.dropped_stun += 1
                return
            for reply in (checked.response, checked.question):
                if reply:
                    self.send_to(reply, source)
            if checked.accepted:
                checked.session.owner.on_check(checked.moved, now_ns)
        except Exception as error:  # noqa: BLE001 nothing that arrives may stop the port
            self._failed(error, now_ns)

    def _failed(self, error: Exception, now_ns: int) -> None:
        self.counters.failures += 1
        if self._logged_ns is None or now_ns - self._logged_ns >= LOG_EVERY_NS:
            self._logged_ns = now_ns
            log.error("datagram_failed", error=repr(error), failures=self.counters.failures)


def _nothing(now_ns: int) -> None:
    """Nobody waits for the end of a batch."""


def _enlarge_buffers(sock: socket.socket) -> None:
    """As large as wanted when we are privileged, else as the system allows, and says so."""
    for option, forced, wanted in (
        (socket.SO_RCVBUF, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES),
        (socket.SO_SNDBUF, _SO_SNDBUFFORCE, SEND_BUFFER_BYTES),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, wanted)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, option, wanted)
    # The kernel reports twice what it granted, for its own book-keeping.
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if granted < RECEIVE_BUFFER_BYTES:
        log.warning(
            "receive_buffer_small",
            granted_bytes=granted,
            wanted_bytes=RECEIVE_BUFFER_BYTES,
            remedy=f"sysctl -w net.core.rmem_max={RECEIVE_BUFFER_BYTES}",
        )
