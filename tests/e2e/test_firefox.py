"""Publish, watch and a paid private session once in stock Firefox, through the real pages."""

from __future__ import annotations

import time
from pathlib import Path

from tests.e2e.firefox_people import (
    INBOUND,
    STEP_WAIT_S,
    beside_firefox,
    go_live,
    grows,
    phase,
    sign_in,
    units,
    units_of,
    watch,
)
from tests.e2e.netns import namespace
from tests.e2e.page_media import follows_the_players_size
from tests.e2e.people import EXPERT, MEMBER, charged_units

PRIVATE, CAM2CAM, TWO_WAY_AUDIO = 299, 100, 50
CREDITS = 20
RESUMED_WITHIN_S = 12


async def test_publish_watch_and_private_in_firefox(tmp_path: Path) -> None:
    """Webcam expert, guest, and a member with Cam2Cam and two-way audio, to the ledger's unit."""
    async with (
        namespace(tmp_path) as net,
        beside_firefox(tmp_path, net) as (server, browser),
    ):
        server.member(MEMBER, str(CREDITS))
        expert = await go_live(browser, server.url)
        guest = await watch(browser, server.url)

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


async def test_the_layer_follows_the_player_and_the_server_a_new_address(tmp_path: Path) -> None:
    """A guest draws the picture large, small and large again. Then a NAT gives both ends another
    address, which they do not know.
    """
    async with namespace(tmp_path) as net, beside_firefox(tmp_path, net) as (server, browser):
        await go_live(browser, server.url)
        guest = await watch(browser, server.url)
        await follows_the_players_size(guest)

        net.rebind(server.media_port, "10.77.9.1")
        began = time.monotonic()
        await grows(guest, "frames", 20)
        await grows(guest, "audio", 25)
        print(f"resumed after {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began < RESUMED_WITHIN_S
