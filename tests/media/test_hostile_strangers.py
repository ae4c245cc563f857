"""What a stranger can send to the port while a call is set up or lives: nothing changes."""

import asyncio
import os
import random
import socket
import struct
from collections.abc import Iterator

import pytest
from aioice import stun as aioice_stun

from media.aiortc_seam import DtlsSrtp, Fingerprint, new_certificate
from media.api import BOTH_KINDS
from media.stun import binding_request
from tests.media.callers import Caller, Stage, flowing, offer, publisher, rtp, viewer

DTLS_HEAD = b"\x16\xfe\xff\x00\x00\x00\x00\x00\x00\x00\x00"
DATAGRAM_BYTES_MAX = 65_000


async def client_hello() -> bytes:
    """A real one, with our own certificate and ciphers: the race for somebody else's call."""
    caught: list[bytes] = []
    dtls = DtlsSrtp(new_certificate(), server=False, send=caught.append)
    fingerprints = [Fingerprint("sha-256", ":".join(["00"] * 32))]
    running = asyncio.ensure_future(dtls.handshake(fingerprints))
    while not caught:
        await asyncio.sleep(0)
    dtls.close()
    await running
    return caught[0]


def bad_client_hello() -> bytes:
    """A ClientHello whose only cipher nobody takes (NULL), as in the published race."""
    body = b"\xfe\xfd" + bytes(32) + b"\x00\x00" + b"\x00\x02\x00\x00" + b"\x01\x00"
    handshake = b"\x01" + len(body).to_bytes(3) + b"\x00\x00\x00\x00\x00" + len(body).to_bytes(3)
    record = handshake + body
    return DTLS_HEAD + len(record).to_bytes(2) + record


def attacks() -> Iterator[tuple[str, list[bytes]]]:
    chance = random.Random(20)
    yield "F1 empty", [b""] * 20
    yield "F2 oversized", [bytes([first]) * size for first in (128, 191) for size in (1_501, 9_000)]
    yield "F2 largest", [b"\x80" * DATAGRAM_BYTES_MAX]
    yield "F3 ClientHello", [asyncio.run(client_hello())] * 20
    yield "F3 bad ClientHello", [bad_client_hello()] * 20
    yield "F3 alert", [b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28"] * 20
    yield "F3 close_notify", [b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x01\x00"] * 20
    yield "F3 junk handshake", [DTLS_HEAD + b"\x05\x00" + os.urandom(1_280)] * 20
    yield "F4 flood", [b"\x16" + os.urandom(1_199)] * 1_000
    yield "F4 media flood", [b"\x80\x60" + os.urandom(1_198)] * 1_000
    yield "F5 malformed STUN", [malformed_stun(chance) for _ in range(300)]
    yield "forged checks", forged_checks()
    yield "every first byte", [bytes([first]) + os.urandom(30) for first in range(256)]
    yield "single bytes", [bytes([first]) for first in range(256)]
    yield "RTCP BYE", [b"\x81\xcb\x00\x01" + struct.pack("!I", 4711)] * 20


def malformed_stun(chance: random.Random) -> bytes:
    """Mutations of a well-formed request, as in the published fuzzing."""
    good = bytearray(binding_request(bytes(12), b"aaaa:bbbb", b"a-password-of-22-chars"))
    for _ in range(chance.randint(1, 6)):
        good[chance.randrange(len(good))] = chance.randrange(256)
    return bytes(good[: chance.randint(1, len(good))])


def forged_checks() -> list[bytes]:
    """Right in everything but what a stranger cannot know."""
    return [
        binding_request(bytes(12), username, password, use_candidate=True)
        for username in (b"a:b", b"client:client", b"0123456789abcdef:client", b":client")
        for password in (b"client-password-0123456789", b"0" * 32)
    ]


ATTACKS = dict(attacks())


class Stranger:
    """A socket that sends and notes whether anybody answers."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", stage.plane.port))
        self.socket.setblocking(False)

    async def attack(self, datagrams: list[bytes]) -> None:
        """Sends them all, in bursts that fit the buffers, and waits until they were seen."""
        for start in range(0, len(datagrams), 50):
            burst = datagrams[start : start + 50]
            seen = self._stage.plane.metrics().datagrams_in
            for datagram in burst:
                self.socket.send(datagram)
            async with asyncio.timeout(5):
                while self._stage.plane.metrics().datagrams_in < seen + len(burst):
                    await asyncio.sleep(0)

    def heard(self) -> int:
        """How many datagrams came back."""
        count = 0
        while True:
            try:
                self.socket.recv(65_536)
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def stranger(stage: Stage) -> Iterator[Stranger]:
    made = Stranger(stage)
    yield made
    made.socket.close()


@pytest.mark.parametrize("name", list(ATTACKS))
async def test_a_live_call_does_not_notice(stage: Stage, stranger: Stranger, name: str) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    events, addresses = list(stage.events), stage.addresses
    await stranger.attack(ATTACKS[name])
    await flowing(sender, receiver, 2)
    assert len(receiver.media()) == 2
    assert stranger.heard() == 0
    assert stage.events == events
    assert (stage.addresses, stage.failures) == (addresses, 0)
    assert stage.plane.metrics().dtls_failures == 0


@pytest.mark.parametrize("name", [n for n in ATTACKS if "flood" not in n])
@pytest.mark.parametrize("setup", ["actpass", "passive"])
async def test_a_call_being_set_up_does_not_notice(
    stage: Stage, stranger: Stranger, name: str, setup: str
) -> None:
    """The race: the stranger is there before ICE, between ICE and DTLS, and within DTLS."""
    await stranger.attack(ATTACKS[name])
    answer = await stage.plane.publish("source", offer("sendonly", setup=setup), allowed=BOTH_KINDS)
    await stranger.attack(ATTACKS[name])
    caller = Caller(answer)
    await caller.ice()
    await stranger.attack(ATTACKS[name])
    connecting = asyncio.ensure_future(caller.connect())
    await asyncio.sleep(0)
    await stranger.attack(ATTACKS[name])
    sender = await connecting
    receiver = await viewer(stage)
    stage.plane.forward("source", "viewer")
    await flowing(sender, receiver, 1)
    assert stranger.heard() == 0
    assert stage.failures == 0


async def test_a_flood_before_any_check_leaves_no_memory_behind(
    stage: Stage, stranger: Stranger
) -> None:
    answer = await stage.plane.watch("viewer", offer("recvonly"))
    await stranger.attack([b"\x16" + bytes(1_199)] * 5_000)
    caller = Caller(answer)
    queue = stage.plane._viewers["viewer"]._dtls._pipe._queue
    assert len(queue) == 0
    await caller.connect()


async def test_captured_media_sent_again_by_a_stranger_reaches_nobody(
    stage: Stage, stranger: Stranger
) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    captured = [sender.protected(rtp(sequence)) for sequence in range(1, 4)]
    await stranger.attack(captured)
    assert receiver.media() == []
    sender.send_raw(captured[0])
    await receiver.until(receiver.media)


async def test_a_captured_check_sent_again_by_a_stranger_draws_nothing(
    stage: Stage, stranger: Stranger
) -> None:
    sender, receiver = await publisher(stage), await viewer(stage)
    stage.plane.forward("source", "viewer")
    captured = receiver.check()
    await receiver.until(lambda: receiver.stun_answers >= 2)
    await stranger.attack([captured])
    await flowing(sender, receiver, 1)
    assert stranger.heard() == 0


async def test_silence_is_kept_towards_unsigned_requests(stage: Stage, stranger: Stranger) -> None:
    """No reflector: not a byte back, whatever another implementation would answer."""
    message = aioice_stun.Message(
        message_method=aioice_stun.Method.BINDING, message_class=aioice_stun.Class.REQUEST
    )
    await stranger.attack([bytes(message)])
    message.add_fingerprint()
    await stranger.attack([bytes(message)])
    assert stranger.heard() == 0
