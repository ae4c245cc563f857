"""`parlour watch`: receives a stream over WHEP, counts what arrives, keeps nothing of it."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import uvloop

from clients import _whip
from clients._aiortc_seam import receive_into
from clients._counting import CountingSink, Counts
from clients._failures import EXIT_FAILED, EXIT_OK, ClientFailure
from clients._peer import close_peer, make_offer, new_peer, take_answer, wait_connected

TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What `parlour watch` was asked for; `key` is a bearer token, none for a public stream."""

    url: str
    seconds: float | None = None
    as_json: bool = False
    insecure: bool = False
    """Take any certificate."""
    key: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class WatchSummary:
    """What arrived: totals by kind ("video", "audio"), and per second what was new in it."""

    seconds: float = 0.0
    connected_ms: int = 0
    tracks: dict[str, Counts] = field(default_factory=dict)
    per_second: list[dict[str, dict[str, int]]] = field(default_factory=list)

    @property
    def packets(self) -> int:
        """Over all tracks."""
        return sum(counts.packets for counts in self.tracks.values())


Say = Callable[[str], None]


def run(options: WatchOptions) -> int:
    """The whole command; returns its exit code: 1 if nothing at all arrived."""
    try:
        return uvloop.run(_run_until_signal(options))
    except KeyboardInterrupt:
        return EXIT_OK


async def _run_until_signal(options: WatchOptions) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def say(text: str) -> None:
        print(text, file=sys.stderr if options.as_json else sys.stdout, flush=True)

    try:
        summary = await watch(options, stop=stop, say=say)
    except ClientFailure as failure:
        if options.as_json:
            print(json.dumps({"error": {"code": failure.code, "message": str(failure)}}))
        print(f"parlour watch: {failure}", file=sys.stderr)
        return failure.exit_code
    if options.as_json:
        print(json.dumps(asdict(summary)))
    return EXIT_OK if summary.packets else EXIT_FAILED


async def watch(options: WatchOptions, *, stop: asyncio.Event, say: Say) -> WatchSummary:
    """Watch until `stop`, `options.seconds` or the end of the connection; raises ClientFailure.

    A connection that the server ends is an end, not a failure: what was counted is returned.
    """
    _whip.check_address(options.url)
    begun_s = time.monotonic()
    viewer = _Viewer(lambda: round((time.monotonic() - begun_s) * 1000))
    resource: _whip.Resource | None = None
    async with _whip.new_http(insecure=options.insecure) as http:
        try:
            offer = await viewer.offer()
            resource = await _whip.post_offer(http, options.url, options.key, offer, watching=True)
            await viewer.connect(resource.answer_sdp)
            return await viewer.count(stop, options.seconds, say)
        finally:
            if resource is not None:
                await _whip.end(http, resource, options.key)
            await viewer.close()


class _Viewer:
    """One receiving peer connection and its two counters."""

    def __init__(self, elapsed_ms: Callable[[], int]) -> None:
        self._elapsed_ms = elapsed_ms
        self._peer = new_peer()
        self._sinks: dict[str, CountingSink] = {}
        for kind in ("video", "audio"):
            transceiver = self._peer.addTransceiver(kind, direction="recvonly")
            sink = CountingSink(transceiver, elapsed_ms)
            receive_into(transceiver, sink)
            self._sinks[kind] = sink

    async def offer(self) -> str:
        return await make_offer(self._peer)

    async def connect(self, answer_sdp: str) -> None:
        await take_answer(self._peer, answer_sdp)
        await wait_connected(self._peer)

    async def count(self, stop: asyncio.Event, seconds: float | None, say: Say) -> WatchSummary:
        summary = WatchSummary(connected_ms=self._elapsed_ms())
        begun_s = due_s = time.monotonic()
        end_s = math.inf if seconds is None else begun_s + seconds
        before = self._snapshot()
        while due_s < end_s and not stop.is_set() and self._peer.connectionState == "connected":
            # By what is due, not by the clock: a timer may come a millisecond early.
            due_s = min(due_s + TICK_S, end_s)
            try:
                await asyncio.wait_for(stop.wait(), due_s - time.monotonic())
            except TimeoutError:
                for sink in self._sinks.values():
                    await sink.report()
            after = self._snapshot()
            second = {kind: _difference(before[kind], after[kind]) for kind in after}
            summary.per_second.append(second)
            say(_line(len(summary.per_second), after, second))
            before = after
        for sink in self._sinks.values():
            sink.settle()
        summary.seconds = round(time.monotonic() - begun_s, 3)
        summary.tracks = self._snapshot()
        for text in _closing_lines(summary):
            say(text)
        return summary

    async def close(self) -> None:
        await close_peer(self._peer)

    def _snapshot(self) -> dict[str, Counts]:
        return {kind: replace(sink.counts) for kind, sink in self._sinks.items()}


def _difference(before: Counts, after: Counts) -> dict[str, int]:
    names = ("packets", "bytes", "lost", "retransmitted", "keyframes")
    return {name: getattr(after, name) - getattr(before, name) for name in names}


def _line(second: int, totals: dict[str, Counts], new: dict[str, dict[str, int]]) -> str:
    parts = [
        f"{kind} {totals[kind].codec or '-':5} {new[kind]['packets']:4} packets"
        f" {new[kind]['bytes'] * 8 / 1000:7.1f} kbit lost {new[kind]['lost']}"
        f" keyframes {new[kind]['keyframes']}"
        for kind in totals
    ]
    return f"{second:4} s  " + " | ".join(parts)


def _closing_lines(summary: WatchSummary) -> list[str]:
    lines = [f"connected after {summary.connected_ms} ms, watched {summary.seconds:.1f} s"]
    for kind, counts in summary.tracks.items():
        if counts.first_packet_ms is None:
            lines.append(f"{kind}: nothing arrived")
            continue
        lines.append(
            f"{kind}: {counts.codec}, {counts.packets} packets, {counts.bytes} bytes,"
            f" {counts.lost} lost, {counts.retransmitted} retransmitted,"
            f" {counts.keyframes} keyframes, first packet after {counts.first_packet_ms} ms"
        )
    return lines
