"""One person's line to the server: a relay that carries UDP over two impaired links, and TCP.

A browser is given the line's addresses instead of the server's. UDP suffers everything that
`ImpairedLink` knows, each direction for itself. TCP (the page and its WebSocket) is only ever cut:
while it is, nothing passes and nothing is refused, as on a dead network; its delay and loss would
slow down the page and say nothing about media.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from bench.impaired_link import CLEAN, SECOND_NS, ImpairedLink, Impairment

LOOPBACK: Final = "127.0.0.1"
FLOWS_MAX: Final = 64
"""Client sockets of one line; a browser opens a few per peer connection. The oldest makes room."""
CHUNK_OCTETS: Final = 64 * 1024

Address = tuple[str, int]
Deliver = Callable[[bytes], None]


class Carrier:
    """Brings datagrams through one `ImpairedLink`, by one timer and in the order they are due."""

    def __init__(self, link: ImpairedLink) -> None:
        self.link = link
        self._waiting: list[tuple[int, int, bytes, Deliver]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def carry(self, data: bytes, deliver: Deliver) -> None:
        """Calls `deliver` with the datagram as often and as late as the link says."""
        now_ns = time.monotonic_ns()
        for due_ns in self.link.due(len(data), now_ns):
            if due_ns <= now_ns and not self._waiting:
                deliver(data)
                continue
            heapq.heappush(self._waiting, (due_ns, next(self._order), data, deliver))
        self._arm()

    def close(self) -> None:
        """Forget what is on its way."""
        self._waiting.clear()
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            wait_s = max(self._waiting[0][0] - time.monotonic_ns(), 0) / SECOND_NS
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._deliver)

    def _deliver(self) -> None:
        now_ns = time.monotonic_ns()
        while self._waiting and self._waiting[0][0] <= now_ns:
            _, _, data, deliver = heapq.heappop(self._waiting)
            deliver(data)
        self._arm()


class ImpairedLine:
    """See the file's first lines. `up` leads to the server, `down` to the person."""

    def __init__(self, seed: int) -> None:
        self.up, self.down = Carrier(ImpairedLink(2 * seed)), Carrier(ImpairedLink(2 * seed + 1))
        self.udp_port = 0
        self.http_port = 0
        self._media: Address = (LOOPBACK, 0)
        self._http: Address = (LOOPBACK, 0)
        self._front = _udp_socket()
        self._flows: dict[Address, socket.socket] = {}  # client → our socket towards the server
        self._door: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._passable = asyncio.Event()
        self._passable.set()

    async def open(self) -> None:
        """Take free ports on loopback; `lead_to` comes before the first client."""
        self._front.bind((LOOPBACK, 0))
        self.udp_port = int(self._front.getsockname()[1])
        asyncio.get_running_loop().add_reader(self._front, self._read_front)
        self._door = await asyncio.start_server(self._enter, LOOPBACK, 0)
        self.http_port = int(self._door.sockets[0].getsockname()[1])

    def lead_to(self, http: Address, media: Address) -> None:
        """Where the server is."""
        self._http, self._media = http, media

    @property
    def origin(self) -> str:
        """What the person's browser takes for the server."""
        return f"http://{LOOPBACK}:{self.http_port}"

    def reseed(self, seed: int) -> None:
        """Begin again with clean links whose chances come from another seed."""
        self.up.link, self.down.link = ImpairedLink(2 * seed), ImpairedLink(2 * seed + 1)
        self.impair()

    def impair(self, *, up: Impairment = CLEAN, down: Impairment = CLEAN) -> None:
        """The network is like this from now on; TCP is cut when both directions are."""
        self.up.link.impairment, self.down.link.impairment = up, down
        if up.cut and down.cut:
            self._passable.clear()
        else:
            self._passable.set()

    async def close(self) -> None:
        """Give everything back."""
        self.up.close()
        self.down.close()
        for client in tuple(self._flows):
            self._forget(client)
        asyncio.get_running_loop().remove_reader(self._front)
        self._front.close()
        if self._door is not None:
            self._door.close()
        for pump in tuple(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    # --- UDP -------------------------------------------------------------------------------

    def _read_front(self) -> None:
        for data, client in _datagrams(self._front):
            flow = self._flows.get(client) or self._connect(client)
            self.up.carry(data, partial(_send, flow, self._media))

    def _read_flow(self, flow: socket.socket, client: Address) -> None:
        for data, _ in _datagrams(flow):
            self.down.carry(data, partial(_send, self._front, client))

    def _connect(self, client: Address) -> socket.socket:
        if len(self._flows) >= FLOWS_MAX:
            self._forget(next(iter(self._flows)))
        flow = self._flows[client] = _udp_socket()
        flow.bind((LOOPBACK, 0))
        asyncio.get_running_loop().add_reader(flow, self._read_flow, flow, client)
        return flow

    def _forget(self, client: Address) -> None:
        flow = self._flows.pop(client)
        asyncio.get_running_loop().remove_reader(flow)
        flow.close()

    # --- TCP -------------------------------------------------------------------------------

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        try:
            await self._passable.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._http)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        except OSError:
            pass  # one side left without a word; so does the other now
        finally:
            self._pumps.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(CHUNK_OCTETS):
                await self._passable.wait()
                writer.write(chunk)
                await writer.drain()
        finally:
            with contextlib.suppress(OSError):
                writer.close()


def _udp_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _datagrams(from_socket: socket.socket) -> Iterator[tuple[bytes, Address]]:
    """What waits in a socket; an ICMP error of an earlier datagram ends the round."""
    with contextlib.suppress(OSError):
        while True:
            yield from_socket.recvfrom(CHUNK_OCTETS)


def _send(through: socket.socket, to: Address, data: bytes) -> None:
    """A full buffer or a socket that was given back in the meantime loses the datagram."""
    with contextlib.suppress(OSError):
        through.sendto(data, to)
