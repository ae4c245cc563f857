"""The impaired line on loopback: UDP both ways, TCP that stands still while it is cut."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.impaired_line import LOOPBACK, ImpairedLine
from bench.impaired_link import CLEAN, Impairment
from tests.turns import turn

LOST = Impairment(cut=True)


class Echo(asyncio.DatagramProtocol):
    """A media server that sends everything back, with the port that it saw."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data + b"@%d" % addr[1], addr)


async def parrot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1_000):
        writer.write(data)
    writer.close()


@pytest.fixture
async def line() -> AsyncIterator[ImpairedLine]:
    loop = asyncio.get_running_loop()
    media, _ = await loop.create_datagram_endpoint(Echo, local_addr=(LOOPBACK, 0))
    http = await asyncio.start_server(parrot, LOOPBACK, 0)
    line = ImpairedLine(seed=7)
    await line.open()
    line.lead_to(http.sockets[0].getsockname(), media.get_extra_info("sockname"))
    yield line
    await line.close()
    media.close()
    http.close()


def client() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    made.bind((LOOPBACK, 0))
    return made


async def ask(line: ImpairedLine, one: socket.socket, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    await loop.sock_sendto(one, data, (LOOPBACK, line.udp_port))
    async with asyncio.timeout(5):
        return await loop.sock_recv(one, 2_000)


async def test_each_client_socket_is_a_client_of_its_own(line: ImpairedLine) -> None:
    with client() as one, client() as other:
        first = await ask(line, one, b"a")
        assert first.startswith(b"a@")
        assert (await ask(line, one, b"a")) == first
        assert (await ask(line, other, b"a")) != first


async def test_each_direction_suffers_for_itself(line: ImpairedLine) -> None:
    with client() as one:
        await ask(line, one, b"a")
        line.impair(down=Impairment(duplicate_percent=100))
        assert await ask(line, one, b"b") == await asyncio.get_running_loop().sock_recv(one, 2_000)
        line.impair(up=LOST)
        await asyncio.get_running_loop().sock_sendto(one, b"lost", (LOOPBACK, line.udp_port))
        while line.up.link.passed.lost == 0:
            await turn()  # the loop reads the socket
        line.impair()
        assert (await ask(line, one, b"c")).startswith(b"c@")


async def test_the_delayed_come_in_order(line: ImpairedLine) -> None:
    line.impair(up=Impairment(delay_ms=5, jitter_ms=20))
    loop = asyncio.get_running_loop()
    with client() as one:
        for n in range(50):
            await loop.sock_sendto(one, b"%d" % n, (LOOPBACK, line.udp_port))
        async with asyncio.timeout(5):
            got = [await loop.sock_recv(one, 2_000) for _ in range(50)]
    assert [int(data.split(b"@")[0]) for data in got] == list(range(50))


async def test_tcp_stands_still_while_the_line_is_cut(line: ImpairedLine) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, line.http_port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    line.impair(up=LOST, down=LOST)
    writer.write(b"later")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.readexactly(5)
    line.impair(up=CLEAN, down=CLEAN)
    async with asyncio.timeout(5):
        assert await reader.readexactly(5) == b"later"
    writer.close()
