"""The server as a process: start, drain, kill, demo, TLS."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PASSWORD = "correct-horse-9"
COMMAND = [sys.executable, "-m", "signaling.cli"]
LIVE = dict.fromkeys(("luna", "orion", "sunniva"), "live_free")
WebSocket = aiohttp.ClientWebSocketResponse
READY = re.compile(r"READY (https?://\S+) media udp (\S+)")


class Running:
    """One `parlour serve` and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""

    async def until_ready(self) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(40):
            async for raw in self.process.stdout:
                self.lines.append(raw.decode())
                found = READY.match(self.lines[-1])
                if found:
                    self.url = found[1]
                    return
        raise AssertionError("".join(self.lines))


@asynccontextmanager
async def serving(data: Path, *words: str, **environ: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        "--http",
        "127.0.0.1:0",
        "--media",
        "127.0.0.1:0",
        "--data",
        str(data),
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | environ,
    )
    running = Running(process)
    try:
        await running.until_ready()
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def parlour(*words: str) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *words, "--json", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    answer: dict[str, object] = json.loads(out)
    return answer


@asynccontextmanager
async def welcomed(http: aiohttp.ClientSession, url: str) -> AsyncIterator[WebSocket]:
    """A guest's WebSocket, as the pages open it."""
    async with http.post(f"{url}/api/v1/ws-ticket") as reply:
        ticket = (await reply.json())["ticket"]
    async with http.ws_connect(f"{url}/ws", headers={"Origin": url}) as socket:
        await socket.send_json({"type": "hello", "ticket": ticket})
        assert (await socket.receive_json())["type"] == "welcome"
        yield socket


class States:
    """What the home page knows of the experts, by the server's pushes alone."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._states: dict[str, str] | None = None

    async def become(self, wanted: dict[str, str], seconds: float = 60) -> None:
        """Wait until they are exactly these."""
        async with asyncio.timeout(seconds):
            while self._states != wanted:
                self._take(await self._socket.receive_json())

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "presence.list":
                self._states = {card["name"]: card["state"] for card in message["experts"]}
            case "presence.changed":
                assert self._states is not None
                card = message["expert"]
                self._states[card["name"]] = card["state"]


@asynccontextmanager
async def states(http: aiohttp.ClientSession, url: str) -> AsyncIterator[States]:
    """Follow the experts' states from now on."""
    async with welcomed(http, url) as socket:
        await socket.send_json({"type": "presence.subscribe"})
        yield States(socket)


async def ended(pid: int, seconds: float = 30) -> None:
    """Wait until another process is no more."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, gone.set)
    try:
        async with asyncio.timeout(seconds):
            await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def test_sigterm_ends_cleanly(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}/readyz") as reply:
            assert reply.status == 200
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await server.process.wait() == 0


async def test_an_expert_added_while_serving_appears(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        aiohttp.ClientSession() as http,
        states(http, server.url) as experts,
    ):
        await experts.become({})
        await parlour("expert", "add", "luna", "--data", str(tmp_path))
        await experts.become({"luna": "offline"})


async def test_drain_tells_clients_and_closes_their_sockets(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, aiohttp.ClientSession() as http:
        async with welcomed(http, server.url) as socket:
            server.process.send_signal(signal.SIGTERM)
            assert (await socket.receive_json(timeout=10))["type"] == "server.draining"
            assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 1012
        async with asyncio.timeout(15):
            assert await server.process.wait() == 0


async def test_killed_server_starts_again_on_its_store(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await parlour("member", "add", "mia", "--credits", "9.99", "--data", str(tmp_path))
        server.process.kill()
        await server.process.wait()
    async with serving(tmp_path):
        report = await parlour("ledger", "verify", "--data", str(tmp_path))
        assert report["findings"] == []


async def test_demo_streams_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Three experts are live through the real path; after kill -9 their programs end, too."""
    async with serving(tmp_path, "--demo") as server, aiohttp.ClientSession() as http:
        async with states(http, server.url) as experts:
            await experts.become(LIVE)
        report = await parlour("watch", f"{server.url}/whep/luna", "--seconds", "3")
        assert report["tracks"]["video"]["packets"] > 10
        assert report["tracks"]["audio"]["packets"] > 50
        children = programs_of(server.process.pid)
        assert len(children) == 1
        body = {"username": "mia", "password": "demo-parlour"}
        async with http.post(f"{server.url}/api/v1/login", json=body) as reply:
            assert (await reply.json())["you"]["premium"] is True
        server.process.kill()
        await server.process.wait()
        for pid in children:
            await ended(pid)
    async with serving(tmp_path, "--demo") as server, aiohttp.ClientSession() as http:
        async with states(http, server.url) as experts:
            await experts.become(LIVE)
        children = programs_of(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(25):
            await server.process.communicate()
        assert server.process.returncode == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def programs_of(pid: int) -> list[int]:
    """The child processes: those whose parent, by /proc, is this one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


async def test_self_signed_tls_serves_the_demo_too(tmp_path: Path) -> None:
    async with serving(tmp_path, "--demo", "--tls", "self-signed") as server:
        assert server.url.startswith("https://")
        trust = ssl.create_default_context(cafile=tmp_path / "tls" / "self-signed.pem")
        connector = aiohttp.TCPConnector(ssl=trust)
        async with aiohttp.ClientSession(connector=connector) as http:
            async with states(http, server.url) as experts:
                await experts.become(LIVE)
            body = {"username": "mia", "password": "demo-parlour"}
            async with http.post(f"{server.url}/api/v1/login", json=body) as reply:
                cookie = reply.headers["Set-Cookie"]
            assert cookie.startswith("__Host-")
            assert "Secure" in cookie


async def test_logs_hold_no_secrets(tmp_path: Path) -> None:
    """Canaries in every field that a client can fill, and then a search of all that was said."""
    async with serving(tmp_path, PARLOUR__LOG__LEVEL="debug") as server:
        async with aiohttp.ClientSession() as http:
            for path, body in (
                ("/api/v1/login", {"username": "canary-name", "password": "canary-password"}),
                ("/api/v1/accounts", {"username": "canary", "email": "canary@x.example"}),
                ("/api/v1/me?canary-query", None),
            ):
                headers = {"Authorization": "Bearer canary-token", "Cookie": "a=canary-cookie"}
                await http.post(server.url + path, json=body, headers=headers)
            await http.post(
                f"{server.url}/whip/luna",
                data="v=0\r\na=ice-pwd:canary-sdp\r\n",
                headers={"Content-Type": "application/sdp", "Authorization": "Bearer sk_canary"},
            )
        server.process.send_signal(signal.SIGTERM)
        out, _ = await server.process.communicate()
        said = "".join(server.lines) + out.decode()
        assert "canary" not in said
