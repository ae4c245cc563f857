"""A headless Chromium for measurements and tests: a fake camera, no visits of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from playwright.async_api import Browser, async_playwright

CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = (
    "--no-sandbox",  # who measures may be root
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # All people share one browser: none may be throttled because another's page is in front.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
REAL_ADDRESSES: Final = "--disable-features=WebRtcHideLocalIpsWithMdns"
"""Candidates show addresses and not mDNS names."""


@asynccontextmanager
async def chromium(*extra: str, program: str = CHROMIUM) -> AsyncIterator[Browser]:
    """One browser; `program` may be a script that starts it elsewhere, as in a namespace."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=[*FLAGS, *extra])
        try:
            yield browser
        finally:
            await browser.close()
