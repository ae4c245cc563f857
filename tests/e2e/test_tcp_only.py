"""Networks that block UDP: publish, watch and a paid private session over ICE-TCP alone."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.bidi import firefox
from tests.e2e.harness import Person, Server, running_server
from tests.e2e.netns import ADDRESS, namespace
from tests.e2e.people import (
    EXPERT,
    accept,
    ask_private,
    charged_units,
    held_ms_reaches,
    in_private,
    stage,
    summary,
    units,
)
from tests.e2e.test_firefox import STEP_WAIT_S, go_live, grows

PROTOCOLS = """
    const used = [];
    for (const pc of window.parlourDebug.pcs()) {
        const all = await pc.getStats();
        for (const pair of all.values()) {
            if (pair.type !== "candidate-pair" || !pair.nominated || pair.state !== "succeeded")
                continue;
            used.push(all.get(pair.localCandidateId).protocol);
        }
    }
    return used;
"""
"""The transport protocol of every nominated pair of the page's connections."""


async def protocols(person: Person) -> set[str]:
    return set(await person.page.evaluate(f"async () => {{{PROTOCOLS}}}"))


async def test_chromium_without_udp(tmp_path: Path) -> None:
    """Webcam, picture in the room, and Cam2Cam with sound both ways, to the ledger's unit."""
    async with namespace(tmp_path) as net:
        net.drop_udp()
        async with stage(
            tmp_path / "data",
            media=f"{ADDRESS}:0",
            prefix=net.prefix,
            program=net.wrap("/usr/bin/chromium"),
        ) as scene:
            await scene.member.decodes("video", 30)
            await scene.member.decodes("audio", 50)
            await ask_private(scene.member, cam2cam=True, two_way_audio=True)
            await accept(scene.expert)
            await in_private(scene.member)
            await scene.expert.decodes("video", 20)
            await scene.expert.decodes("audio", 50)
            await held_ms_reaches(scene.member, 3_000, 15)
            assert await protocols(scene.member) == {"tcp"}
            assert await protocols(scene.expert) == {"tcp"}
            await scene.member.click("end-session")
            assert await summary(scene.member) == "member_left"
            assert await units(scene.member, "summary-total") == charged_units(scene.server) > 0
            scene.server.books_are_clean()


async def test_firefox_without_udp(tmp_path: Path) -> None:
    """Webcam and picture in the room."""
    async with namespace(tmp_path) as net:
        net.drop_udp()
        Server(data=tmp_path / "data").expert(EXPERT)
        async with (
            running_server(tmp_path / "data", media=f"{ADDRESS}:0", prefix=net.prefix) as server,
            firefox(tmp_path / "profile", net) as browser,
        ):
            expert = await go_live(browser, server.url)
            guest = await browser.tab()
            await guest.goto(f"{server.url}/room/{EXPERT}")
            await guest.until("!!window.parlourDebug", STEP_WAIT_S)
            await grows(guest, "frames", 20)
            await grows(guest, "audio", 50)
            for tab in (expert, guest):
                assert set(await tab.run(PROTOCOLS)) == {"tcp"}
