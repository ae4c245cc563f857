"""Publish, watch and a paid private session once in stock Firefox, through the real pages."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.e2e.bidi import Firefox, Tab, firefox
from tests.e2e.harness import PASSWORD, running_server
from tests.e2e.netns import ADDRESS, namespace
from tests.e2e.people import EXPERT, MEMBER, charged_units

PRIVATE, CAM2CAM, TWO_WAY_AUDIO = 299, 100, 50
CREDITS = 20
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


async def sign_in(tab: Tab, url: str, name: str) -> None:
    await tab.goto(f"{url}/sign-in")
    await tab.fill("username", name)
    await tab.fill("password", PASSWORD)
    await tab.click("submit")
    await tab.until("!!document.querySelector('[data-testid=\"account-menu\"]')", STEP_WAIT_S)


async def grows(tab: Tab, figure: str, by: int) -> None:
    """Wait until that many more packets or frames have come."""
    start = (await tab.run(INBOUND))[figure]
    deadline = asyncio.get_running_loop().time() + STEP_WAIT_S
    while (now := (await tab.run(INBOUND))[figure]) - start < by:
        assert asyncio.get_running_loop().time() < deadline, f"{figure}: {now - start} of {by}"
        await asyncio.sleep(0.1)


async def phase(tab: Tab, name: str) -> None:
    where = "document.querySelector('[data-testid=\"room\"]')?.dataset.phase"
    await tab.until(f"{where} === '{name}'", STEP_WAIT_S)


def units_of(testid: str) -> str:
    """An expression: the server's number behind what is shown, null while it is not."""
    return f"document.querySelector('[data-testid=\"{testid}\"]')?.dataset.units ?? null"


async def units(tab: Tab, testid: str) -> int:
    return int(await tab.until(units_of(testid), STEP_WAIT_S))


async def go_live(browser: Firefox, url: str) -> Tab:
    expert = await browser.tab()
    await sign_in(expert, url, EXPERT)
    await expert.goto(f"{url}/studio")
    await expert.click("open-devices")  # Firefox keeps asking: the page may not open them itself
    await expert.click("go-live")
    await expert.until("!!document.querySelector('[data-testid=\"on-air\"]')", STEP_WAIT_S)
    return expert


async def test_publish_watch_and_private_in_firefox(tmp_path: Path) -> None:
    """Webcam expert, guest, and a member with Cam2Cam and two-way audio, to the ledger's unit."""
    async with (
        namespace(tmp_path) as net,
        running_server(tmp_path / "data", media=f"{ADDRESS}:0", prefix=net.prefix) as server,
        firefox(tmp_path / "profile", net) as browser,
    ):
        server.expert(EXPERT, "--cam2cam", "--two-way-audio")
        server.member(MEMBER, str(CREDITS))
        expert = await go_live(browser, server.url)
        guest = await browser.tab()
        await guest.goto(f"{server.url}/room/{EXPERT}")
        await guest.until("!!window.parlourDebug", STEP_WAIT_S)
        await grows(guest, "frames", 10)
        await grows(guest, "audio", 25)

        member = await browser.tab()
        await sign_in(member, server.url, MEMBER)
        await member.goto(f"{server.url}/room/{EXPERT}")
        await member.click("start-private")
        await member.click("start-cam2cam")
        await member.click("start-two-way-audio")
        await member.click("confirm-private")
        await expert.click("accept")
        await phase(member, "active")
        before = await guest.run(INBOUND)
        for tab in (member, expert):
            await grows(tab, "frames", 20)
            await grows(tab, "audio", 50)
        await member.until(f"Number({units_of('hud-cost')}) > {3 * PRIVATE}", STEP_WAIT_S)
        cost, balance = await member.run(
            f"return [Number({units_of('hud-cost')}), Number({units_of('hud-balance')})];"
        )
        assert cost + balance == CREDITS * 6_000
        after = await guest.run(INBOUND)
        assert {k: after[k] - before[k] for k in ("video", "audio")} == {"video": 0, "audio": 0}

        await member.click("end-session")
        total = await units(member, "summary-total")
        assert total == charged_units(server)
        assert await units(member, "summary-balance") == CREDITS * 6_000 - total
        [[private_s, cam_s, audio_s]] = server.sql(
            "select private_s, cam2cam_s, two_way_audio_s from meter_sessions"
        )
        lines = (private_s, PRIVATE), (cam_s, CAM2CAM), (audio_s, TWO_WAY_AUDIO)
        assert total == sum(int(str(seconds)) * rate for seconds, rate in lines)
        assert min(int(str(seconds)) for seconds, _ in lines) >= 1
        server.books_are_clean()
        await grows(guest, "frames", 10)  # the free room has its pictures back
