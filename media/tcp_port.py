"""ICE-TCP on the media port's number (RFC 6544, passive): connections in, frames to `MediaPort`.

For networks that block UDP. A connection is a source address like any other: what comes over it
means nothing before a check with valid integrity, and until then it is counted, timed and small
(`media.strangers`). Afterwards it lives as long as its peer, or until the peer ends it. We never
connect to anybody.

Writing never waits: what the kernel does not take goes to the connection's `Outbox`, which drops
what is too much. What is written within one turn of the event loop leaves in one system call.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
from collections.abc import Callable

from media.framing import FrameReader, FramingError
from media.ice_lite import Address, IceLite
from media.outbox import Outbox
from media.port import MediaPort, PortPeer
from media.strangers import STRANGER_BYTES_MAX, Strangers

FREE_PORT_ATTEMPTS = 16
"""For port 0: a number that is free for UDP is nearly always free for TCP too."""
BACKLOG = 256
"""Connections that wait while the loop is busy: a full room that joins at once."""
ACCEPTS_PER_WAKE_UP = 32
"""Then the loop's other work has its turn."""
ACCEPTS_PER_SWEEP = 500
"""Between two sweeps, half a second: one costs 50 µs, and 150 µs more with a good check (measured).
Whoever connects faster waits in the kernel's queue; datagrams do not wait for that."""
READ_BYTES = 64 * 1024
"""Taken from one connection at once, then the others have their turn: 45 full packets."""
SEND_BUFFER_BYTES = 256 * 1024
"""In the kernel, of which half is its book-keeping: 5 Mbit/s over 200 ms. A larger one would only
keep what is too late in a place where it cannot be dropped."""
UNSENT_BYTES_MAX = 16 * 1024
"""TCP_NOTSENT_LOWAT: the kernel takes no more while this much is not on its way, so that what
waits, waits in the outbox."""
CONNECTIONS_MAX = 65_536
"""On a machine that does not limit descriptors: more peers than one process serves."""
DESCRIPTORS_SHARE = 2
"""Connections may take this part of the process's descriptors, a half; the door needs the rest."""

_MAPPED_IPV4 = bytes(10) + b"\xff\xff"
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def open_both(udp: MediaPort, tcp: TcpPort, host: str, number: int) -> None:
    """Opens both on one number; if that may be any (0), on one that both can have.

    OSError when the address is not free, with the protocol as its `filename`.
    """
    for attempt in range(FREE_PORT_ATTEMPTS):
        try:
            udp.open(host, number)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "UDP") from None
        try:
            tcp.open(host, udp.socket.getsockname()[1])
            return
        except OSError as error:
            udp.close()
            again = number == 0 and error.errno == errno.EADDRINUSE
            if not again or attempt == FREE_PORT_ATTEMPTS - 1:
                raise OSError(error.errno, error.strerror, "TCP") from None


class TcpPort:
    """The listening socket and its connections; `port` takes their packets and writes to them."""

    def __init__(
        self, port: MediaPort, ice: IceLite[PortPeer], clock_ns: Callable[[], int]
    ) -> None:
        self._port = port
        self._ice = ice
        self._clock_ns = clock_ns
        self._listener: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening = False
        self._connections: dict[bytes, Connection] = {}
        self._strangers = Strangers()
        self._connections_max = CONNECTIONS_MAX
        self._looked_for_room = False
        self._count = 0
        self._accepts_left = ACCEPTS_PER_SWEEP

    def __len__(self) -> int:
        return len(self._connections)

    def open(self, host: str, port: int) -> None:
        """Listens on the running loop. OSError when the address is not free."""
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listener.family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors != resource.RLIM_INFINITY:
            self._connections_max = min(CONNECTIONS_MAX, descriptors // DESCRIPTORS_SHARE)
        self._listen()

    def _listen(self) -> None:
        if self._listener is not None and self._loop is not None and not self._listening:
            self._loop.add_reader(self._listener.fileno(), self._on_connection)
            self._listening = True

    def _pause(self) -> None:
        """Until the next sweep: the listener stays readable, and the loop would spin."""
        if self._listener is not None and self._loop is not None and self._listening:
            self._loop.remove_reader(self._listener.fileno())
            self._listening = False

    def close(self) -> None:
        """Ends all connections and frees the port."""
        for connection in tuple(self._connections.values()):
            connection.close()
        self._pause()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def sweep(self, now_ns: int) -> None:
        """Ends what had its time: strangers, and connections that belong to nobody any more."""
        self._accepts_left = ACCEPTS_PER_SWEEP
        self._listen()
        for key in self._strangers.overdue(now_ns):
            self._connections[key].close()
        self._close_forgotten()

    def _close_forgotten(self) -> None:
        owners = self._ice.owners
        for key, connection in tuple(self._connections.items()):
            if key not in owners and key not in self._strangers:
                connection.close()

    # --- connections -----------------------------------------------------------------------

    def _on_connection(self) -> None:
        self._looked_for_room = False
        for _ in range(ACCEPTS_PER_WAKE_UP):
            if self._listener is None or self._loop is None or not self._listening:
                return
            try:
                sock, peer = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._pause()
                    return
                continue  # it was gone before we took it
            self._accepts_left -= 1
            if not self._accepts_left:
                self._pause()
            if len(self._connections) >= self._connections_max and not self._made_room():
                sock.close()
                continue
            self._add(sock, peer, self._loop)

    def _made_room(self) -> bool:
        """A peer that opens connections without end has all but the last few forgotten: those must
        not keep others out until the next sweep.

        Looked for once a wake-up at most, since it means looking at every connection.
        """
        if self._looked_for_room:
            return False
        self._looked_for_room = True
        self._close_forgotten()
        return len(self._connections) < self._connections_max

    def _add(
        self, sock: socket.socket, peer: tuple[str, int], loop: asyncio.AbstractEventLoop
    ) -> None:
        with contextlib.suppress(OSError):  # a kernel without one of them still sends
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES // 2)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)
        ip = socket.inet_pton(sock.family, peer[0].partition("%")[0])
        if ip.startswith(_MAPPED_IPV4):
            ip = ip[12:]
        self._count += 1
        # Never as long as a raw socket address (6 or 26 bytes): the two cannot be confused.
        address = Address(b"t" + self._count.to_bytes(8), ip, peer[1], stream=True)
        connection = Connection(self, sock, address, loop)
        self._connections[address.key] = self._port.streams[address.key] = connection
        going = self._strangers.add(address.key, ip, self._clock_ns())
        if going is not None:
            self._connections[going].close()

    def forget(self, address: Address) -> None:
        """The connection is closed; its address is nobody's from now on."""
        self._connections.pop(address.key, None)
        self._port.streams.pop(address.key, None)
        self._strangers.remove(address.key)
        owner = self._ice.lost(address.key)
        if owner is not None:
            owner.on_address_lost()

    def take(self, packets: list[bytes], address: Address) -> None:
        """What came over a connection."""
        now_ns = self._clock_ns()
        for packet in packets:
            self._port.take_frame(packet, address, now_ns)
        self._port.end_batch(now_ns)
        if address.key in self._ice.owners:
            self._strangers.remove(address.key)

    def is_stranger(self, address: Address) -> bool:
        """True until a check proved whose connection it is."""
        return address.key in self._strangers

    def now_ns(self) -> int:
        """The plane's clock."""
        return self._clock_ns()


class Connection:
    """One accepted socket (a `media.batch.Stream`)."""

    __slots__ = (
        "_address",
        "_loop",
        "_outbox",
        "_port",
        "_reader",
        "_scheduled",
        "_socket",
        "_strange_bytes",
        "_waiting",
    )

    def __init__(
        self,
        port: TcpPort,
        sock: socket.socket,
        address: Address,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._port = port
        self._socket: socket.socket | None = sock
        self._address = address
        self._loop = loop
        self._reader = FrameReader()
        self._outbox = Outbox()
        self._strange_bytes = 0
        self._scheduled = False  # a flush comes within this turn of the loop
        self._waiting = False  # a flush comes when the kernel takes bytes again
        loop.add_reader(sock.fileno(), self._on_readable)

    def _on_readable(self) -> None:
        sock = self._socket
        if sock is None:
            return
        stranger = self._port.is_stranger(self._address)
        try:
            data = sock.recv(STRANGER_BYTES_MAX if stranger else READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            packets = self._reader.feed(data)
        except FramingError:
            self.close()
            return
        self._port.take(packets, self._address)
        if self._port.is_stranger(self._address):
            self._strange_bytes += len(data)
            if self._strange_bytes >= STRANGER_BYTES_MAX:
                self.close()

    def write(self, packet: bytes, *, urgent: bool) -> bool:
        """Takes one packet; False when it is dropped."""
        if self._socket is None:
            return False
        taken = self._outbox.put(packet, self._port.now_ns(), urgent=urgent)
        if taken and not self._scheduled and not self._waiting:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return taken

    def _flush(self) -> None:
        self._scheduled = False
        sock, outbox = self._socket, self._outbox
        if sock is None:
            return
        while chunks := outbox.chunks(self._port.now_ns()):
            try:
                size = sock.sendmsg(chunks)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return
            outbox.wrote(size, self._port.now_ns())
        self._wait(bool(len(outbox)) or outbox.stalled)

    def _on_writable(self) -> None:
        if self._outbox.stalled:
            self._outbox.wrote(0, self._port.now_ns())
        self._flush()

    def _wait(self, wanted: bool) -> None:
        if wanted is self._waiting or self._socket is None:
            return
        self._waiting = wanted
        if wanted:
            self._loop.add_writer(self._socket.fileno(), self._on_writable)
        else:
            self._loop.remove_writer(self._socket.fileno())

    def close(self) -> None:
        """Sends what the kernel still takes and ends the connection."""
        sock, self._socket = self._socket, None
        if sock is None:
            return
        with contextlib.suppress(OSError):
            if chunks := self._outbox.chunks(self._port.now_ns()):
                sock.sendmsg(chunks)
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())
        sock.close()
        self._port.forget(self._address)
