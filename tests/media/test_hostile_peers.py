"""What a peer with valid credentials can do: at most end its own call."""

import asyncio
import os
import socket

import pytest

from media.api import ADDRESSES_PER_PEER_MAX, BOTH_KINDS
from media.peer import PUBLISHER_PACKETS_PER_S
from media.stun import binding_request
from tests.media.callers import Caller, Stage, flowing, offer, publisher, rtp, viewer
from tests.turns import turn


async def seen_by(stage: Stage, datagrams: int) -> None:
    """Waits until the port has counted so many more than now."""
    goal = datagrams
    async with asyncio.timeout(5):
        while stage.plane.metrics().datagrams_in < goal:
            await turn()


async def flood(stage: Stage, caller: Caller, datagrams: list[bytes]) -> None:
    """Sends from the caller's own address, in bursts, and waits until all were seen."""
    for start in range(0, len(datagrams), 50):
        burst = datagrams[start : start + 50]
        goal = stage.plane.metrics().datagrams_in + len(burst)
        for datagram in burst:
            caller.send_raw(datagram)
        await seen_by(stage, goal)


async def test_junk_under_its_own_address_ends_no_call(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    junk = [bytes([first]) + os.urandom(size) for first in (22, 128, 191) for size in (0, 1, 60)]
    junk += [bytes([128, second]) + os.urandom(100) for second in range(256)]
    for caller in (sender, receiver):
        await flood(stage, caller, [*junk, b"", b"\x80" * 1_501])
    await flowing(sender, receiver, 2)
    assert stage.failures == 0


async def test_the_same_packet_three_times_arrives_once(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    packets = [sender.protected(rtp(sequence)) for sequence in range(1, 20)]
    await flood(stage, sender, [packet for packet in packets for _ in range(3)])
    await flowing(sender, receiver, 20)
    assert len(receiver.media()) == 20


async def test_a_publisher_far_above_its_rate_is_clipped_and_others_go_on(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    rude = await publisher(stage, "rude")
    stage.plane.forward("source", "viewer")
    packet = b"\x80\x60" + os.urandom(60)
    await flood(stage, rude, [packet] * (2 * PUBLISHER_PACKETS_PER_S))
    assert stage.plane.metrics().dropped_flood > 0
    await flowing(sender, receiver, 1)


async def test_addresses_of_one_peer_are_bounded(stage: Stage) -> None:
    receiver = await viewer(stage)
    sockets = []
    for number in range(3 * ADDRESSES_PER_PEER_MAX):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sockets.append(sock)
        goal = stage.plane.metrics().datagrams_in + 1
        check = binding_request(
            number.to_bytes(12), receiver.username.encode(), receiver.password.encode()
        )
        sock.sendto(check, receiver.server)
        await seen_by(stage, goal)
    assert stage.addresses == ADDRESSES_PER_PEER_MAX
    sender = await publisher(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    for sock in sockets:
        sock.close()


async def test_dtls_junk_in_its_own_handshake_costs_only_itself(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    caller = Caller(await stage.plane.publish("other", offer("sendonly"), allowed=BOTH_KINDS))
    await caller.ice()
    await flood(stage, caller, [b"\x16" + os.urandom(300) for _ in range(700)])
    await flowing(sender, receiver, 1)
    assert stage.failures == 0


@pytest.mark.parametrize("size", [2, 8, 12, 20, 28])
async def test_signed_rtcp_of_any_content_is_survived(stage: Stage, size: int) -> None:
    """S5 of the known faults: well protected nonsense from a peer that may send."""
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    for packet_type in range(200, 208):
        for count in (0x80, 0x81, 0x8F, 0x9F, 0xA1):
            plain = bytes([count, packet_type]) + os.urandom(6 + size)
            sender.send(plain)
            receiver.send(plain)
    await flowing(sender, receiver, 1)
    assert stage.failures == 0


async def test_signed_rtp_with_any_header_is_survived(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    for sequence in range(400):
        tail = os.urandom(40)
        first = 0x80 | sequence % 64
        # libsrtp itself refuses headers longer than the packet; the rest must be survived by us.
        plain = bytes([first]) + rtp(sequence)[1:12] + tail
        try:
            sender.send(plain)
        except AssertionError:
            continue
    await flowing(sender, receiver, 400)
    assert stage.failures == 0


async def test_many_ssrcs_do_not_grow_the_server(stage: Stage) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    packets = [sender.protected(rtp(1, ssrc=ssrc)) for ssrc in range(10_000, 11_000)]
    await flood(stage, sender, packets)
    await flowing(sender, receiver, 2)
    assert stage.failures == 0


async def test_candidates_in_an_offer_draw_no_packet(stage: Stage) -> None:
    """ICE as a cannon: the server answers checks and never sends where an offer points."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 0))
        victim.setblocking(False)
        port = victim.getsockname()[1]
        candidates = "".join(
            f"a=candidate:{n} 1 udp {n} 127.0.0.1 {port} typ host\r\n" for n in range(1, 201)
        )
        answer = await stage.plane.publish(
            "source", offer("sendonly", setup="passive") + candidates, allowed=BOTH_KINDS
        )
        sender, receiver = await Caller(answer).connect(), await viewer(stage)
        stage.plane.forward("source", "viewer")
        await flowing(sender, receiver, 1)
        with pytest.raises(BlockingIOError):
            victim.recv(1)
