"""A NAT gives a client another address in the middle of a call, and the client does not know.

In Firefox, through our pages: `test_firefox.py`.
"""

from __future__ import annotations

import asyncio
import time

from playwright.async_api import Page

from media.api import SourceGone, ViewerGone
from tests.e2e.media_site import Site, decodes, site, stats_when
from tests.e2e.user_nat import UserNat

__all__ = ["site"]  # a fixture

FOLLOWED_WITHIN_S = 8
"""Chromium checks every 2.5 s; then one round trip, and the next keyframe."""


async def test_chromium_is_followed_without_doing_anything(site: tuple[Site, Page]) -> None:
    """Publisher and viewer both; no page of ours is there that could restart ICE."""
    made, page = site
    nat = made.nat = UserNat(("127.0.0.1", made.plane.port))
    try:
        await page.evaluate("publish('expert', 'video/VP8')")
        await page.evaluate("watch('guest', 'expert')")
        found = await stats_when(page, "guest", decodes(30))
        for _ in range(2):
            began = time.monotonic()
            nat.rebind()
            await asyncio.sleep(0.2)  # what was under way is decoded
            frames = (await page.evaluate("stats('guest')"))["video"]["framesDecoded"]
            found = await stats_when(page, "guest", decodes(frames + 10))
            took_s = time.monotonic() - began
            print(f"followed after {took_s:.1f} s")
            assert took_s < FOLLOWED_WITHIN_S
        assert found["state"] == "connected"
        assert made.event(SourceGone) is None
        assert made.event(ViewerGone) is None
    finally:
        nat.close()
