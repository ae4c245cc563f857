"""An authenticated peer floods with all it has; another publisher's packets come as ever."""

import asyncio
import struct
import time
from collections.abc import Iterator

import pytest

from media.api import Answer
from tests.e2e.bare import Ear
from tests.e2e.flooding import OF_PUBLISHERS, OF_VIEWERS, Flooder, Plane, offered
from tests.media.callers import Caller, offer, rtp

pytestmark = pytest.mark.alone

DELAY_P99_MS_MAX = 50.0
SECONDS = 2.0
EVERY_S = 0.005
SENT_PER_S_MIN = 4_000
"""More than any peer may; a flooder that numbers thousands of streams is itself slow."""
LABEL = b"fine"


class Delays(Ear):
    """A viewer that notes how long each packet was on its way, by the kernel's clock."""

    def __init__(self, answer: Answer) -> None:
        self.delays_ms: list[float] = []
        super().__init__(answer)

    def on_media(self, data: bytes) -> None:
        before = len(self.heard)
        super().on_media(data)
        for heard in self.heard[before:]:
            if heard.label == LABEL:
                self.delays_ms.append((heard.at_s - self.sent_s[heard.number]) * 1_000)

    sent_s: dict[int, float]


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    made = Plane()
    yield made
    made.close()


@pytest.mark.parametrize("kind", [*OF_PUBLISHERS, *OF_VIEWERS])
async def test_a_flood_delays_nobody_else(plane: Plane, kind: str) -> None:
    source = f"expert-{kind}"
    publisher = await Caller(plane.publish(source, offer("sendonly"))).connect()
    viewer = Delays(plane.watch(source, f"guest-{kind}", offer("recvonly")))
    viewer.sent_s = {}
    await viewer.connect()
    if kind in OF_PUBLISHERS:
        answer = plane.publish(f"flooder-{kind}", offered(kind))
    else:
        answer = plane.watch(source, f"flooder-{kind}", offered(kind))
    flooder = await asyncio.to_thread(Flooder, kind, answer.sdp)
    number = 0

    async def talk(seconds: float) -> list[float]:
        nonlocal number
        del viewer.delays_ms[:]
        end_s, first = time.monotonic() + seconds, number
        while time.monotonic() < end_s:
            number += 1
            payload = b"\x10\x00" + bytes(900) + LABEL + struct.pack("!I", number)
            datagram = publisher.protected(rtp(number & 0xFFFF, payload=payload))
            viewer.sent_s[number] = time.time()
            publisher.send_raw(datagram)
            await asyncio.sleep(EVERY_S)
        await asyncio.sleep(0.2)
        viewer.drain()
        assert len(viewer.delays_ms) >= 0.99 * (number - first)
        return sorted(viewer.delays_ms)

    await talk(0.3)
    flooder.go()
    delays_ms = await talk(SECONDS)
    sent = await asyncio.to_thread(flooder.stop)
    p99_ms = delays_ms[len(delays_ms) * 99 // 100]
    print(
        f"{kind}: {sent / SECONDS:,.0f} datagrams a second;"
        f" delay p50 {delays_ms[len(delays_ms) // 2]:.2f} ms, p99 {p99_ms:.2f} ms,"
        f" max {delays_ms[-1]:.2f} ms, {len(delays_ms)} packets"
    )
    publisher.vanish()
    viewer.vanish()
    assert sent / SECONDS >= SENT_PER_S_MIN
    assert p99_ms <= DELAY_P99_MS_MAX
