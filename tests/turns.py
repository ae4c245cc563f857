"""A turn of the event loop, for tests that wait for what is ready already. No time passes."""

from __future__ import annotations

import asyncio


async def turn() -> None:
    """Everything that is ready runs once."""
    await asyncio.sleep(0)
