"""A webcam expert sends layers; a viewer's layer follows the size of its picture, and no freeze."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e import firefox_people
from tests.e2e.firefox_people import beside_firefox
from tests.e2e.harness import chromium, person, running_server
from tests.e2e.netns import namespace
from tests.e2e.page_media import LARGE, Page, draw_at, shows
from tests.e2e.people import EXPERT, enter_room, go_live

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


async def test_a_chromium_viewers_layer_follows_its_players_size(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, chromium() as browser:
        server.expert(EXPERT)
        async with person(browser, server) as expert, person(browser, server) as guest:
            await go_live(expert)
            await enter_room(guest)
            await follows_the_players_size(guest)


async def test_a_firefox_viewers_layer_follows_its_players_size(tmp_path: Path) -> None:
    async with (
        namespace(tmp_path) as net,
        beside_firefox(tmp_path, net) as (server, browser),
    ):
        await firefox_people.go_live(browser, server.url)
        await follows_the_players_size(await firefox_people.watch(browser, server.url))
