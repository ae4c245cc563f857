"""`parlour publish`: a camera, a file, an RTSP camera or a generated picture, sent over WHIP.

One connection is one line of code to follow: open the input, offer, connect, feed, DELETE
(`_one_connection`). Around it, `publish` repairs what waiting can repair.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import aiohttp
import uvloop
from aiortc import MediaStreamTrack, RTCRtpTransceiver
from aiortc.mediastreams import MediaStreamError

from clients import _whip
from clients._aiortc_seam import negotiated_codecs, on_feedback, prefer_codec
from clients._containers import CodecChoice, InputOptions, is_live, open_source, shown
from clients._encoders import AnyPacket
from clients._failures import (
    EXIT_OK,
    ClientFailure,
    CodecUnsupported,
    ConnectionLost,
    InputUnreadable,
    KeyMissing,
    ServerRefused,
)
from clients._peer import close_peer, make_offer, new_peer, take_answer, wait_connected
from clients._sources import Kind, Source

FEEDBACK_SILENCE_S = 10.0
"""A server reports every second or so. ICE itself notices a dead one only after half a minute."""
SUPERVISION_INTERVAL_S = 0.5
RETRY_FIRST_S, RETRY_MAX_S = 0.5, 15.0
QUEUE_PACKETS_MAX = 256
"""About four seconds of both tracks; a connection that far behind will not catch up."""


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """What `parlour publish` was asked for. `key` is the expert's stream key."""

    input: str
    whip_url: str
    key: str = field(default="", repr=False)
    loop: bool = False
    seconds: float | None = None
    once: bool = False
    """Give up at the first failure instead of trying again."""
    codec: CodecChoice = "auto"
    bits_per_s: int | None = None
    as_json: bool = False
    insecure: bool = False
    """Take any certificate."""


@dataclass(slots=True)
class PublishSummary:
    """What was sent, over all connections."""

    connections: int = 0
    seconds: float = 0.0
    packets: dict[str, int] = field(default_factory=dict)
    """Encoded frames handed over, by kind; each becomes one or more RTP packets."""
    bytes: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    codecs: dict[str, str] = field(default_factory=dict)
    passed: dict[str, bool] = field(default_factory=dict)
    """By kind, whether the packets went out without being encoded anew."""


Say = Callable[[str], None]


def run(options: PublishOptions) -> int:
    """The whole command; returns its exit code. SIGINT and SIGTERM end it cleanly."""
    try:
        return uvloop.run(_run_until_signal(options))
    except KeyboardInterrupt:
        return EXIT_OK


async def _run_until_signal(options: PublishOptions) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        summary = await publish(options, stop=stop, say=_say_on_stderr)
    except ClientFailure as failure:
        if options.as_json:
            print(json.dumps({"error": {"code": failure.code, "message": str(failure)}}))
        print(f"parlour publish: {failure}", file=sys.stderr)
        return failure.exit_code
    if options.as_json:
        print(json.dumps(asdict(summary)))
    return EXIT_OK


def _say_on_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def publish(options: PublishOptions, *, stop: asyncio.Event, say: Say) -> PublishSummary:
    """Publish until `stop`, the end of the input or `options.seconds`; raises ClientFailure.

    A lost connection, an unreachable server and a busy one (503) are tried again with a growing
    pause, unless `once`; so is 409 after we have been live ourselves, because that is our own
    former connection, which the server has not given up yet.
    """
    key = options.key or os.environ.get("PARLOUR_STREAM_KEY", "")
    if not key:
        raise KeyMissing
    _whip.check_address(options.whip_url)
    summary = PublishSummary()
    deadline_s = None if options.seconds is None else time.monotonic() + options.seconds
    pause_s = RETRY_FIRST_S
    async with _whip.new_http(insecure=options.insecure) as http:
        while True:
            live_before = summary.connections
            try:
                await _one_connection(options, key, http, summary, deadline_s, stop, say)
                return summary
            except ClientFailure as failure:
                if options.once or not _worth_another_try(failure, options, summary):
                    raise
                if summary.connections > live_before:
                    pause_s = RETRY_FIRST_S
                wait_s = _asked_pause_s(failure) or pause_s * random.uniform(0.8, 1.2)
                pause_s = min(pause_s * 2, RETRY_MAX_S)
                if deadline_s is not None and time.monotonic() + wait_s >= deadline_s:
                    raise
                say(f"{failure}; trying again in {wait_s:.1f} s")
            if await _waited(stop, wait_s):
                return summary


def _worth_another_try(
    failure: ClientFailure, options: PublishOptions, summary: PublishSummary
) -> bool:
    own_ghost = isinstance(failure, ServerRefused) and failure.status == 409
    camera_away = isinstance(failure, InputUnreadable) and is_live(options.input)
    return failure.retry or (summary.connections > 0 and (own_ghost or camera_away))


def _asked_pause_s(failure: ClientFailure) -> float | None:
    asked_s = failure.retry_after_s if isinstance(failure, ServerRefused) else None
    return None if asked_s is None else min(asked_s, RETRY_MAX_S)


async def _waited(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event came within the time."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _one_connection(
    options: PublishOptions,
    key: str,
    http: aiohttp.ClientSession,
    summary: PublishSummary,
    deadline_s: float | None,
    stop: asyncio.Event,
    say: Say,
) -> None:
    """From opening the input to its end, a stop or the deadline; raises ClientFailure."""
    source = await asyncio.to_thread(
        open_source,
        InputOptions(options.input, options.loop, options.codec, options.bits_per_s),
    )
    connection = _Connection(source, summary)
    resource: _whip.Resource | None = None
    try:
        offer_sdp = await connection.offer()
        resource = await _whip.post_offer(http, options.whip_url, key, offer_sdp)
        await connection.connect(resource.answer_sdp)
        summary.connections += 1
        for track in source.tracks:
            how = "passed through" if track.passed else "encoded"
            say(f"live: {track.kind} {track.codec} ({how}) from {track.about}")
        begun_s = time.monotonic()
        try:
            await connection.feed(stop, deadline_s)
        finally:
            summary.seconds = round(summary.seconds + time.monotonic() - begun_s, 3)
        say(f"ended: {shown(options.input)}")
    finally:
        await asyncio.to_thread(source.stop)
        if resource is not None:
            await _whip.end(http, resource, key)
        await connection.close()


class PacketTrack(MediaStreamTrack):
    """Hands encoded packets to aiortc's sender, which only packetises them."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self._packets: asyncio.Queue[AnyPacket] = asyncio.Queue(QUEUE_PACKETS_MAX)

    def push(self, packet: AnyPacket) -> bool:
        """False if the connection is too far behind and the packet was dropped."""
        if self._packets.full():
            return False
        self._packets.put_nowait(packet)
        return True

    async def recv(self) -> AnyPacket:
        """Next packet; aiortc takes frames and packets alike, its annotation knows frames only."""
        if self.readyState != "live":
            raise MediaStreamError
        return await self._packets.get()


class _Connection:
    """One peer connection, fed by one source."""

    def __init__(self, source: Source, summary: PublishSummary) -> None:
        self._source = source
        self._summary = summary
        self._peer = new_peer()
        self._over = asyncio.Event()
        self._broken: ClientFailure | None = None
        self._heard_s: float | None = None
        self._gap = False
        self._tracks: dict[Kind, PacketTrack] = {}
        self._transceivers: dict[Kind, RTCRtpTransceiver] = {}
        for track in source.tracks:
            self._add(track.kind, track.codec)
            summary.codecs[track.kind] = track.codec
            summary.passed[track.kind] = track.passed

    def _add(self, kind: Kind, codec: str) -> None:
        track = PacketTrack(kind)
        transceiver = self._peer.addTransceiver(track, direction="sendonly")
        prefer_codec(transceiver, codec)
        on_feedback(
            transceiver.sender,
            keyframe_wanted=self._source.want_keyframe,
            bitrate_wanted=self._source.want_bits_per_s,
            heard=self._hear,
        )
        self._tracks[kind] = track
        self._transceivers[kind] = transceiver

    async def offer(self) -> str:
        """The offer, with all candidates in it."""
        return await make_offer(self._peer)

    async def connect(self, answer_sdp: str) -> None:
        """Take the answer and wait until media can flow."""
        await take_answer(self._peer, answer_sdp)
        for kind, transceiver in self._transceivers.items():
            wanted = self._summary.codecs[kind].lower()
            names = {codec.name.lower() for codec in negotiated_codecs(transceiver)}
            if transceiver.currentDirection != "sendonly" or wanted not in names:
                raise CodecUnsupported(f"the server does not take this {kind} ({wanted})")
        await wait_connected(self._peer)

    async def feed(self, stop: asyncio.Event, deadline_s: float | None) -> None:
        """Send until the source is over, `stop` or the deadline; raises what broke."""
        loop = asyncio.get_running_loop()

        def deliver(kind: Kind, packet: AnyPacket) -> None:
            loop.call_soon_threadsafe(self._push, kind, packet)

        def ended(failure: ClientFailure | None) -> None:
            loop.call_soon_threadsafe(self._end, failure)

        self._source.start(deliver, ended)
        while not (stop.is_set() or self._over.is_set()):
            await _either(stop, self._over, SUPERVISION_INTERVAL_S)
            now_s = time.monotonic()
            if deadline_s is not None and now_s >= deadline_s:
                return
            if self._peer.connectionState != "connected":
                raise ConnectionLost("the media connection was closed")
            if self._heard_s is not None and now_s - self._heard_s > FEEDBACK_SILENCE_S:
                raise ConnectionLost("the server fell silent")
        if self._broken is not None:
            raise self._broken

    async def close(self) -> None:
        """Close the peer connection."""
        await close_peer(self._peer)

    def _push(self, kind: Kind, packet: AnyPacket) -> None:
        if kind == "video" and self._gap and not packet.is_keyframe:
            # What follows a hole cannot be decoded; it would only delay what can.
            self._summary.dropped += 1
            self._source.want_keyframe()
            return
        if not self._tracks[kind].push(packet):
            self._summary.dropped += 1
            self._gap = self._gap or kind == "video"
            return
        if kind == "video":
            self._gap = False
        summary = self._summary
        summary.packets[kind] = summary.packets.get(kind, 0) + 1
        summary.bytes[kind] = summary.bytes.get(kind, 0) + packet.size

    def _end(self, failure: ClientFailure | None) -> None:
        self._broken = failure
        self._over.set()

    def _hear(self) -> None:
        self._heard_s = time.monotonic()


async def _either(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    """Until one of two events is set, or the time is over."""
    waits = [asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
