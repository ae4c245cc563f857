"""Networks that block UDP: publish, watch and a paid private session over ICE-TCP alone."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.firefox_people import beside_firefox, go_live, watch
from tests.e2e.netns import namespace
from tests.e2e.page_media import ways
from tests.e2e.people import held_ms_reaches, stage


async def test_chromium_without_udp(tmp_path: Path) -> None:
    """Webcam, picture in the room, and Cam2Cam with sound both ways, to the ledger's unit."""
    async with namespace(tmp_path) as net:
        net.drop_udp()
        async with stage(tmp_path / "data", net=net) as scene:
            await scene.member.decodes("video", 30)
            await scene.member.decodes("audio", 50)
            await scene.begin_private(cam2cam=True, two_way_audio=True)
            await scene.expert.decodes("video", 20)
            await scene.expert.decodes("audio", 50)
            await held_ms_reaches(scene.member, 3_000, 15)
            for visitor in (scene.member, scene.expert):
                assert await ways(visitor, "protocol") == {"tcp"}
            await scene.end_private()


async def test_firefox_without_udp(tmp_path: Path) -> None:
    """Webcam and picture in the room."""
    async with namespace(tmp_path) as net:
        net.drop_udp()
        async with beside_firefox(tmp_path, net) as (server, browser):
            expert = await go_live(browser, server.url)
            guest = await watch(browser, server.url)
            for tab in (expert, guest):
                assert await ways(tab, "protocol") == {"tcp"}
