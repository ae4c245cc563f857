"""A guest watches and hears an expert, members chat, a camcorder's file is as good as a webcam."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.e2e.harness import chromium, person, running_server
from tests.e2e.people import EXPERT, MEMBER, enter_room, quiet, stage
from tests.e2e.publisher import publishing


async def test_a_guest_sees_and_hears_members_type_and_closing_stops_all(tmp_path: Path) -> None:
    """Frames and sound are decoded, not merely received. The member's line reaches all with their
    name; the guest has no text box. B8: half a second after the last Close, the server forwards
    nothing any more.
    """
    async with stage(tmp_path) as scene:
        guest = await scene.newcomer()
        await enter_room(guest)
        await guest.decodes("video", 30)
        await guest.click("tap-for-sound")
        await guest.decodes("audio", 100)
        heard = await guest.inbound()
        assert heard["audio"]["energy"] > 0, "the fake microphone beeps"

        await scene.member.page.fill(scene.member.by("chat-input"), "Good evening, Luna!")
        await scene.member.click("chat-send")
        for visitor in (scene.member, guest, scene.expert):
            line = visitor.page.locator(visitor.by("chat-line"), has_text="Good evening, Luna!")
            await line.wait_for(timeout=5_000)
            assert MEMBER in await line.inner_text()
        assert await guest.page.locator(guest.by("chat-input")).count() == 0
        await guest.page.locator(guest.by("chat-preset")).first.click()
        await scene.expert.page.locator(scene.expert.by("chat-line")).nth(1).wait_for()

        await guest.click("close-room")
        await guest.page.wait_for_url("**/")
        await scene.member.decodes("video", 5)
        forwarded = "parlour_media_packets_forwarded_total"
        assert scene.server.metric(forwarded) > 0
        await scene.member.click("close-room")
        await quiet(0.5)
        after_close = scene.server.metric(forwarded)
        await scene.member.page.wait_for_url("**/")
        await quiet(1)
        assert scene.server.metric(forwarded) == after_close


async def test_a_camcorder_file_is_as_good_as_a_webcam(tmp_path: Path) -> None:
    """`parlour publish` loops an H.264 file over WHIP; a guest decodes picture and sound."""
    film = tmp_path / "camcorder.mp4"
    subprocess.run(
        [
            *("ffmpeg", "-loglevel", "error", "-y"),
            *("-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"),
            *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"),
            *("-t", "4", "-c:v", "libx264", "-profile:v", "baseline", "-pix_fmt", "yuv420p"),
            *("-g", "25", "-bf", "0", "-c:a", "libopus", str(film)),
        ],
        check=True,
    )
    async with (
        running_server(tmp_path / "data") as server,
        publishing(server, EXPERT, server.expert(EXPERT), "--input", str(film), "--loop"),
        chromium() as browser,
        person(browser, server) as guest,
    ):
        await guest.open("/")
        await guest.page.wait_for_selector(
            f'[data-testid="expert-card"][data-expert="{EXPERT}"][data-state="live_free"]',
            timeout=20_000,
        )
        await enter_room(guest)
        await guest.decodes("video", 150, within_s=20)
        await guest.decodes("audio", 100)
