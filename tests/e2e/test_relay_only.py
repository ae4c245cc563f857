"""Networks that let nothing but a TURN server through: publish, watch and pay over a real coturn.

The pages are told to by the server's own setting (`ice.transport_policy = "relay"`), and get their
passwords from `GET /api/v1/ice-servers`.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.coturn import coturn, relaying_config
from tests.e2e.firefox_people import beside_firefox, go_live, watch
from tests.e2e.netns import namespace
from tests.e2e.page_media import ways
from tests.e2e.people import held_ms_reaches, stage


async def test_chromium_through_a_relay_only(tmp_path: Path) -> None:
    """On air, watched, and Cam2Cam with sound both ways: every packet went through coturn."""
    config = str(relaying_config(tmp_path, "udp"))
    async with (
        namespace(tmp_path) as net,
        coturn(net, tmp_path) as relay,
        stage(tmp_path / "data", "--config", config, net=net) as scene,
    ):
        await scene.begin_private(cam2cam=True, two_way_audio=True)
        for visitor in (scene.member, scene.expert):
            await visitor.decodes("video", 20)
            await visitor.decodes("audio", 50)
            assert await ways(visitor, "type") == {"relay"}
        await held_ms_reaches(scene.member, 2_000, 15)
        await scene.end_private()
        assert relay.said.count("ALLOCATE processed, success") >= 4, "one for each connection"


async def test_firefox_through_a_relay_only(tmp_path: Path) -> None:
    """Over TURN on TCP: on air, and watched by a guest."""
    config = str(relaying_config(tmp_path, "tcp"))
    async with (
        namespace(tmp_path) as net,
        coturn(net, tmp_path) as relay,
        beside_firefox(tmp_path, net, "--config", config) as (server, browser),
    ):
        expert = await go_live(browser, server.url)
        guest = await watch(browser, server.url)
        for tab in (expert, guest):
            assert await ways(tab, "type") == {"relay"}
        assert relay.said.count("ALLOCATE processed, success") >= 2
