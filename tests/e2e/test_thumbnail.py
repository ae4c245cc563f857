"""A guest's home page shows what a free stream looks like, and nothing of a private one."""

from __future__ import annotations

import os
from pathlib import Path

from tests.e2e.people import EXPERT, stage

PICTURE = f'[data-expert="{EXPERT}"] [data-testid="live-picture"]'
DECODED = "(picture) => (document.querySelector(picture)?.naturalWidth ?? 0) > 100"


async def test_the_card_shows_the_stream_until_it_is_private(tmp_path: Path) -> None:
    async with stage(tmp_path) as scene:
        guest = await scene.newcomer()
        await guest.open("/")
        await guest.page.wait_for_function(DECODED, arg=PICTURE, timeout=10_000)
        shots = os.environ.get("PARLOUR_SHOTS")
        for width in (390, 1280) if shots else ():
            await guest.page.set_viewport_size({"width": width, "height": 800})
            await guest.page.screenshot(path=f"{shots}/thumbnail-{width}.png")
        await scene.begin_private()
        await guest.page.wait_for_selector(PICTURE, state="detached")
        path = f"{scene.server.url}/api/v1/experts/{EXPERT}/thumbnail"
        reply = await guest.page.request.get(path)
        assert (reply.status, (await reply.json())["code"]) == (404, "no_thumbnail")
