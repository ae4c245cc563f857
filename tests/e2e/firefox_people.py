"""What people do in Firefox, step by step, through the pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.bidi import Firefox, Tab, firefox
from tests.e2e.harness import PASSWORD, Server, running_server
from tests.e2e.netns import ADDRESS, Namespace
from tests.e2e.people import EXPERT

STEP_WAIT_S = 40
INBOUND = """
    const sum = {video: 0, audio: 0, frames: 0};
    for (const pc of window.parlourDebug.pcs()) {
        for (const s of (await pc.getStats()).values()) {
            if (s.type !== "inbound-rtp") continue;
            sum[s.kind] += s.packetsReceived ?? 0;
            sum.frames += s.framesDecoded ?? 0;
        }
    }
    return sum;
"""
"""Packets by kind and decoded frames over all of the page's connections."""


@asynccontextmanager
async def beside_firefox(
    folder: Path, net: Namespace, *arguments: str
) -> AsyncIterator[tuple[Server, Firefox]]:
    """A server with one expert, and a browser, both inside the namespace."""
    async with (
        running_server(
            folder / "data", *arguments, media=f"{ADDRESS}:0", prefix=net.prefix
        ) as server,
        firefox(folder / "profile", net) as browser,
    ):
        server.expert(EXPERT, "--cam2cam", "--two-way-audio")
        yield server, browser


async def sign_in(tab: Tab, url: str, name: str) -> None:
    """Through the sign-in page."""
    await tab.goto(f"{url}/sign-in")
    await tab.fill("username", name)
    await tab.fill("password", PASSWORD)
    await tab.click("submit")
    await tab.until("!!document.querySelector('[data-testid=\"account-menu\"]')", STEP_WAIT_S)


async def go_live(browser: Firefox, url: str) -> Tab:
    """The expert's tab, on air by the browser's camera."""
    expert = await browser.tab()
    await sign_in(expert, url, EXPERT)
    await expert.goto(f"{url}/studio")
    await expert.click("open-devices")  # Firefox keeps asking: the page may not open them itself
    await expert.click("go-live")
    await expert.until("!!document.querySelector('[data-testid=\"on-air\"]')", STEP_WAIT_S)
    return expert


async def watch(browser: Firefox, url: str) -> Tab:
    """A guest's tab in the expert's room; pictures and sound come."""
    guest = await browser.tab()
    await guest.goto(f"{url}/room/{EXPERT}")
    await guest.until("!!window.parlourDebug", STEP_WAIT_S)
    await grows(guest, "frames", 10)
    await grows(guest, "audio", 25)
    return guest


async def grows(tab: Tab, figure: str, by: int) -> None:
    """Wait until that many more packets or frames have come."""
    start = (await tab.run(INBOUND))[figure]
    deadline = asyncio.get_running_loop().time() + STEP_WAIT_S
    while (now := (await tab.run(INBOUND))[figure]) - start < by:
        assert asyncio.get_running_loop().time() < deadline, f"{figure}: {now - start} of {by}"
        await asyncio.sleep(0.1)


async def phase(tab: Tab, name: str) -> None:
    """Wait for a phase of the session."""
    where = "document.querySelector('[data-testid=\"room\"]')?.dataset.phase"
    await tab.until(f"{where} === '{name}'", STEP_WAIT_S)


def units_of(testid: str) -> str:
    """An expression: the server's number behind what is shown, null while it is not."""
    return f"document.querySelector('[data-testid=\"{testid}\"]')?.dataset.units ?? null"


async def units(tab: Tab, testid: str) -> int:
    """The server's number behind what is shown."""
    return int(await tab.until(units_of(testid), STEP_WAIT_S))
