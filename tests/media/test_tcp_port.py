"""ICE-TCP on the media port's number: the same calls, and what strangers and slow readers get."""

import asyncio
import errno
import itertools
import socket
from collections.abc import Callable

import pytest

from media import tcp_port
from media.api import BOTH_KINDS, Kind, MediaConfig, ViewerGone
from media.framing import framed
from media.outbox import OUTBOX_BYTES_MAX
from media.strangers import STRANGER_BYTES_MAX, STRANGERS_PER_NETWORK_MAX
from media.stun import binding_request
from tests.media.callers import (
    WAIT_S,
    Caller,
    Stage,
    TcpCaller,
    flowing,
    offer,
    publisher,
    rtp,
    staged,
    viewer,
)
from tests.turns import turn


async def until(condition: Callable[[], bool]) -> None:
    """Lets the loop run until it is so."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await turn()


class UdpFirst(TcpCaller):
    """A client that may go to TCP later."""

    tcp = False


def connections(stage: Stage) -> int:
    return len(stage.plane._tcp)


async def stranger(stage: Stage, host: str = "127.0.0.1") -> socket.socket:
    """A connection that has said nothing yet."""
    before = stage.plane._tcp._count
    sock = socket.create_connection((host, stage.plane.port))
    sock.setblocking(False)
    await until(lambda: stage.plane._tcp._count > before)
    return sock


async def hears(sock: socket.socket) -> bytes | None:
    """Everything until the end of the connection; None while it is open and silent."""
    await turn()
    heard = b""
    try:
        while data := sock.recv(65_536):
            heard += data
    except BlockingIOError:
        return None
    except ConnectionResetError:
        pass
    return heard


def sequences(caller: Caller) -> list[int]:
    """The video packets' numbers in the order in which they came."""
    return [int.from_bytes(p[2:4]) for p in caller.media() if p[1] & 0x7F == 96]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_call_with_both_ends_on_tcp(host: str) -> None:
    async with staged(MediaConfig(host, 0)) as stage:
        sender = await publisher(stage, caller=TcpCaller)
        receiver = await viewer(stage, caller=TcpCaller)
        stage.plane.forward("source", "viewer")
        for number in range(1, 60):
            sender.send(rtp(number))
        await receiver.until(lambda: len(receiver.media()) == 59)
        got = sequences(receiver)
        assert got == list(range(got[0], got[0] + 59))
        sender.hang_up()
        await until(
            lambda: stage.plane.source_state("source") is None or not stage.plane._publishers
        )


async def test_an_ipv4_client_of_a_dual_stack_server() -> None:
    async with staged(MediaConfig("::", 0, advertised=("127.0.0.1",))) as stage:
        sender = await publisher(stage, caller=TcpCaller)
        receiver = await viewer(stage, caller=TcpCaller)
        stage.plane.forward("source", "viewer")
        await flowing(sender, receiver, 1)
        receiver.tcp = False
        await receiver.move()
        await flowing(sender, receiver, 2)


async def test_a_viewer_goes_to_tcp_and_back_and_misses_nothing(stage: Stage) -> None:
    sender, witness = await publisher(stage), await viewer(stage, "witness")
    receiver = await viewer(stage, caller=UdpFirst)
    stage.plane.forward("source", "viewer")
    stage.plane.forward("source", "witness")
    await flowing(sender, receiver, 1)
    tracks = stage.plane._running()._sources["source"].tracks
    fan = next(track.fan for track in tracks if track.kind is Kind.VIDEO)
    assert len(fan) == 2
    source = itertools.count(2)
    for tcp in (True, True, False, False, True):
        receiver.tcp = tcp
        await receiver.move()
        for _ in range(10):
            await flowing(sender, receiver, next(source))
        assert len(fan) == (1 if tcp else 2), "datagrams are fanned out, streams are not"
    got = sequences(receiver)
    assert got == list(range(got[0], got[0] + len(got)))
    assert len(witness.media()) == 51


async def test_a_publisher_goes_to_tcp_and_back(stage: Stage) -> None:
    sender, receiver = await publisher(stage, caller=TcpCaller), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    sender.tcp = False
    await sender.move()
    await flowing(sender, receiver, 2)
    sender.tcp = True
    await sender.move()
    await flowing(sender, receiver, 3)


async def test_feedback_comes_over_tcp_too(stage: Stage) -> None:
    sender = await publisher(stage, caller=TcpCaller)
    receiver = await viewer(stage, caller=TcpCaller)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    stage.skip(1.1)
    await receiver.until(lambda: any(p[1] == 200 for p in receiver.received))
    await sender.until(lambda: any(p[1] == 201 for p in sender.received))


async def test_a_lost_connection_ends_nothing_and_the_next_check_goes_on(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage, caller=TcpCaller)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    receiver.vanish()
    await until(lambda: connections(stage) == 0)
    assert stage.addresses == 1  # the publisher's
    sender.send(rtp(2))
    receiver.socket = receiver._new_socket()
    await receiver.ice()
    await flowing(sender, receiver, 3)


async def test_media_falls_back_to_the_other_address_of_the_peer(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    second = TcpCaller(receiver.answer)
    await second.ice()
    await until(lambda: connections(stage) == 1)
    second.vanish()
    await until(lambda: connections(stage) == 0)
    await flowing(sender, receiver, 2)


async def test_rows_rule_over_tcp_as_over_udp(stage: Stage) -> None:
    sender, witness = await publisher(stage), await viewer(stage, "witness")
    receiver = await viewer(stage, caller=TcpCaller)
    stage.plane.forward("source", "witness")
    await flowing(sender, witness, 1)
    assert receiver.media() == []
    gate = stage.plane.forward_gated("source", "viewer", BOTH_KINDS)
    await flowing(sender, witness, 2)
    assert receiver.media() == []
    gate.open_until(stage.clock_ns() + 10**12)
    await flowing(sender, receiver, 3)
    gate.open_until(0)
    count = len(receiver.media())
    await flowing(sender, witness, 4)
    stage.plane.stop("source", "viewer")
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 5)
    stage.plane.stop("source", "viewer")
    before = len(receiver.media())
    await flowing(sender, witness, 6)
    await receiver.ice()  # its answer comes after whatever was sent before
    assert len(receiver.media()) == before > count


async def test_leaving_ends_the_connection(stage: Stage) -> None:
    receiver = await viewer(stage, caller=TcpCaller)
    assert connections(stage) == 1
    stage.plane.close_viewer("viewer", "left")
    stage.skip(0.5)
    assert connections(stage) == 0
    assert receiver.socket.fileno() >= 0


async def test_silence_over_tcp_ends_after_thirty_seconds_too(stage: Stage) -> None:
    receiver = await viewer(stage, caller=TcpCaller)
    stage.skip(20)
    await receiver.ice()
    stage.skip(20)
    assert stage.plane.has_viewer("viewer")
    stage.skip(11)
    assert (await stage.wait_for(ViewerGone)).reason == "consent_lost"
    stage.skip(0.5)
    assert connections(stage) == 0


# --- strangers -----------------------------------------------------------------------------------


async def test_strangers_hear_nothing_and_are_hung_up_on(stage: Stage) -> None:
    wrong = binding_request(bytes(12), b"nobody:client", b"not the password......")
    for opening in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", bytes(4_000)):
        sock = await stranger(stage)
        sock.send(opening)
        await until(lambda: connections(stage) == 0)
        assert await hears(sock) == b""
        sock.close()
    sock = await stranger(stage)
    for packet in (wrong, b"\x80\x60rtp", b"\x16dtls", b"\x01junk", b"\xff"):
        sock.send(framed(packet))
    await until(lambda: stage.plane._port.counters.dropped_stun == 2)
    await until(lambda: stage.plane._port.counters.dropped_first_byte == 1)
    assert stage.plane._port.counters.dropped_unknown_address == 2
    assert await hears(sock) is None
    stage.skip(9.9)
    assert connections(stage) == 1
    stage.skip(0.2)
    assert connections(stage) == 0
    assert await hears(sock) == b""
    assert stage.failures == 0
    sock.close()


async def test_a_stranger_may_say_only_so_much(stage: Stage) -> None:
    sock = await stranger(stage)
    wrong = framed(binding_request(bytes(12), b"nobody:client", b"not the password......"))
    for _ in range(STRANGER_BYTES_MAX // len(wrong) - 1):
        sock.send(wrong)
    assert await hears(sock) is None
    sock.send(wrong * 2)
    await until(lambda: connections(stage) == 0)
    assert await hears(sock) == b""
    sock.close()


async def test_a_crowd_of_silent_connections_keeps_nobody_out(stage: Stage) -> None:
    crowd = [await stranger(stage) for _ in range(2 * STRANGERS_PER_NETWORK_MAX)]
    assert connections(stage) == STRANGERS_PER_NETWORK_MAX
    sender = await publisher(stage, caller=TcpCaller)
    receiver = await viewer(stage, caller=TcpCaller)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    assert await hears(crowd[0]) == b""
    for sock in crowd:
        sock.close()


async def test_a_flood_of_connections_waits_for_the_next_sweep(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_port, "ACCEPTS_PER_SWEEP", 5)
    tcp = stage.plane._tcp
    sweep = tcp.sweep
    monkeypatch.setattr(tcp, "sweep", lambda now_ns: None)  # the plane's own, in real time
    sweep(stage.clock_ns())
    flood = [socket.create_connection(("127.0.0.1", stage.plane.port)) for _ in range(9)]
    before = tcp._count
    await until(lambda: tcp._count == before + 5)
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)  # over UDP
    assert tcp._count == before + 5
    sweep(stage.clock_ns())
    await until(lambda: tcp._count == before + 9)
    for sock in flood:
        sock.close()


async def test_connections_of_one_peer_are_bounded(stage: Stage) -> None:
    receiver = await viewer(stage)
    more = [TcpCaller(receiver.answer) for _ in range(20)]
    for caller in more:
        await caller.ice()
    stage.skip(0.5)
    assert connections(stage) <= 8


async def test_connections_of_one_peer_keep_nobody_out_meanwhile(stage: Stage) -> None:
    stage.plane._tcp._connections_max = 12
    receiver = await viewer(stage)
    for _ in range(20):
        await TcpCaller(receiver.answer).ice()
    assert connections(stage) <= 12
    await viewer(stage, "another", caller=TcpCaller)


# --- slow readers --------------------------------------------------------------------------------


async def test_a_viewer_who_does_not_read_costs_nobody_anything(stage: Stage) -> None:
    sender, witness = await publisher(stage), await viewer(stage, "witness")
    slow = await viewer(stage, "slow", caller=TcpCaller)
    stage.plane.forward("source", "slow")
    stage.plane.forward("source", "witness")
    await flowing(sender, slow, 1)
    asyncio.get_running_loop().remove_reader(slow.socket.fileno())
    [link] = [peer.link for peer in stage.plane._peers() if peer.names.id == "slow"]
    outbox = link.destination.stream._outbox
    sequence = itertools.count(2)
    dropped = stage.plane.metrics().dropped_send_full
    while stage.plane._running()._sender.dropped_stream < 50:
        for _ in range(20):
            sender.send(rtp(next(sequence), payload=b"\x10\x00" + bytes(1_100)))
        await flowing(sender, witness, next(sequence))
        assert outbox.bytes <= OUTBOX_BYTES_MAX
    assert stage.plane.metrics().dropped_send_full == dropped
    assert stage.plane.metrics().dropped_stream_full >= 50
    assert stage.plane.metrics().tcp_connections == 1
    assert len(witness.media()) == next(sequence) - 1, "the others got every packet"
    asyncio.get_running_loop().add_reader(slow.socket.fileno(), slow._on_readable, slow.socket)
    await until(lambda: outbox.bytes == 0)
    await flowing(sender, slow, next(sequence))


async def test_what_a_cut_connection_does_not_take_is_not_forwarded(stage: Stage) -> None:
    """The gate counts held media: a viewer who gets nothing does not pay for it."""
    sender = await publisher(stage)
    receiver = await viewer(stage, caller=TcpCaller)
    gate = stage.plane.forward_gated("source", "viewer", BOTH_KINDS)
    gate.open_until(stage.clock_ns() + 10**12)
    await flowing(sender, receiver, 1)
    asyncio.get_running_loop().remove_reader(receiver.socket.fileno())
    [link] = [peer.link for peer in stage.plane._peers() if peer.names.id == "viewer"]
    stream = link.destination.stream
    sequence = itertools.count(2)
    while not stream._waiting:
        sender.send(rtp(next(sequence), payload=b"\x10\x00" + bytes(1_100)))
        await turn()
    stage.shift_ns += 1_100_000_000
    sender.send(rtp(next(sequence)))
    await until(lambda: stream._outbox.stalled)
    last_ns = gate.last_forwarded_ns
    seen = stage.plane._port.counters.datagrams
    for _ in range(20):
        sender.send(rtp(next(sequence)))
    await until(lambda: stage.plane._port.counters.datagrams == seen + 20)
    assert gate.last_forwarded_ns == last_ns
    asyncio.get_running_loop().add_reader(
        receiver.socket.fileno(), receiver._on_readable, receiver.socket
    )
    await until(lambda: not stream._waiting)
    await flowing(sender, receiver, next(sequence))
    assert gate.last_forwarded_ns > last_ns


# --- opening -------------------------------------------------------------------------------------


async def test_a_busy_tcp_port_is_told_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        plane = Stage(MediaConfig("127.0.0.1", taken.getsockname()[1])).plane
        with pytest.raises(OSError, match="in use") as caught:
            await plane.start()
        assert (caught.value.errno, caught.value.filename) == (errno.EADDRINUSE, "TCP")
        with pytest.raises(RuntimeError):
            _ = plane.port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as busy:
        busy.bind(("127.0.0.1", 0))
        plane = Stage(MediaConfig("127.0.0.1", busy.getsockname()[1])).plane
        with pytest.raises(OSError, match="in use") as caught:
            await plane.start()
        assert caught.value.filename == "UDP"


async def test_any_number_means_one_that_is_free_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    opened = stage.plane._tcp.open
    tries = []

    def busy_at_first(host: str, port: int) -> None:
        tries.append(port)
        if len(tries) < 3:
            raise OSError(errno.EADDRINUSE, "in use")
        opened(host, port)

    monkeypatch.setattr(stage.plane._tcp, "open", busy_at_first)
    try:
        await stage.plane.start()
        assert len(tries) == 3
        assert stage.plane.port == tries[-1]
    finally:
        await stage.plane.close()


async def test_answers_name_both_ways(stage: Stage) -> None:
    answer = await stage.plane.watch("viewer", offer("recvonly"))
    port = stage.plane.port
    assert f" udp 2130706431 127.0.0.1 {port} typ host\r\n" in answer.sdp
    assert f" 127.0.0.1 {port} typ host tcptype passive\r\n" in answer.sdp
