"""The bench runs on the loop of the standard library, which reads datagrams with their sender."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Its tests, too."""
    return {"asyncio": asyncio.new_event_loop}
