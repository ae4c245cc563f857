"""A stock Firefox driven over WebDriver BiDi: only the few commands that the tests need.

Firefox speaks BiDi on a WebSocket once started with `--remote-debugging-port`
(W3C WebDriver BiDi, 2026 working draft).
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.netns import Namespace

PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    # No visits of its own: the machine's network is closed.
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}
START_WAIT_S = 40


class Firefox:
    """One browser and its BiDi session."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._id = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            data = json.loads(message.data)
            waiting = self._answers.pop(data.get("id", -1), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(data)

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result; a BiDi error is raised."""
        self._id += 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._id] = future
        await self._socket.send_json({"id": self._id, "method": method, "params": params})
        answer = await asyncio.wait_for(future, 60)
        if answer.get("type") == "error":
            raise RuntimeError(f"{method}: {answer.get('error')}: {answer.get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    async def tab(self) -> Tab:
        """A page with cookies of its own, in a window of its own: a hidden tab is slowed down."""
        person = await self.command("browser.createUserContext")
        made = await self.command(
            "browsingContext.create", type="window", userContext=person["userContext"]
        )
        return Tab(self, made["context"])


class Tab:
    """One page of the browser."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self._firefox = firefox
        self._context = context

    async def goto(self, url: str) -> None:
        """Load and wait for `load`."""
        await self._firefox.command(
            "browsingContext.navigate", context=self._context, url=url, wait="complete"
        )

    async def run(self, body: str) -> Any:
        """Evaluate an async function's body in the page; JSON comes back."""
        answer = await self._firefox.command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await (async () => {{{body}}})() ?? null))()",
            target={"context": self._context},
            awaitPromise=True,
            userActivation=True,
        )
        if answer["type"] == "exception":
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    async def until(self, expression: str, within_s: float = 20) -> Any:
        """Poll until the expression is truthy; its value."""
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            value = await self.run(f"return ({expression});")
            if value:
                return value
            if asyncio.get_running_loop().time() > deadline:
                shown = await self.run("return document.body.innerText;")
                raise AssertionError(f"never true: {expression}\nThe page says:\n{shown}")
            await asyncio.sleep(0.1)

    async def click(self, testid: str) -> None:
        """Click what carries the test id, once it is there and enabled, with the window in front:
        Firefox gives devices only to a page that has the focus.
        """
        await self._firefox.command("browsingContext.activate", context=self._context)
        selector = f'[data-testid="{testid}"]'
        await self.until(f"!!document.querySelector('{selector}:not([disabled])')")
        await self.run(f"document.querySelector('{selector}').click()")

    async def fill(self, testid: str, text: str) -> None:
        """Type into a field as the page's listeners see it."""
        selector = f'[data-testid="{testid}"]'
        await self.until(f"!!document.querySelector('{selector}')")
        await self.run(
            f"const e = document.querySelector('{selector}');"
            "const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;"
            f"set.call(e, {json.dumps(text)});"
            "e.dispatchEvent(new Event('input', {bubbles: true}));"
            "e.dispatchEvent(new Event('change', {bubbles: true}));"
        )


@asynccontextmanager
async def firefox(profile: Path, net: Namespace) -> AsyncIterator[Firefox]:
    """A headless Firefox ESR with fake devices and a fresh profile, inside a namespace.

    Inside, because a Firefox that sees the machine's own interface gathers no candidate that
    reaches a server on loopback.
    """
    profile.mkdir(parents=True)
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
    (profile / "user.js").write_text("\n".join(lines))
    process = await asyncio.create_subprocess_exec(
        *net.prefix,
        "firefox-esr",
        "--headless",
        "--no-remote",
        "--profile",
        str(profile),
        "--remote-debugging-port",
        "0",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        address = await asyncio.wait_for(_bidi_address(process), START_WAIT_S)
        connector = aiohttp.TCPConnector(socket_factory=net.socket)
        async with aiohttp.ClientSession(connector=connector) as http:
            socket = await http.ws_connect(f"{address}/session", max_msg_size=0)
            browser = Firefox(socket)
            # Servers on an address that is not this machine's own speak TLS with a key they made.
            trusting = {"alwaysMatch": {"acceptInsecureCerts": True}}
            await browser.command("session.new", capabilities=trusting)
            drain = asyncio.create_task(_discard(process))
            try:
                yield browser
            finally:
                drain.cancel()
                await socket.close()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _bidi_address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    while raw := await process.stderr.readline():
        found = re.search(r"WebDriver BiDi listening on (ws://\S+)", raw.decode(errors="replace"))
        if found:
            return found[1]
    raise RuntimeError("Firefox ended before it listened")


async def _discard(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.readline():
        pass
