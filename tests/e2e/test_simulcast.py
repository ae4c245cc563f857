"""A webcam expert sends layers; a viewer's layer follows the size of its picture, and no freeze."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Protocol

from tests.e2e.bidi import firefox
from tests.e2e.harness import chromium, person, running_server
from tests.e2e.netns import ADDRESS, namespace
from tests.e2e.people import EXPERT, enter_room, go_live
from tests.e2e.test_firefox import STEP_WAIT_S
from tests.e2e.test_firefox import go_live as go_live_in_firefox

WAIT_S = 20
FREEZE_MS = 1_000
"""Between two pictures; a change of layer takes none longer than usual, a busy machine may."""
SMALL, LARGE = (200, 112), (1280, 720)

DRAW_AT = """
    const video = document.querySelector("video[data-testid='player']")
        ?? document.querySelector("video");
    video.style.cssText = `position:fixed;inset:0 auto auto 0;width:${WIDTH}px;height:${HEIGHT}px`;
    return true;
"""
WATCH_FRAMES = """
    const video = document.querySelector("video[data-testid='player']")
        ?? document.querySelector("video");
    window.longestMs = 0;
    let last = performance.now();
    const next = () => {
        const now = performance.now();
        window.longestMs = Math.max(window.longestMs, now - last);
        last = now;
        video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
    return true;
"""
SEEN = """
    const found = {width: 0, frames: 0, longestMs: window.longestMs ?? 0};
    for (const pc of window.parlourDebug.pcs()) {
        for (const s of (await pc.getStats()).values()) {
            if (s.type !== "inbound-rtp" || s.kind !== "video") continue;
            found.width = Math.max(found.width, s.frameWidth ?? 0);
            found.frames += s.framesDecoded ?? 0;
        }
    }
    return found;
"""


class Viewing(Protocol):
    """A page that watches."""

    async def run(self, body: str) -> Any:
        """Evaluate an async function's body."""


class ChromiumPage:
    """Playwright's page with the same face as Firefox's tab."""

    def __init__(self, page: Any) -> None:
        self._page = page

    async def run(self, body: str) -> Any:
        """Evaluate an async function's body."""
        return await self._page.evaluate(f"async () => {{{body}}}")


async def shows(viewer: Viewing, at_least: int, at_most: int) -> dict[str, Any]:
    """Wait until the decoded picture's width is within these."""
    seen: dict[str, Any] = {}
    for _ in range(WAIT_S * 10):
        seen = await viewer.run(SEEN)
        if at_least <= seen["width"] <= at_most and seen["frames"] > 5:
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError(f"wanted {at_least} to {at_most} pixels, got {seen}")


async def draw_at(viewer: Viewing, size: tuple[int, int]) -> None:
    width, height = map(str, size)
    await viewer.run(DRAW_AT.replace("${WIDTH}", width).replace("${HEIGHT}", height))


async def follows_the_players_size(viewer: Viewing) -> None:
    """Large, small, large again, while pictures go on."""
    await draw_at(viewer, LARGE)
    large = await shows(viewer, 600, 9_999)
    await viewer.run(WATCH_FRAMES)
    await draw_at(viewer, SMALL)
    small = await shows(viewer, 1, large["width"] // 2)
    await asyncio.sleep(1)
    await draw_at(viewer, LARGE)
    again = await shows(viewer, large["width"], 9_999)
    print([seen["width"] for seen in (large, small, again)], "longest", again["longestMs"], "ms")
    assert large["frames"] < small["frames"] < again["frames"]
    assert again["longestMs"] < FREEZE_MS


async def test_a_chromium_viewers_layer_follows_its_players_size(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, chromium() as browser:
        server.expert(EXPERT)
        async with person(browser, server) as expert, person(browser, server) as guest:
            await go_live(expert)
            await enter_room(guest)
            await follows_the_players_size(ChromiumPage(guest.page))


async def test_a_firefox_viewers_layer_follows_its_players_size(tmp_path: Path) -> None:
    async with (
        namespace(tmp_path) as net,
        running_server(tmp_path / "data", media=f"{ADDRESS}:0", prefix=net.prefix) as server,
        firefox(tmp_path / "profile", net) as browser,
    ):
        server.expert(EXPERT)
        await go_live_in_firefox(browser, server.url)
        guest = await browser.tab()
        await guest.goto(f"{server.url}/room/{EXPERT}")
        await guest.until("!!window.parlourDebug", STEP_WAIT_S)
        await follows_the_players_size(guest)
