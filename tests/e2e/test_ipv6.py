"""The whole path over IPv6: webcam, picture in the room, and a paid private session."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.netns import ADDRESS_6, namespace
from tests.e2e.page_media import ways
from tests.e2e.people import held_ms_reaches, stage


async def test_a_private_session_over_ipv6(tmp_path: Path) -> None:
    """The media port has no IPv4 address at all."""
    async with (
        namespace(tmp_path) as net,
        stage(tmp_path / "data", net=net, address=f"[{ADDRESS_6}]") as scene,
    ):
        await scene.begin_private(cam2cam=True)
        await scene.member.decodes("audio", 50)
        await scene.expert.decodes("video", 20)
        await held_ms_reaches(scene.member, 2_000, 15)
        for visitor in (scene.member, scene.expert):
            assert await ways(visitor, "to") == {ADDRESS_6}
        await scene.end_private()
