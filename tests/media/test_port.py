"""The UDP port: what is told apart, what is dropped and counted, and that nothing breaks it."""

import itertools
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aioice import stun as aioice_stun

from media.api import IceCredentials
from media.batch import PacketBuffer
from media.ice_lite import IceLite, IceSession
from media.port import FLOOD_BURST_NS, MediaPort, PortPeer
from media.stun import binding_request, binding_success
from tests.turns import turn

PASSWORD = b"server-password-of-some-length"
THEIR_PASSWORD = b"client-password-of-some-length"
_transactions = itertools.count(1)


class Listener:
    """A peer that writes down what it gets."""

    def __init__(self) -> None:
        self.link: Any = "the link"
        self.packet_cost_ns = 1
        self.flood_at_ns = 0
        self.rtp: list[bytes] = []
        self.rtcp: list[bytes] = []
        self.dtls: list[bytes] = []
        self.checks: list[bool] = []
        self.raises = False

    def on_rtp(self, link: Any, buffer: PacketBuffer, length: int, now_ns: int) -> None:
        assert link == "the link"
        if self.raises:
            raise RuntimeError("a bug")
        self.rtp.append(bytes(buffer.data[:length]))

    def on_rtcp(self, link: Any, buffer: PacketBuffer, length: int, now_ns: int) -> None:
        self.rtcp.append(bytes(buffer.data[:length]))

    def on_dtls(self, data: bytes) -> bool:
        self.dtls.append(data)
        return len(self.dtls) < 3

    def on_check(self, moved: bool, now_ns: int) -> None:
        self.checks.append(moved)


class Bench:
    """A port, a peer behind it, and a client's socket."""

    def __init__(self, host: str) -> None:
        self.now_ns = time.monotonic_ns()
        self.ice: IceLite[PortPeer] = IceLite()
        self.peer = Listener()
        self.session: IceSession[PortPeer] = IceSession(
            self.peer, IceCredentials("ours", PASSWORD.decode(), "theirs", THEIR_PASSWORD.decode())
        )
        self.ice.add(self.session)
        self.port = MediaPort(self.ice, lambda: self.now_ns)
        self.port.open(host, 0)
        self.client = self.new_client()

    def new_client(self) -> socket.socket:
        address = self.port.socket.getsockname()
        client = socket.socket(self.port.socket.family, socket.SOCK_DGRAM)
        client.settimeout(1)
        client.connect(address)
        return client

    async def deliver(self, *datagrams: bytes, client: socket.socket | None = None) -> None:
        """Sends, and waits until the port has seen them all."""
        expected = self.port.counters.datagrams + len(datagrams)
        for datagram in datagrams:
            (client or self.client).send(datagram)
        while self.port.counters.datagrams < expected:
            await turn()

    async def check(self, client: socket.socket | None = None) -> None:
        number = next(_transactions).to_bytes(12)
        await self.deliver(
            binding_request(number, b"ours:theirs", PASSWORD, use_candidate=True), client=client
        )

    def close(self) -> None:
        self.client.close()
        self.port.close()


@pytest_asyncio.fixture(params=["127.0.0.1", "::1"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    made = Bench(request.param)
    yield made
    made.close()


async def test_a_check_is_answered_and_lets_the_address_in(bench: Bench) -> None:
    await bench.deliver(b"\x80\x60too early", b"\x16too early")
    assert bench.port.counters.dropped_unknown_address == 2
    await bench.check()
    answer = aioice_stun.parse_message(bench.client.recv(2_000))
    assert answer.check_message_integrity(PASSWORD)
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == bench.client.getsockname()[:2]
    assert bench.peer.checks == [True]
    await bench.deliver(b"\x80\x60rtp", b"\x80\xc8rtcp", b"\x16dtls", b"\xbf\xe0rtp", b"\x90\xdf")
    assert bench.peer.rtp == [b"\x80\x60rtp", b"\xbf\xe0rtp"]
    assert bench.peer.rtcp == [b"\x80\xc8rtcp", b"\x90\xdf"]
    assert bench.peer.dtls == [b"\x16dtls"]


async def test_strangers_are_counted_and_hear_nothing(bench: Bench) -> None:
    await bench.check()
    with bench.new_client() as stranger:
        for datagram in (b"", b"\x80" * 1_501, b"\x80" * 60_000):
            await bench.deliver(datagram, client=stranger)
        assert bench.port.counters.dropped_length == 3
        await bench.deliver(b"\x80" * 1_500, b"\x16" * 1_500, client=stranger)
        assert bench.port.counters.dropped_unknown_address == 2
        await bench.deliver(b"\x04", b"\x40turn", b"\x50", b"\xc0", b"\xff" * 9, client=stranger)
        assert bench.port.counters.dropped_first_byte == 5
        await bench.deliver(b"\x00", b"\x01" * 1_500, client=stranger)
        unsigned = binding_request(bytes(12), b"ours:theirs", b"not the password......")
        await bench.deliver(unsigned, client=stranger)
        assert bench.port.counters.dropped_stun == 3
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(1)
    assert (bench.peer.rtp, bench.peer.dtls, bench.peer.checks) == ([], [], [True])
    assert bench.port.counters.failures == 0


async def test_a_short_packet_from_a_peer_is_its_handlers_matter(bench: Bench) -> None:
    await bench.check()
    await bench.deliver(b"\x80")
    assert bench.peer.rtp + bench.peer.rtcp == [b"\x80"]


async def test_a_full_dtls_queue_is_counted(bench: Bench) -> None:
    await bench.check()
    await bench.deliver(*[b"\x16"] * 5)
    assert bench.port.counters.dropped_queue_full == 3


async def test_a_flooding_peer_is_clipped_to_its_rate(bench: Bench) -> None:
    await bench.check()
    bench.peer.packet_cost_ns = FLOOD_BURST_NS // 100
    await bench.deliver(*[b"\x80\x60"] * 150)
    assert len(bench.peer.rtp) in (101, 102)
    assert bench.port.counters.dropped_flood == 150 - len(bench.peer.rtp)
    passed = len(bench.peer.rtp)
    bench.now_ns += FLOOD_BURST_NS // 10
    await bench.deliver(*[b"\x80\x60"] * 30)
    assert len(bench.peer.rtp) - passed == 10


async def test_a_bug_in_a_handler_is_counted_and_hurts_nobody_else(bench: Bench) -> None:
    await bench.check()
    bench.peer.raises = True
    await bench.deliver(b"\x80\x60", b"\x80\xc8rtcp", b"\x80\x60")
    assert bench.port.counters.failures == 2
    assert bench.peer.rtcp == [b"\x80\xc8rtcp"]


async def test_a_moving_peer_is_followed(bench: Bench) -> None:
    await bench.check()
    with bench.new_client() as elsewhere:
        await bench.check(elsewhere)
        assert bench.peer.checks == [True, False]
        elsewhere.recv(2_000)
        question = elsewhere.recv(2_000)
        answer = binding_success(question[8:20], bytes(4), 1, THEIR_PASSWORD)
        await bench.deliver(answer, client=elsewhere)
        assert bench.peer.checks == [True, False, True]
        assert bench.session.selected is not None
        raw = bench.port.socket_address(bench.session.selected)
        assert int.from_bytes(raw[2:4]) == elsewhere.getsockname()[1]
        assert bench.port.send_to(b"media", bench.session.selected)
        assert elsewhere.recv(2_000) == b"media"


async def test_a_busy_port_is_an_oserror_and_leaves_nothing_open() -> None:
    bench = Bench("127.0.0.1")
    second = MediaPort(bench.ice, time.monotonic_ns)
    with pytest.raises(OSError, match="in use"):
        second.open("127.0.0.1", bench.port.socket.getsockname()[1])
    with pytest.raises(RuntimeError):
        _ = second.socket
    bench.close()
    bench.port.close()


async def test_more_than_one_batch_is_taken(bench: Bench) -> None:
    await bench.check()
    bench.peer.packet_cost_ns = 1
    await bench.deliver(*[b"\x80\x60" + i.to_bytes(2) for i in range(200)])
    assert [int.from_bytes(p[2:]) for p in bench.peer.rtp] == list(range(200))


async def test_an_ipv4_peer_on_an_ipv6_socket_is_told_its_ipv4_address() -> None:
    bench = Bench("::")
    bench.client.close()
    bench.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bench.client.settimeout(1)
    bench.client.connect(("127.0.0.1", bench.port.socket.getsockname()[1]))
    await bench.check()
    answer = aioice_stun.parse_message(bench.client.recv(2_000))
    assert answer.attributes["XOR-MAPPED-ADDRESS"] == bench.client.getsockname()
    await bench.deliver(b"\x80\x60rtp")
    assert bench.peer.rtp == [b"\x80\x60rtp"]
    bench.close()


async def test_what_the_kernel_dropped_is_known(bench: Bench) -> None:
    assert bench.port.receive_dropped() == 0
    bench.port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    for _ in range(50):  # the loop does not run meanwhile
        bench.client.send(bytes(1_000))
    assert 0 < bench.port.receive_dropped() < 50
    bench.port.close()
    assert bench.port.receive_dropped() == 0
