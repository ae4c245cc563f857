"""A media plane in a process of its own, and an authenticated peer in another that floods it."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from media import rtcp, rtp
from media.api import BOTH_KINDS, Answer, MediaConfig
from media.server import MediaPlane
from tests.media.callers import Caller, offer

WIDE_ID = 3
BURST = 200
"""Datagrams between two looks at the clock."""
REST_S = 0.002
"""The machine has other work too: some 50,000 datagrams a second are left."""
FILLING = b"\x10\x00" + bytes(1_000)

_spawn = multiprocessing.get_context("spawn")


class Plane:
    """The server's process, asked over a pipe."""

    def __init__(self) -> None:
        self.pipe, far = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(far,), daemon=True)
        self._process.start()
        far.close()

    def publish(self, name: str, sdp: str) -> Answer:
        return Answer(self._ask("publish", name, sdp), "", "")

    def watch(self, source: str, name: str, sdp: str) -> Answer:
        return Answer(self._ask("watch", source, name, sdp), "", "")

    def metrics(self) -> Any:
        return self._ask("metrics")

    def _ask(self, *words: str) -> Any:
        self.pipe.send(words)
        return self.pipe.recv()

    def close(self) -> None:
        self._process.terminate()
        self._process.join(10)


def _serve(pipe: Connection) -> None:
    asyncio.run(_answer(pipe))


async def _answer(pipe: Connection) -> None:
    config = MediaConfig("127.0.0.1", 0)
    plane = MediaPlane(config, clock_ns=time.monotonic_ns, on_event=lambda event: None)
    await plane.start()
    asked = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), asked.set)
    while True:
        await asked.wait()
        asked.clear()
        while pipe.poll():
            match pipe.recv():
                case ("publish", name, sdp):
                    answer = await plane.publish(name, sdp, allowed=BOTH_KINDS)
                    pipe.send(answer.sdp)
                case ("watch", source, name, sdp):
                    answer = await plane.watch(name, sdp)
                    plane.forward(source, name)
                    pipe.send(answer.sdp)
                case _:
                    pipe.send(plane.metrics())


# --- floods: endless plain packets ---------------------------------------------------------------


def packets() -> Iterator[bytes]:
    for number in itertools.count():
        yield rtp.build(96, False, number & 0xFFFF, number, 1, FILLING)


def ssrcs() -> Iterator[bytes]:
    for number in itertools.count(1):
        yield rtp.build(96, False, 7, 0, number, FILLING)


def transport_wide_leaps() -> Iterator[bytes]:
    for number in itertools.count():
        wide = (number * 1_999 & 0xFFFF).to_bytes(2, "big")
        block = rtp.build_extensions([(WIDE_ID, wide)])
        yield rtp.build(96, False, number & 0xFFFF, number, 1, FILLING, block)


def sender_reports() -> Iterator[bytes]:
    for number in itertools.count():
        yield rtcp.build_sr(1, number << 32, number, 0, 0) * rtcp.PACKETS_MAX


def gaps() -> Iterator[bytes]:
    for number in itertools.count():
        yield rtp.build(96, False, number * 100 & 0xFFFF, number, 1, FILLING)


def keyframe_requests(ssrc: int) -> Iterator[bytes]:
    return itertools.repeat(rtcp.build_rr(1) + rtcp.build_pli(1, ssrc) * (rtcp.PACKETS_MAX - 1))


def nacks(ssrc: int) -> Iterator[bytes]:
    full = rtcp.build_nack(1, ssrc, range(rtcp.NACKS_MAX))
    return itertools.repeat(rtcp.build_rr(1) + full * 8)


def compounds(ssrc: int) -> Iterator[bytes]:
    block = rtcp.ReportBlock(ssrc, 0, 0, 0, 0, 0, 0)
    return itertools.repeat(rtcp.build_rr(1, [block] * 31) * 2 + rtcp.build_bye(1))


OF_PUBLISHERS: dict[str, Callable[[], Iterator[bytes]]] = {
    made.__name__: made for made in (packets, ssrcs, gaps, transport_wide_leaps, sender_reports)
}
OF_VIEWERS: dict[str, Callable[[int], Iterator[bytes]]] = {
    made.__name__: made for made in (keyframe_requests, nacks, compounds)
}


def numbered(sdp: str) -> str:
    """The offer with transport-wide numbers."""
    extmap = f"a=extmap:{WIDE_ID} {rtp.URI_TRANSPORT_WIDE}\r\n"
    sdp = sdp.replace("a=rtpmap:96", f"{extmap}a=rtcp-fb:96 transport-cc\r\na=rtpmap:96")
    return sdp.replace("a=rtpmap:111", f"{extmap}a=rtpmap:111")


class Flooder:
    """The hostile peer's process. It has connected once this is made."""

    def __init__(self, kind: str, sdp: str) -> None:
        self._pipe, far = _spawn.Pipe()
        self._process = _spawn.Process(target=_flood, args=(far, kind, sdp), daemon=True)
        self._process.start()
        far.close()
        self._pipe.recv()

    def go(self) -> None:
        self._pipe.send("go")

    def stop(self) -> int:
        """How many datagrams it has sent."""
        self._pipe.send("stop")
        sent = int(self._pipe.recv())
        self._process.join(10)
        return sent


def _flood(pipe: Connection, kind: str, sdp: str) -> None:
    asyncio.run(_blast(pipe, kind, sdp))


async def _blast(pipe: Connection, kind: str, sdp: str) -> None:
    caller = await Caller(Answer(sdp, "", "")).connect()
    caller.send(rtcp.build_rr(1))
    pipe.send("ready")
    pipe.recv()
    if kind in OF_PUBLISHERS:
        stream = OF_PUBLISHERS[kind]()
    else:
        ssrc = int(sdp.rpartition("a=ssrc-group:FID ")[2].split()[0])
        stream = OF_VIEWERS[kind](ssrc)
    sent = 0
    while not pipe.poll():
        for plain in itertools.islice(stream, BURST):
            caller.send_raw(caller.protected(plain))
        sent += BURST
        await asyncio.sleep(REST_S)
    pipe.send(sent)


def offered(kind: str) -> str:
    """What the flooder offers."""
    if kind in OF_PUBLISHERS:
        return numbered(offer("sendonly"))
    return offer("recvonly")
