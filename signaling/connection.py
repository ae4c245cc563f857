"""One WebSocket: frames in, a bounded outbox out, limits on both. It knows no features.

Three tasks per connection: the handler reads frames, a writer empties the outbox, a worker runs
the slow jobs one after another. Nobody else ever awaits a socket.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Container, Coroutine
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import WSMessage, WSMsgType, web

from media.bucket import TokenBucket
from rooms.refusals import Code, Refusal
from signaling import wire, wire_out
from signaling.hub import Hub, Job, Reply, Turned

log = logging.getLogger(__name__)

HELLO_TIMEOUT_S = 10.0
"""A connection that does not say who it is."""
OUTBOX_MESSAGES_MAX = 256
"""Ten seconds of a busy room; a client further behind is not reading."""
JOBS_MAX = 16
"""Slow requests of one client that wait for each other."""
MESSAGES_BURST = 40
MESSAGES_PER_S = 20.0
"""No person and no honest client needs more."""
STRIKES_MAX = 40
"""Unreadable or surplus messages of one connection before it is closed."""
CLOSE_TIMEOUT_S = 2.0
"""How long a closing connection may take to read what is queued for it."""


class Outbox:
    """What waits to be sent. Bounded: at the bound it is closed for overflow, never grown."""

    def __init__(self, messages_max: int = OUTBOX_MESSAGES_MAX) -> None:
        self._waiting: deque[wire.ServerMessage] = deque()
        self._messages_max = messages_max
        self._seq = 0
        self._wake = asyncio.Event()
        self.closing: tuple[int, str] | None = None

    def post(self, message: wire.ServerMessage) -> None:
        """Queue a message under the next sequence number."""
        if self.closing is not None:
            return
        if len(self._waiting) >= self._messages_max:
            self._waiting.clear()
            self.close(wire.CLOSE_OVERFLOW, "reads too slowly")
            return
        self._seq += 1
        self._waiting.append(msgspec.structs.replace(message, seq=self._seq))
        self._wake.set()

    def close(self, code: int, reason: str) -> None:
        """Nothing more will be queued; what is queued is still sent. The first close counts."""
        if self.closing is None:
            self.closing = (code, reason)
            self._wake.set()

    async def take(self) -> wire.ServerMessage | None:
        """The next message, or None when closed and empty."""
        while not self._waiting:
            if self.closing is not None:
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


class Connection:
    """One connection after its upgrade."""

    def __init__(
        self, hub: Hub, socket: web.WebSocketResponse, clock_ns: Callable[[], int]
    ) -> None:
        self._hub = hub
        self._socket = socket
        self._clock_ns = clock_ns
        self._binary = socket.ws_protocol == wire.SUBPROTOCOL_MSGPACK
        self._outbox = Outbox()
        self._jobs: asyncio.Queue[tuple[Job, int | None] | None] = asyncio.Queue(JOBS_MAX)
        self._bucket = TokenBucket(MESSAGES_PER_S, MESSAGES_BURST)
        self._strikes = 0
        self.post = self._outbox.post
        self.close = self._outbox.close

    async def run(self) -> None:
        """Serve until either side closes; returns when everything of it has ended."""
        writer = asyncio.create_task(self._write())
        place_id: str | None = None
        try:
            place_id = await self._greet()
            if place_id is not None:
                await self._serve(place_id)
        finally:
            if place_id is not None:
                self._hub.gone(place_id, self)
            self.close(1000, "bye")
            with suppress(Exception):
                await asyncio.wait_for(writer, CLOSE_TIMEOUT_S)

    # --- in -----------------------------------------------------------------------------------

    async def _greet(self) -> str | None:
        """The hello within its time; None if the connection was turned away or closed."""
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                frame = await self._socket.receive()
        except TimeoutError:
            self.close(wire.CLOSE_HELLO_TIMEOUT, "no hello")
            return None
        if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return None
        hello = self._decode(frame)
        if isinstance(hello, wire.Error):
            self.post(hello)
            self.close(wire.CLOSE_BAD_MESSAGE, "unreadable hello")
            return None
        if not isinstance(hello, wire.Hello):
            self.close(wire.CLOSE_UNAUTHENTICATED, "hello comes first")
            return None
        try:
            admitted = await self._hub.hello(self, hello)
        except Exception:
            log.exception("a hello failed")
            self.post(wire.Error(code="internal", message="Something broke.", id=hello.id))
            self.close(wire.CLOSE_INTERNAL, "internal")
            return None
        if isinstance(admitted, Turned):
            self.post(admitted.error)
            self.close(admitted.close_code, admitted.error.code)
            return None
        return admitted

    async def _serve(self, place_id: str) -> None:
        worker = asyncio.create_task(self._work())
        try:
            async for frame in self._socket:
                if frame.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    return
                self._on_frame(place_id, frame)
                if self._outbox.closing is not None:
                    return
        finally:
            # A job may be in the middle of money: it ends by itself; others are dropped.
            self._drop_waiting_jobs()
            await self._jobs.put(None)
            await worker

    def _on_frame(self, place_id: str, frame: WSMessage) -> None:
        if not self._bucket.take(self._clock_ns()):
            self._strike("too_many_messages", "Slow down.", wire.CLOSE_TOO_MANY_MESSAGES)
            return
        message = self._decode(frame)
        if isinstance(message, wire.Error):
            self._strike(message.code, message.message, wire.CLOSE_BAD_MESSAGE)
            return
        try:
            outcome = self._hub.handle(place_id, message)
        except Exception:
            log.exception("a message failed")
            outcome = wire.Error(code="internal", message="Something broke.", id=message.id)
        if isinstance(outcome, Coroutine):
            self._queue(outcome, message.id)
        elif outcome is not None:
            self.post(outcome)

    def _decode(self, frame: WSMessage) -> wire.ClientMessage | wire.Error:
        decode = wire.decode_client_msgpack if self._binary else wire.decode_client_json
        if (frame.type is WSMsgType.BINARY) != self._binary:
            return wire.Error(code="bad_message", message="Wrong kind of frame.")
        try:
            message: wire.ClientMessage = decode(frame.data)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            return wire.Error(code="bad_message", message=str(error)[:200])
        return message

    def _strike(self, code: str, text: str, close_code: int) -> None:
        self._strikes += 1
        self.post(wire.Error(code=code, message=text))
        if self._strikes > STRIKES_MAX:
            self.close(close_code, code)

    # --- slow work ----------------------------------------------------------------------------

    def _queue(self, job: Coroutine[Any, Any, Reply], reply_to: int | None) -> None:
        try:
            self._jobs.put_nowait((job, reply_to))
        except asyncio.QueueFull:
            job.close()
            self.post(wire_out.error(Refusal(Code.BUSY_HERE), reply_to))

    def _drop_waiting_jobs(self) -> None:
        while not self._jobs.empty():
            waiting = self._jobs.get_nowait()
            if waiting is not None:
                waiting[0].close()

    async def _work(self) -> None:
        while (entry := await self._jobs.get()) is not None:
            job, reply_to = entry
            try:
                reply = await job
            except Exception:
                log.exception("a request failed")
                reply = wire.Error(code="internal", message="Something broke.", id=reply_to)
            if reply is not None:
                self.post(reply)

    # --- out ----------------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            while (message := await self._outbox.take()) is not None:
                if self._binary:
                    await self._socket.send_bytes(wire.encode_msgpack(message))
                else:
                    await self._socket.send_str(wire.encode_json(message).decode())
        except (ConnectionError, RuntimeError):
            return  # the other side is gone; the reader notices it too
        finally:
            code, reason = self._outbox.closing or (1000, "")
            with suppress(ConnectionError, RuntimeError):
                await self._socket.close(code=code, message=reason.encode())


class Door:
    """The `/ws` route: exact Origin, sub-protocol, then a `Connection`.

    A browser always sends its Origin, so one that is not listed is refused. A client without any
    is no browser; it is let in because the ticket, not a cookie, says who it is.
    """

    def __init__(
        self,
        hub: Hub,
        origins: Container[str],
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._hub = hub
        self._origins = origins
        self._clock_ns = clock_ns

    async def websocket_handler(self, request: web.Request) -> web.StreamResponse:
        """GET /ws."""
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._origins:
            raise web.HTTPForbidden(text="origin not allowed")
        socket = web.WebSocketResponse(
            protocols=(wire.SUBPROTOCOL_JSON, wire.SUBPROTOCOL_MSGPACK),
            heartbeat=wire.HEARTBEAT_S,
            max_msg_size=wire.FRAME_BYTES_MAX,
            compress=False,
        )
        await socket.prepare(request)
        await Connection(self._hub, socket, self._clock_ns).run()
        return socket
