"""What every end-to-end test stands on: a real server, the real command line, real browsers."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import signal
import sqlite3
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from playwright.async_api import Browser, BrowserContext, Page

from bench.chromium import CHROMIUM as CHROMIUM
from signaling.cli import cli
from tests.e2e.nursery import Offspring
from tests.e2e.shared import chromium as chromium
from tests.e2e.shared import shared

REPO = Path(__file__).resolve().parents[2]
PARLOUR = [sys.executable, "-m", "signaling.cli"]
READY_WAIT_S = 60
STEP_WAIT_MS = 30_000
"""A step takes a second; the machine that runs the tests may be busy."""
LINES_OF_A_FAILURE = 60
STATE_OF_A_PAGE = """() => ({
    shown: [...document.querySelectorAll("[data-testid]")].map(
        (e) => `${e.dataset.testid} ${JSON.stringify({...e.dataset, testid: undefined})}`
    ).join("; ").slice(0, 3000),
    connections: (window.parlourDebug?.pcs() ?? []).map(
        (pc) => `${pc.connectionState} ${pc.iceConnectionState} ${pc.signalingState}`),
})"""
"""What a failed test says of each visitor's page: most such come once in a hundred runs."""
SMALL_CAMERA = """(() => {
    if (!window.MediaDevices) return;
    const open = MediaDevices.prototype.getUserMedia;
    MediaDevices.prototype.getUserMedia = function ({ video, ...more }) {
        const size = { width: { ideal: 640 }, height: { ideal: 360 } };
        return open.call(this, { ...more, ...(video ? { video: { ...video, ...size } } : {}) });
    };
})()"""
"""Many a webcam is no better. A larger picture in three layers costs most of a core to encode."""
SIGN_IN = """async (who) => {
    const json = {"Content-Type": "application/json"};
    const asked = {method: "POST", headers: json, body: JSON.stringify(who)};
    return (await fetch("/api/v1/login", asked)).status;
}"""
PASSWORD = "correct-horse-9"


@dataclass
class Server:
    """One `parlour serve` on free ports, with its own data directory."""

    data: Path
    process: Offspring | None = None
    url: str = ""
    lines: list[str] = field(default_factory=list)
    arguments: tuple[str, ...] = ()
    http: str = "127.0.0.1:0"
    media: str = "127.0.0.1:0"
    prefix: tuple[str, ...] = ()
    """Words before the command: a network namespace to run in."""

    async def start(self) -> None:
        """Start and wait for the READY line; the chosen ports are kept for a restart."""
        addresses = ("--http", self.http, "--media", self.media, "--data", str(self.data))
        self.process = await self.beside("serve", *addresses, *self.arguments)
        await asyncio.wait_for(self._until_ready(), READY_WAIT_S)
        self._drain = asyncio.create_task(self._read_on())

    async def beside(self, *arguments: str, **options: Any) -> Offspring:
        """`parlour` where this server is, in its network."""
        namespace = self.prefix[-1] if self.prefix else ""
        return await shared().nursery().birth(*arguments, namespace=namespace, **options)

    @property
    def media_port(self) -> int:
        """The number that its media really has."""
        return int(self.media.rpartition(":")[2])

    async def _until_ready(self) -> None:
        assert self.process is not None
        while True:
            raw = await self.process.stdout.readline()
            if not raw:
                raise RuntimeError("the server ended before it was ready:\n" + "".join(self.lines))
            line = raw.decode(errors="replace")
            self.lines.append(line)
            ready = re.search(r"READY (https?://\S+?:(\d+))\S* media udp \S*?(\d+)\s*$", line)
            if ready:
                self.url = ready[1].rstrip("/")
                self.http = f"{self.http.rpartition(':')[0]}:{ready[2]}"
                self.media = f"{self.media.rpartition(':')[0]}:{ready[3]}"
                return

    async def _read_on(self) -> None:
        assert self.process is not None
        while raw := await self.process.stdout.readline():
            self.lines.append(raw.decode(errors="replace"))

    async def kill(self) -> None:
        """SIGKILL: the machine loses power, as far as the server can tell."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM and the exit code; a server that does not end in 20 s is killed."""
        if self.process is None or self.process.returncode is not None:
            return -1
        self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), 20)
        except TimeoutError:
            await self.kill()
            raise RuntimeError("the server did not stop:\n" + "".join(self.lines[-40:])) from None

    def cli(self, *words: str) -> dict[str, object]:
        """One command with `--json` on this server's store.

        In this process, which is another one than the server's all the same: a Python that starts
        for each command would be a sixth of what these tests cost.
        """
        said = io.StringIO()
        arguments = [*words, "--data", str(self.data), "--json"]
        # In a thread, since a command runs an event loop of its own.
        with ThreadPoolExecutor(1) as thread, redirect_stdout(said), quiet_logs():
            code = thread.submit(cli, arguments, standalone_mode=False).result()
        if code:
            raise RuntimeError(f"{words} → {code}: {said.getvalue()}")
        answer: dict[str, object] = json.loads(said.getvalue())
        return answer

    def expert(self, name: str, *options: str) -> str:
        """Add an expert with the test password; returns the stream key."""
        return str(self.cli("expert", "add", name, "--password", PASSWORD, *options)["stream_key"])

    def member(self, name: str, credits: str) -> None:
        """Add a member with credits."""
        self.cli("member", "add", name, "--password", PASSWORD, "--credits", credits)

    def sql(self, query: str) -> list[tuple[object, ...]]:
        """Read the store from outside, as an accountant would."""
        return read_store(self.data / "parlour.db", query)

    def metric(self, name: str) -> float:
        """One figure of `/metrics`."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.split()[1])
        raise AssertionError(f"no metric {name}")

    async def watched(self, expert: str, seconds: float = 3) -> dict[str, Any]:
        """The summary of `parlour watch --json`, run where the server is."""
        address = f"{self.url}/whep/{expert}"
        words = ("watch", address, "--seconds", str(seconds), "--json")
        watching = await self.beside(*words, says_errors=False)
        summary: dict[str, Any] = json.loads(await asyncio.wait_for(watching.stdout.read(), 40))
        return summary

    def books_are_clean(self) -> None:
        """`ledger verify` and `reconcile` find nothing."""
        for command in ("verify", "reconcile"):
            report = self.cli("ledger", command)
            assert report["findings"] == [], report


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Whatever a command does to the logging of its process is undone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers, root.level = handlers, level
        structlog.reset_defaults()


def read_store(database: Path, query: str) -> list[tuple[object, ...]]:
    """One query on a connection that is closed at once.

    One that waits for the garbage collector reads a store of the past once the files under it were
    replaced, and may remove the new ones when it is closed at last.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


@asynccontextmanager
async def running_server(
    data: Path,
    *arguments: str,
    media: str = "127.0.0.1:0",
    http: str = "127.0.0.1:0",
    prefix: tuple[str, ...] = (),
    before: Callable[[Server], object] | None = None,
) -> AsyncIterator[Server]:
    """A server for the length of a test; whom `before` adds is known from the start."""
    server = Server(data=data, arguments=arguments, http=http, media=media, prefix=prefix)
    if before is not None:
        before(server)
    await server.start()
    try:
        yield server
    except BaseException:
        print("the server's last lines:\n", *server.lines[-LINES_OF_A_FAILURE:], sep="")
        raise
    finally:
        if server.process is not None and server.process.returncode is None:
            await server.stop()


@dataclass
class Person:
    """One visitor in a browser context of their own."""

    context: BrowserContext
    page: Page
    server: Server

    def by(self, testid: str) -> str:
        """The selector of a test id."""
        return f'[data-testid="{testid}"]'

    async def run(self, body: str) -> Any:
        """Evaluate an async function's body in the page."""
        return await self.page.evaluate(f"async () => {{{body}}}")

    async def open(self, path: str) -> None:
        """Go to a page of the server."""
        await self.page.goto(self.server.url + path)

    async def sign_in(self, username: str) -> None:
        """By the form's own request: loading its page, and the next, is what costs the time."""
        await self.open("/healthz")  # of the right origin and network, and nothing to show
        status = await self.page.evaluate(SIGN_IN, {"username": username, "password": PASSWORD})
        assert status == 200

    async def sign_in_on_the_page(self, username: str) -> None:
        """Through the sign-in page, as a person does."""
        await self.open("/sign-in")
        await self.page.fill(self.by("username"), username)
        await self.page.fill(self.by("password"), PASSWORD)
        await self.page.click(self.by("submit"))
        await self.page.wait_for_selector(self.by("account-menu"))

    async def click(self, testid: str, timeout_ms: int = STEP_WAIT_MS) -> None:
        """Click what carries the test id."""
        await self.page.click(self.by(testid), timeout=timeout_ms)

    async def see(self, testid: str, timeout_ms: int = STEP_WAIT_MS) -> str:
        """Wait until it is visible; its text."""
        shown = await self.page.wait_for_selector(self.by(testid), timeout=timeout_ms)
        assert shown is not None
        return (await shown.inner_text()).strip()

    async def inbound(self) -> dict[str, dict[str, float]]:
        """What the browser decodes now: kind → summed getStats figures over its connections."""
        figures: dict[str, dict[str, float]] = await self.page.evaluate(
            """async () => {
                const sum = {};
                for (const pc of window.parlourDebug.pcs()) {
                    for (const s of (await pc.getStats()).values()) {
                        if (s.type !== "inbound-rtp") continue;
                        const k = sum[s.kind] ??= {packets: 0, frames: 0, samples: 0, energy: 0};
                        k.packets += s.packetsReceived ?? 0;
                        k.frames += s.framesDecoded ?? 0;
                        k.samples += s.totalSamplesReceived ?? 0;
                        k.energy += s.totalAudioEnergy ?? 0;
                    }
                }
                return sum;
            }"""
        )
        return figures

    async def decodes(
        self, kind: str, at_least: int, within_s: float = STEP_WAIT_MS / 1000
    ) -> None:
        """Wait until that many more frames (video) or packets (audio) have been decoded."""
        field_name = "frames" if kind == "video" else "packets"
        deadline = asyncio.get_running_loop().time() + within_s
        # The address changes before the room is there.
        await self.page.wait_for_function("() => window.parlourDebug", timeout=within_s * 1_000)
        start = (await self.inbound()).get(kind, {}).get(field_name, 0)
        while True:
            now = (await self.inbound()).get(kind, {}).get(field_name, 0)
            if now - start >= at_least:
                return
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{kind}: {now - start} of {at_least} {field_name}")
            await asyncio.sleep(0.1)

    async def gets_nothing(self, seconds: float) -> None:
        """Not one media packet arrives for that long."""
        grown = await self._grown(seconds)
        assert all(n <= 0 for n in grown.values()), grown

    async def falls_silent(self, seconds: float, within_s: float) -> None:
        """The same, once what was on its way has arrived."""
        async with asyncio.timeout(within_s):
            while any(n > 0 for n in (await self._grown(seconds)).values()):
                pass

    async def _grown(self, seconds: float) -> dict[str, float]:
        """How many packets arrive in that long, by kind."""
        before = {kind: f["packets"] for kind, f in (await self.inbound()).items()}
        await asyncio.sleep(seconds)
        after = {kind: f["packets"] for kind, f in (await self.inbound()).items()}
        return {kind: n - before.get(kind, 0) for kind, n in after.items()}


@asynccontextmanager
async def person(
    browser: Browser, server: Server, *, small_camera: bool = True, **options: object
) -> AsyncIterator[Person]:
    """A visitor with their own cookies."""
    context = await browser.new_context(
        permissions=["camera", "microphone"],
        ignore_https_errors=True,
        viewport={"width": 1280, "height": 800},
        **options,  # type: ignore[arg-type]
    )
    if small_camera:
        await context.add_init_script(SMALL_CAMERA)
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    try:
        yield Person(context, page, server)
    except BaseException:
        print(f"a page at the failure ({page.url}), its errors {problems}:")
        print(await page.evaluate(STATE_OF_A_PAGE))
        raise
    else:
        assert problems == [], f"errors in the page: {problems}"
    finally:
        await context.close()
