"""A host for the demo: an expert who signs in, accepts private requests and says hello.

It uses the public API alone, as a browser would: login, ticket, WebSocket. The pictures come from
`parlour publish`; this program sends none. It receives the member's Cam2Cam picture and sound and
throws them away, so that somebody is really at the other end.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp
import msgspec
import uvloop
from aiortc import RTCPeerConnection

from clients._aiortc_seam import receive_into
from clients._counting import CountingSink
from clients._failures import (
    EXIT_OK,
    ClientFailure,
    CodecUnsupported,
    ConnectionLost,
    ServerRefused,
    ServerUnreachable,
)
from clients._peer import close_peer, make_offer, new_peer, take_answer, wait_connected
from clients._whip import check_address, new_http
from signaling import wire

REQUEST_TIMEOUT_S = 10.0
RETRY_FIRST_S, RETRY_MAX_S = 0.5, 10.0
REPORT_INTERVAL_S = 1.0
ANSWER_DELAY_S = 2.0
"""Long enough to see that it rings, short enough not to wonder."""
GREETED_MAX = 500
GREETING_SPACING_S = 5.0
"""The room's flood limit is stricter for members; a host that chatters is a bore anyway."""
SMALL_TALK_S = 90.0

SMALL_TALK = {
    "en": (
        "Hello and welcome! Ask me anything.",
        "If you would like to talk in private, press the button. I answer at once.",
        "Good to see you here.",
    ),
    "nb": (
        "Hei og velkommen! Spør meg om hva du vil.",
        "Vil du snakke privat, er det bare å trykke på knappen. Jeg svarer med en gang.",
        "Hyggelig at du er her.",
    ),
}
GREETING = {"en": "Hello {name}!", "nb": "Hei {name}!"}


@dataclass(frozen=True, slots=True)
class HostOptions:
    """Who is to be host, and where: `server_url` is the origin, e.g. http://127.0.0.1:8080."""

    server_url: str
    expert: str
    username: str
    password: str = field(repr=False)
    language: wire.Language = "en"
    answer_delay_s: float = ANSWER_DELAY_S
    small_talk_s: float = SMALL_TALK_S
    insecure: bool = False
    """Take any certificate."""


Say = Callable[[str], None]
Work = Coroutine[object, object, None]


def run(options: HostOptions) -> int:
    """Be host until SIGINT or SIGTERM; returns an exit code."""
    try:
        return uvloop.run(_run_until_signal(options))
    except KeyboardInterrupt:
        return EXIT_OK


async def _run_until_signal(options: HostOptions) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        await host(options, stop=stop, say=say)
    except ClientFailure as failure:
        print(f"demo host {options.expert}: {failure}", file=sys.stderr)
        return failure.exit_code
    return EXIT_OK


async def host(options: HostOptions, *, stop: asyncio.Event, say: Say) -> None:
    """Be host until `stop`; signs in anew whenever the connection is lost.

    Raises ServerRefused only for a wrong user name or password, which waiting does not mend.
    """
    check_address(options.server_url)
    pause_s = RETRY_FIRST_S
    async with new_http(insecure=options.insecure) as http:
        door = _Door(http, options)
        while not stop.is_set():
            begun_s = time.monotonic()
            try:
                await _until_stopped(_Evening(door, options).hold(), stop)
            except ServerRefused as refusal:
                if refusal.status == 401 and not door.signed_in:
                    raise
                door.signed_in = False
                say(f"{options.expert}: {refusal}")
            except ClientFailure as failure:
                say(f"{options.expert}: {failure}")
            if time.monotonic() - begun_s > RETRY_MAX_S:
                pause_s = RETRY_FIRST_S
            try:
                await asyncio.wait_for(stop.wait(), pause_s * random.uniform(0.8, 1.2))
            except TimeoutError:
                pause_s = min(pause_s * 2, RETRY_MAX_S)


async def _until_stopped(work: Work, stop: asyncio.Event) -> None:
    """Run the coroutine until it ends or `stop` is set."""
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if not task.cancelled():
        task.result()


class _Door:
    """The HTTP requests before the WebSocket: a login that is kept, and a ticket each time."""

    def __init__(self, http: aiohttp.ClientSession, options: HostOptions) -> None:
        self._http = http
        self._options = options
        parts = urlsplit(options.server_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self.signed_in = False
        self.resume: str | None = None

    async def open(self) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket that has said hello, but read no answer yet."""
        if not self.signed_in:
            credentials = {"username": self._options.username, "password": self._options.password}
            await self._post("/api/v1/login", credentials)
            self.signed_in = True
        ticket = str((await self._post("/api/v1/ws-ticket", {})).get("ticket", ""))
        try:
            socket = await self._http.ws_connect(
                f"{self._origin}/ws",
                protocols=(wire.SUBPROTOCOL_JSON,),
                headers={"Origin": self._origin},
                heartbeat=wire.HEARTBEAT_S,
                max_msg_size=wire.FRAME_BYTES_MAX,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise ServerRefused(error.status, f"no WebSocket: {error.status}") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerUnreachable(f"cannot reach {self._origin}: {error}") from error
        hello = wire.Hello(ticket=ticket, resume=self.resume, language=self._options.language, id=1)
        await socket.send_str(wire.encode_json(hello).decode())
        return socket

    async def _post(self, path: str, body: dict[str, str]) -> dict[str, object]:
        try:
            async with self._http.post(
                self._origin + path,
                json=body,
                headers={"Origin": self._origin},
                timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
            ) as response:
                if response.status >= 300:
                    text = f"{path}: {response.status} {response.reason}"
                    raise ServerRefused(response.status, text)
                answer = await response.json() if response.status != 204 else {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ServerUnreachable(f"cannot reach {self._origin}: {error}") from error
        return answer if isinstance(answer, dict) else {}


def _decoded(text: str) -> wire.ServerMessage:
    try:
        message: wire.ServerMessage = wire.decode_server_json(text)
    except msgspec.DecodeError as error:
        raise ConnectionLost(f"unreadable message: {error}") from error
    return message


class _Evening:
    """One WebSocket connection, from hello to its end."""

    def __init__(self, door: _Door, options: HostOptions) -> None:
        self._door = door
        self._options = options
        self._ids = itertools.count(2)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._answering: set[str] = set()
        self._greeted: set[str] = set()
        self._greeted_s = float("-inf")
        self._private: _PrivateFeed | None = None

    async def hold(self) -> None:
        """Until the connection ends; raises ClientFailure saying how it did."""
        self._socket = socket = await self._door.open()
        try:
            self._spawn(self._small_talk())
            async for frame in socket:
                if frame.type is aiohttp.WSMsgType.TEXT:
                    await self._take(_decoded(frame.data))
            raise ConnectionLost(f"the WebSocket was closed ({socket.close_code})")
        finally:
            for task in list(self._tasks):
                task.cancel()
            await self._end_private()
            await socket.close()

    async def _take(self, message: wire.ServerMessage) -> None:
        match message:
            case wire.Welcome():
                self._door.resume = message.resume
                if not message.resumed:
                    await self._send(wire.RoomEnter(expert=self._options.expert))
            case wire.RoomEntered() | wire.PrivateIncoming() | wire.PrivateState():
                if message.session is not None:
                    await self._follow(message.session)
            case wire.PrivateSummary():
                await self._end_private()
            case wire.MediaAnswer() if message.feed == "private" and self._private is not None:
                self._spawn(self._private.take(message.sdp))
            case wire.MediaStopped() if message.feed == "private":
                await self._end_private()
            case wire.ChatMessage():
                await self._greet(message.line)
            case wire.Error() if message.id is not None:
                if self._private is not None and self._private.message_id == message.id:
                    await self._end_private()
            case _:
                return

    async def _follow(self, session: wire.SessionView) -> None:
        """What the phase of a private session asks of its host."""
        match session.phase:
            case "ringing":
                if session.session not in self._answering:
                    self._answering.add(session.session)
                    self._spawn(self._accept(session.session))
            case "connecting" | "active" | "paused":
                if self._private is None:
                    await self._begin_private()
            case "ending" | "ended":
                self._answering.discard(session.session)
                await self._end_private()

    async def _accept(self, session: str) -> None:
        await asyncio.sleep(self._options.answer_delay_s)
        await self._send(wire.PrivateAccept(session=session))

    async def _begin_private(self) -> None:
        feed = _PrivateFeed(next(self._ids))
        self._private = feed
        offer = await feed.offer()
        await self._send(wire.MediaWatch(feed="private", sdp=offer, id=feed.message_id))

    async def _end_private(self) -> None:
        feed, self._private = self._private, None
        if feed is not None:
            await feed.close()

    async def _greet(self, line: wire.ChatLine) -> None:
        """A word for everybody who says their first one."""
        now_s = time.monotonic()
        known = line.name in self._greeted or len(self._greeted) >= GREETED_MAX
        if line.role != "member" or known or now_s - self._greeted_s < GREETING_SPACING_S:
            return
        self._greeted.add(line.name)
        self._greeted_s = now_s
        text = GREETING[self._options.language].format(name=line.name)
        await self._send(wire.ChatSend(text=text))

    async def _small_talk(self) -> None:
        for text in itertools.cycle(SMALL_TALK[self._options.language]):
            await asyncio.sleep(self._options.small_talk_s * random.uniform(0.7, 1.3))
            await self._send(wire.ChatSend(text=text))

    async def _send(self, message: wire.ClientMessage) -> None:
        if self._socket is None or self._socket.closed:
            return
        try:
            await self._socket.send_str(wire.encode_json(message).decode())
        except ConnectionError:
            return

    def _spawn(self, work: Work) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _PrivateFeed:
    """Receives the member's picture and sound, and keeps nothing."""

    def __init__(self, message_id: int) -> None:
        self.message_id = message_id
        self.sinks: list[CountingSink] = []
        self._peer: RTCPeerConnection = new_peer()
        begun_s = time.monotonic()
        for kind in ("audio", "video"):
            transceiver = self._peer.addTransceiver(kind, direction="recvonly")
            sink = CountingSink(transceiver, lambda: round((time.monotonic() - begun_s) * 1000))
            receive_into(transceiver, sink)
            self.sinks.append(sink)

    async def offer(self) -> str:
        return await make_offer(self._peer)

    async def take(self, answer_sdp: str) -> None:
        """Connect, and report to the server for as long as the connection lasts."""
        try:
            await take_answer(self._peer, answer_sdp)
            await wait_connected(self._peer)
        except (CodecUnsupported, ConnectionLost):
            return
        while self._peer.connectionState == "connected":
            await asyncio.sleep(REPORT_INTERVAL_S)
            for sink in self.sinks:
                await sink.report()

    async def close(self) -> None:
        await close_peer(self._peer)
