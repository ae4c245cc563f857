"""The network changes under real browsers: the same connections find another way, at one price.

The server and Chromium live in two namespaces with a cable between them. The address of Chromium's
end is really taken away and another one given, so that both its WebSockets and its media lose their
way at once.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bench.chromium import REAL_ADDRESSES
from tests.e2e.across import across_a_cable
from tests.e2e.bidi import firefox
from tests.e2e.firefox_people import go_live, grows, watch
from tests.e2e.harness import CHROMIUM, Person, chromium
from tests.e2e.netns import CLIENT_ADDRESS, OTHER_ADDRESS
from tests.e2e.people import charged_units, held_ms_reaches, on_stage, summary, units

pytestmark = pytest.mark.alone
PRIVATE, CAM2CAM, TWO_WAY_AUDIO = 299, 100, 50
BACK_WITHIN_S = 12
"""From the loss of the address to moving pictures; a full reconnect takes no longer."""
TOLERANCE_S = 1

MARK = "for (const pc of window.parlourDebug.pcs()) pc.before = true;"
REPLACED = "return window.parlourDebug.pcs().filter((pc) => !pc.before).length;"
LOCAL_ADDRESSES = """
    const found = new Set();
    for (const pc of window.parlourDebug.pcs()) {
        const all = await pc.getStats();
        for (const transport of all.values()) {
            if (transport.type !== "transport") continue;
            const pair = all.get(transport.selectedCandidatePairId);
            found.add(all.get(pair.localCandidateId).address);
        }
    }
    return [...found];
"""
"""From which addresses the page's connections send now."""


async def moves(visitor: Person, kind: str, at_least: int, deadline: float) -> None:
    """Media of this kind flows again before the loop's clock says so."""
    left_s = deadline - asyncio.get_running_loop().time()
    await visitor.decodes(kind, at_least, left_s)


async def until_a_picture(visitor: Person, began: float) -> float:
    """Seconds from `began` until the visitor has the next picture."""
    await visitor.decodes("video", 1, BACK_WITHIN_S)
    return asyncio.get_running_loop().time() - began


async def test_a_private_session_survives_another_network(tmp_path: Path) -> None:
    """Cam2Cam and two-way audio: four peer connections, none of them replaced, no gap charged."""
    async with AsyncExitStack() as stack:
        server, _, at_browser = await stack.enter_async_context(across_a_cable(tmp_path))
        browser = await stack.enter_async_context(
            chromium(
                "--ignore-certificate-errors", REAL_ADDRESSES, program=at_browser.wrap(CHROMIUM)
            )
        )
        scene = await on_stage(server, browser, stack)
        expert, member = scene.expert, scene.member
        await scene.begin_private(cam2cam=True, two_way_audio=True)
        await held_ms_reaches(member, 3_000, 15)
        for visitor in (expert, member):
            await visitor.decodes("video", 10)
            assert await visitor.run(LOCAL_ADDRESSES) == [CLIENT_ADDRESS]
            await visitor.run(MARK)
        before = await units(member, "hud-cost")
        loop = asyncio.get_running_loop()
        began = loop.time()
        at_browser.move(CLIENT_ADDRESS, OTHER_ADDRESS)
        gap = asyncio.create_task(until_a_picture(member, began))
        for visitor in (expert, member):
            await moves(visitor, "video", 10, began + BACK_WITHIN_S)
            await moves(visitor, "audio", 25, began + BACK_WITHIN_S)
        gap_s = await gap
        for visitor in (expert, member):
            assert await visitor.run(LOCAL_ADDRESSES) == [OTHER_ADDRESS]
            assert await visitor.run(REPLACED) == 0
        await held_ms_reaches(member, 8_000, 15)
        await member.click("end-session")
        assert await summary(member) == "member_left"
        total = await units(member, "summary-total")
        wall_s = loop.time() - began
        per_second = PRIVATE + CAM2CAM + TWO_WAY_AUDIO
        assert total == charged_units(server)
        assert total - before <= (wall_s - gap_s + TOLERANCE_S) * per_second
        server.books_are_clean()


async def test_firefox_stays_on_air_and_watching_over_another_network(tmp_path: Path) -> None:
    """The free room: both connections go on, neither is replaced."""
    async with (
        across_a_cable(tmp_path) as (server, _, at_browser),
        firefox(tmp_path / "profile", at_browser) as browser,
    ):
        expert = await go_live(browser, server.url)
        guest = await watch(browser, server.url)
        for tab in (expert, guest):
            await tab.run(MARK)
        at_browser.move(CLIENT_ADDRESS, OTHER_ADDRESS)
        await grows(guest, "frames", 20)
        for tab in (expert, guest):
            assert await tab.run(REPLACED) == 0
