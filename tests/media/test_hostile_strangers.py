"""What a stranger can send to the port while a call is set up or lives: nothing changes."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from aioice import stun as aioice_stun

from media.api import BOTH_KINDS
from tests.media.attacks import ATTACKS
from tests.media.callers import Caller, Stage, flowing, offer, publisher, rtp, viewer
from tests.turns import turn


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
                    await turn()

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
    await turn()
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
    assert stage.plane._viewers["viewer"]._dtls._connection is None
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
