"""A line that the kernel makes narrow (tbf, between namespaces): a small picture, and sound."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.e2e.across import across_a_cable
from tests.e2e.harness import CHROMIUM, Person, chromium, person
from tests.e2e.page_media import LARGE, draw_at, shows
from tests.e2e.people import enter_room, go_live

CAP_KBPS = 300
BURST_BYTES = 8_000
WAIT_MS = 300
"""A picture at once, and a home router's queue."""
FITS_S = 6
"""The impairment bench measures the three seconds that are promised; a browser on a busy machine
takes a moment to say that packets are missing."""
WATCHED_S = 8
AUDIO_LOST_MAX = 0.03
SMALL_WIDTH = 400

HEARD = """
    const found = {bytes: 0, audio: 0, audioLost: 0};
    for (const pc of window.parlourDebug.pcs()) {
        for (const s of (await pc.getStats()).values()) {
            if (s.type !== "inbound-rtp") continue;
            found.bytes += s.bytesReceived ?? 0;
            if (s.kind !== "audio") continue;
            found.audio += s.packetsReceived ?? 0;
            found.audioLost += Math.max(s.packetsLost ?? 0, 0);
        }
    }
    return found;
"""


async def heard(visitor: Person) -> dict[str, Any]:
    return dict(await visitor.run(HEARD))


async def bitrate_kbps(visitor: Person, seconds: float) -> float:
    """What the visitor gets, over that time."""
    before = await heard(visitor)
    await asyncio.sleep(seconds)
    return float((await heard(visitor))["bytes"] - before["bytes"]) * 8 / 1_000 / seconds


async def test_a_viewer_on_300_kbit_gets_the_small_picture_and_the_sound(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server, at_server, at_browser = await stack.enter_async_context(across_a_cable(tmp_path))
        near, far = [
            await stack.enter_async_context(
                chromium("--ignore-certificate-errors", program=net.wrap(CHROMIUM))
            )
            for net in (at_server, at_browser)
        ]
        expert, other = [
            await stack.enter_async_context(person(near, server, small_camera=False))
            for _ in range(2)
        ]
        viewer = await stack.enter_async_context(person(far, server))
        await go_live(expert)
        for watching in (other, viewer):
            await enter_room(watching)
            await draw_at(watching, LARGE)
            await shows(watching, 600, 9_999)
        at_server.narrow(CAP_KBPS, BURST_BYTES, WAIT_MS)
        await asyncio.sleep(FITS_S)
        before = await heard(viewer)
        got_kbps, other_kbps = await asyncio.gather(
            bitrate_kbps(viewer, WATCHED_S), bitrate_kbps(other, WATCHED_S)
        )
        after = await heard(viewer)
        came, lost = (after[name] - before[name] for name in ("audio", "audioLost"))
        print(f"{got_kbps:.0f} kbit/s beside {other_kbps:.0f}; {lost} of {came + lost} lost")
        await shows(viewer, 1, SMALL_WIDTH)
        await shows(other, 600, 9_999)
        assert got_kbps < CAP_KBPS < other_kbps
        assert came > WATCHED_S * 40
        assert lost <= AUDIO_LOST_MAX * (came + lost)
