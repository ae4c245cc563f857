"""The servers that are measured: Parlour, and beside it in the same run Janus VideoRoom, aiortc's
MediaRelay, and the floor: a program that only encrypts and sends.

Each is started for one measurement with its data in a temporary folder, and takes a publisher and
viewers by its own signalling. What is measured begins after that and is the same for all.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from bench._chat import fill
from bench._probe import KEY_BYTES, SALT_BYTES, Probe
from bench.server import REPO, ServerUnderTest

SSRCS = (0x1001, 0x1002)
"""Of the published sound and picture."""
VIEWERS_PER_ADDRESS = 30
"""Parlour limits offers per address; each group of viewers comes from its own loopback one."""

JANUS_ROOM = 1_234
JANUS_FEED = 1
JANUS_READY_S = 15
JANUS_STEP_S = 10
RELAY_READY_S = 15
JANUS_LIBRARY = Path("/usr/lib") / f"{platform.machine()}-linux-gnu" / "janus"


class Busy(Exception):
    """The server has no room at the moment and says so."""


class Peer(Protocol):
    """A running server. `decodes` says that it wants a real film."""

    pid: int
    decodes: bool

    async def publish(self, probe: Probe) -> None:
        """Connect the one publisher, sound first."""

    async def watch(self, probe: Probe, number: int) -> None:
        """Connect viewer number `number`. Raises Busy."""


@dataclass(frozen=True)
class House:
    """What else a server has to do with: `idle_rooms` of experts who are not on air, and in every
    room `chat` messages that were said before."""

    idle_rooms: int = 0
    chat: int = 0

    @property
    def text(self) -> str:
        """For tables; empty when there is nothing else."""
        return f"{self.idle_rooms} idle rooms, {self.chat} lines" if self.idle_rooms else ""


Start = Any
"""(folder, address, house) → an async context manager of a `Peer`."""


class Parlour:
    """`parlour serve`, by WHIP and WHEP."""

    decodes = False

    def __init__(self, server: ServerUnderTest, key: str) -> None:
        self.pid = server.pid
        self.url = server.url
        self._key = key

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path, address: str, house: House) -> AsyncIterator[Parlour]:
        """With one expert, added before the start."""
        under_test = ServerUnderTest(folder, media_host=address)
        key = str((await under_test.cli("expert", "add", "bench"))["stream_key"])
        rooms = [f"idle{number:04}" for number in range(house.idle_rooms)]
        for name in rooms:
            await under_test.cli("expert", "add", name)
        async with under_test as server:
            if house.chat:
                await fill(server.url, [*rooms, "bench"], house.chat)
            yield cls(server, key)

    async def publish(self, probe: Probe) -> None:
        """Over WHIP with the stream key."""
        async with aiohttp.ClientSession() as http:
            offer = probe.offer("sendonly", SSRCS)
            probe.connect(await _post_sdp(http, f"{self.url}/whip/bench", offer, self._key))

    async def watch(self, probe: Probe, number: int) -> None:
        """Over WHEP, as a guest."""
        source = (f"127.0.1.{number // VIEWERS_PER_ADDRESS + 1}", 0)
        connector = aiohttp.TCPConnector(local_addr=source)
        async with aiohttp.ClientSession(connector=connector) as http:
            offer = probe.offer("recvonly", SSRCS)
            probe.connect(await _post_sdp(http, f"{self.url}/whep/bench", offer, None))


async def _post_sdp(http: aiohttp.ClientSession, url: str, sdp: str, key: str | None) -> str:
    headers = {"Content-Type": "application/sdp"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    async with http.post(url, data=sdp, headers=headers) as response:
        text = await response.text()
        if response.status == 503:
            raise Busy(text[:300])
        if response.status not in (200, 201):
            raise RuntimeError(f"{url}: {response.status} {text[:300]}")
        return text


class Janus:
    """Janus VideoRoom (Debian's package), over its HTTP API.

    As installed, but for `event_loops` in the fast configuration. (ICE-lite is on, since our probes
    are always controlling; libnice checks all the same.)
    """

    decodes = False

    def __init__(self, pid: int, http: aiohttp.ClientSession, root: str) -> None:
        self.pid = pid
        self._http = http
        self._root = root
        self._session = 0
        self._events: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._poll: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def start(
        cls, folder: Path, address: str, house: House, *, event_loops: int | None = None
    ) -> AsyncIterator[Janus]:
        """Started with a configuration of ours; RuntimeError when it does not come up."""
        program = shutil.which("janus")
        if program is None:
            raise RuntimeError("Janus is not installed: apt-get install janus")
        port = 18_088
        _write_janus_configuration(folder, address, port, event_loops)
        log = (folder / "janus.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            program, "-F", str(folder), "-C", str(folder / "janus.jcfg"), stdout=log, stderr=log
        )
        try:
            async with aiohttp.ClientSession() as http:
                janus = cls(process.pid, http, f"http://127.0.0.1:{port}/janus")
                await janus._open()
                yield janus
                await janus._close()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            log.close()

    async def publish(self, probe: Probe) -> None:
        """Into one room; the probe begins the DTLS handshake, as it does with everybody."""
        handle = await self._attach()
        await self._ask(
            handle,
            {
                "request": "create",
                "room": JANUS_ROOM,
                "publishers": 1,
                "videocodec": "vp8",
                "audiocodec": "opus",
            },
        )
        await self._ask(
            handle,
            {"request": "join", "ptype": "publisher", "room": JANUS_ROOM, "id": JANUS_FEED},
        )
        offer = probe.offer("sendonly", SSRCS).replace("a=setup:actpass", "a=setup:active")
        answer = await self._ask(
            handle, {"request": "publish"}, jsep={"type": "offer", "sdp": offer}
        )
        probe.connect(str(answer["jsep"]["sdp"]), full_agent=True)

    async def watch(self, probe: Probe, number: int) -> None:
        """Janus offers, we answer."""
        handle = await self._attach()
        offered = await self._ask(
            handle,
            {
                "request": "join",
                "ptype": "subscriber",
                "room": JANUS_ROOM,
                "streams": [{"feed": JANUS_FEED}],
            },
        )
        offer = str(offered["jsep"]["sdp"])
        await self._ask(
            handle, {"request": "start"}, jsep={"type": "answer", "sdp": probe.answer(offer)}
        )
        probe.connect(offer, full_agent=True)

    async def _open(self) -> None:
        deadline = asyncio.get_running_loop().time() + JANUS_READY_S
        while True:
            try:
                created = await self._post(self._root, {"janus": "create"})
                break
            except aiohttp.ClientError:
                if asyncio.get_running_loop().time() > deadline:
                    raise RuntimeError("Janus did not come up") from None
                await asyncio.sleep(0.1)
        self._session = int(created["data"]["id"])
        self._poll = asyncio.create_task(self._read())

    async def _close(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.wait([self._poll])

    async def _read(self) -> None:
        """Events of all handles come in one long poll."""
        while True:
            url = f"{self._root}/{self._session}?maxev=10"
            try:
                async with self._http.get(url) as response:
                    found = await response.json(content_type=None)
            except aiohttp.ClientError:
                return  # it is being stopped
            for event in found if isinstance(found, list) else [found]:
                if event.get("janus") == "event":
                    await self._events[int(event["sender"])].put(event)

    async def _attach(self) -> int:
        attached = await self._post(
            f"{self._root}/{self._session}",
            {"janus": "attach", "plugin": "janus.plugin.videoroom"},
        )
        handle = int(attached["data"]["id"])
        self._events[handle] = asyncio.Queue()
        return handle

    async def _ask(
        self, handle: int, body: dict[str, Any], jsep: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """One request to the plugin and its answer, at once or as an event."""
        message: dict[str, Any] = {"janus": "message", "body": body}
        if jsep is not None:
            message["jsep"] = jsep
        answer = await self._post(f"{self._root}/{self._session}/{handle}", message)
        if answer["janus"] == "ack":
            answer = await asyncio.wait_for(self._events[handle].get(), JANUS_STEP_S)
        data = answer.get("plugindata", {}).get("data", {})
        if "error" in data:
            raise RuntimeError(f"Janus refuses {body['request']}: {data['error']}")
        return answer

    async def _post(self, url: str, message: dict[str, Any]) -> dict[str, Any]:
        whole = message | {"transaction": secrets.token_hex(6)}
        async with self._http.post(url, json=whole) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
        if answer.get("janus") == "error":
            raise RuntimeError(f"Janus: {answer['error']}")
        return answer


def _write_janus_configuration(
    folder: Path, address: str, port: int, event_loops: int | None
) -> None:
    loops = f"event_loops = {event_loops}" if event_loops is not None else ""
    (folder / "janus.jcfg").write_text(
        f"""
general: {{
    configs_folder = "{folder}"
    plugins_folder = "{JANUS_LIBRARY}/plugins"
    transports_folder = "{JANUS_LIBRARY}/transports"
    events_folder = "{JANUS_LIBRARY}/events"
    loggers_folder = "{JANUS_LIBRARY}/loggers"
    debug_level = 2
    session_timeout = 0
    {loops}
}}
media: {{ rtp_port_range = "20000-40000" }}
nat: {{
    ice_lite = true
    ice_enforce_list = "{address}"
}}
plugins: {{ disable = "{_all_but("plugins", "libjanus_videoroom.so")}" }}
transports: {{ disable = "{_all_but("transports", "libjanus_http.so")}" }}
"""
    )
    (folder / "janus.transport.http.jcfg").write_text(
        f'general: {{ json = "compact"\n http = true\n port = {port}\n ip = "127.0.0.1" }}\n'
    )
    (folder / "janus.plugin.videoroom.jcfg").write_text("general: { }\n")


def _all_but(kind: str, wanted: str) -> str:
    names = sorted(path.name for path in (JANUS_LIBRARY / kind).glob("*.so"))
    return ",".join(name for name in names if name != wanted)


def janus_fast(folder: Path, address: str, house: House) -> AbstractAsyncContextManager[Janus]:
    """Two event loops instead of a thread for every viewer."""
    return Janus.start(folder, address, house, event_loops=2)


class Floor:
    """`bench.floor_server`: no signalling but a line for each receiver."""

    decodes = False

    def __init__(self, process: asyncio.subprocess.Process, address: tuple[str, int]) -> None:
        self.pid = process.pid
        self._process = process
        self._address = address

    @classmethod
    @asynccontextmanager
    async def start(
        cls, folder: Path, address: str, house: House, *, segments: int = 1
    ) -> AsyncIterator[Floor]:
        """It ends with its standard input."""
        words = ["-m", "bench.floor_server", "--host", address, "--segments", str(segments)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, stdin=PIPE, stdout=PIPE, cwd=REPO
        )
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        try:
            yield cls(process, (address, port))
        finally:
            process.stdin.close()
            await process.wait()

    async def publish(self, probe: Probe) -> None:
        """In clear."""
        probe.attach(self._address)

    async def watch(self, probe: Probe, number: int) -> None:
        """With a key of its own."""
        key, ssrcs = secrets.token_bytes(KEY_BYTES + SALT_BYTES), (2 * number + 1, 2 * number + 2)
        probe.attach(self._address, key, ssrcs)
        host, port = probe.socket.getsockname()
        assert self._process.stdin is not None
        self._process.stdin.write(f"{host} {port} {key.hex()} {ssrcs[0]} {ssrcs[1]}\n".encode())
        await self._process.stdin.drain()


class Relay:
    """`bench.relay_server`: aiortc's MediaRelay, which decodes once and encodes for everybody."""

    decodes = True

    def __init__(self, pid: int, http: aiohttp.ClientSession, url: str) -> None:
        self.pid = pid
        self._http = http
        self._url = url

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path, address: str, house: House) -> AsyncIterator[Relay]:
        """RuntimeError when it does not come up."""
        port = 18_089
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.relay_server", "--port", str(port), cwd=REPO
        )
        try:
            async with aiohttp.ClientSession() as http:
                url = f"http://127.0.0.1:{port}"
                await _until_up(http, url)
                yield cls(process.pid, http, url)
        finally:
            process.kill()
            await process.wait()

    async def publish(self, probe: Probe) -> None:
        """The one stream."""
        offer = probe.offer("sendonly", SSRCS).replace("a=setup:actpass", "a=setup:active")
        answer = await _post_sdp(self._http, f"{self._url}/publish", offer, None)
        probe.connect(answer, full_agent=True)

    async def watch(self, probe: Probe, number: int) -> None:
        """One more copy."""
        offer = probe.offer("recvonly", SSRCS).replace("a=setup:actpass", "a=setup:active")
        answer = await _post_sdp(self._http, f"{self._url}/watch", offer, None)
        probe.connect(answer, full_agent=True)


async def _until_up(http: aiohttp.ClientSession, url: str) -> None:
    deadline = asyncio.get_running_loop().time() + RELAY_READY_S
    while True:
        try:
            async with http.get(url):
                return
        except aiohttp.ClientError:
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeError("the relay did not come up") from None
            await asyncio.sleep(0.1)


def floor_in_segments(
    folder: Path, address: str, house: House
) -> AbstractAsyncContextManager[Floor]:
    """Up to eight packets in one message, as Parlour does it."""
    return Floor.start(folder, address, house, segments=8)


PEERS: dict[str, Start] = {
    "floor": Floor.start,
    "floor-gso": floor_in_segments,
    "media-relay": Relay.start,
    "parlour": Parlour.start,
    "janus-fast": janus_fast,
    "janus": Janus.start,
}
