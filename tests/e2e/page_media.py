"""What a page's media does, as the browser itself tells it, in any browser."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

PICTURE_WAIT_S = 20
LARGE = (1280, 720)
"""CSS pixels of a player that takes the largest layer."""

NOMINATED = """
    const used = [];
    for (const pc of window.parlourDebug.pcs()) {
        const all = await pc.getStats();
        for (const pair of all.values()) {
            if (pair.type !== "candidate-pair" || !pair.nominated || pair.state !== "succeeded")
                continue;
            const here = all.get(pair.localCandidateId);
            const there = all.get(pair.remoteCandidateId);
            used.push({type: here.candidateType, protocol: here.protocol, to: there.address});
        }
    }
    return used;
"""
DRAW_AT = """
    const video = document.querySelector("video[data-testid='player']")
        ?? document.querySelector("video");
    video.style.cssText = `position:fixed;inset:0 auto auto 0;width:${WIDTH}px;height:${HEIGHT}px`;
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

FREEZE_MS = 1_000
"""Between two pictures; a change of layer takes none longer than usual, a busy machine may."""
SMALL = (200, 112)

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


class Page(Protocol):
    """A page of ours, in Chromium (`harness.Person`) or Firefox (`bidi.Tab`)."""

    async def run(self, body: str) -> Any:
        """Evaluate an async function's body."""


async def ways(page: Page, figure: str) -> set[str]:
    """What the nominated pairs of the page's connections have there: the local candidate's `type`
    and `protocol`, and the address they send `to`.
    """
    return {pair[figure] for pair in await page.run(NOMINATED)}


async def draw_at(viewer: Page, size: tuple[int, int]) -> None:
    """The player gets that size, in CSS pixels."""
    width, height = map(str, size)
    await viewer.run(DRAW_AT.replace("${WIDTH}", width).replace("${HEIGHT}", height))


async def shows(viewer: Page, at_least: int, at_most: int) -> dict[str, Any]:
    """Wait until the decoded picture's width is within these."""
    seen: dict[str, Any] = {}
    for _ in range(PICTURE_WAIT_S * 10):
        seen = await viewer.run(SEEN)
        if at_least <= seen["width"] <= at_most and seen["frames"] > 5:
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError(f"wanted {at_least} to {at_most} pixels, got {seen}")


async def follows_the_players_size(viewer: Page) -> None:
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
