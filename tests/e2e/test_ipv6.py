"""The whole path over IPv6: webcam, picture in the room, and a paid private session."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.netns import ADDRESS_6, namespace
from tests.e2e.people import (
    accept,
    ask_private,
    charged_units,
    held_ms_reaches,
    in_private,
    stage,
    summary,
    units,
)

ADDRESSES = """async () => {
    const used = new Set();
    for (const pc of window.parlourDebug.pcs()) {
        const all = await pc.getStats();
        for (const pair of all.values())
            if (pair.type === "candidate-pair" && pair.nominated && pair.state === "succeeded")
                used.add(all.get(pair.remoteCandidateId).address);
    }
    return [...used];
}"""
"""Where the page's connections send to."""


async def test_a_private_session_over_ipv6(tmp_path: Path) -> None:
    """The media port has no IPv4 address at all."""
    async with (
        namespace(tmp_path) as net,
        stage(
            tmp_path / "data",
            media=f"[{ADDRESS_6}]:0",
            prefix=net.prefix,
            program=net.wrap("/usr/bin/chromium"),
        ) as scene,
    ):
        await ask_private(scene.member, cam2cam=True)
        await accept(scene.expert)
        await in_private(scene.member)
        await scene.member.decodes("audio", 50)
        await scene.expert.decodes("video", 20)
        await held_ms_reaches(scene.member, 2_000, 15)
        for person in (scene.member, scene.expert):
            assert await person.page.evaluate(ADDRESSES) == [ADDRESS_6]
        await scene.member.click("end-session")
        assert await summary(scene.member) == "member_left"
        assert await units(scene.member, "summary-total") == charged_units(scene.server) > 0
        scene.server.books_are_clean()
