"""The servers that are measured: Parlour, and Janus VideoRoom beside it in the same run.

Each is started for one measurement with its data in a temporary folder, and takes a publisher and
viewers by its own signalling. What is measured begins after that and is the same for all.
"""

from __future__ import annotations

import asyncio
import platform
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from bench._probe import Probe
from bench.server import ServerUnderTest

SSRCS = (0x1001, 0x1002)
"""Of the published sound and picture."""
VIEWERS_PER_ADDRESS = 30
"""Parlour limits offers per address; each group of viewers comes from its own loopback one."""

JANUS_ROOM = 1_234
JANUS_FEED = 1
JANUS_READY_S = 15
JANUS_STEP_S = 10
JANUS_LIBRARY = Path("/usr/lib") / f"{platform.machine()}-linux-gnu" / "janus"


class Peer(Protocol):
    """A running server."""

    pid: int

    async def publish(self, probe: Probe) -> None:
        """Connect the one publisher, sound first."""

    async def watch(self, probe: Probe, number: int) -> None:
        """Connect viewer number `number`."""


Start = Any
"""(folder, address) → an async context manager of a `Peer`."""


class Parlour:
    """`parlour serve`, by WHIP and WHEP."""

    def __init__(self, server: ServerUnderTest, key: str) -> None:
        self.pid = server.pid
        self._url = server.url
        self._key = key

    @classmethod
    @asynccontextmanager
    async def start(cls, folder: Path, address: str) -> AsyncIterator[Parlour]:
        """With one expert, added before the start."""
        under_test = ServerUnderTest(folder, media_host=address)
        key = str((await under_test.cli("expert", "add", "bench"))["stream_key"])
        async with under_test as server:
            yield cls(server, key)

    async def publish(self, probe: Probe) -> None:
        """Over WHIP with the stream key."""
        async with aiohttp.ClientSession() as http:
            offer = probe.offer("sendonly", SSRCS)
            probe.connect(await _post_sdp(http, f"{self._url}/whip/bench", offer, self._key))

    async def watch(self, probe: Probe, number: int) -> None:
        """Over WHEP, as a guest."""
        source = (f"127.0.1.{number // VIEWERS_PER_ADDRESS + 1}", 0)
        connector = aiohttp.TCPConnector(local_addr=source)
        async with aiohttp.ClientSession(connector=connector) as http:
            offer = probe.offer("recvonly", SSRCS)
            probe.connect(await _post_sdp(http, f"{self._url}/whep/bench", offer, None))


async def _post_sdp(http: aiohttp.ClientSession, url: str, sdp: str, key: str | None) -> str:
    headers = {"Content-Type": "application/sdp"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    async with http.post(url, data=sdp, headers=headers) as response:
        text = await response.text()
        if response.status != 201:
            raise RuntimeError(f"{url}: {response.status} {text[:300]}")
        return text


class Janus:
    """Janus VideoRoom (Debian's package), over its HTTP API.

    As installed, but for `event_loops` in the fast configuration. (ICE-lite is on, since our probes
    are always controlling; libnice checks all the same.)
    """

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
        cls, folder: Path, address: str, *, event_loops: int | None = None
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


def janus_fast(folder: Path, address: str) -> AbstractAsyncContextManager[Janus]:
    """Two event loops instead of a thread for every viewer."""
    return Janus.start(folder, address, event_loops=2)


PEERS: dict[str, Start] = {
    "parlour": Parlour.start,
    "janus-fast": janus_fast,
    "janus": Janus.start,
}
