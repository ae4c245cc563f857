"""Work that goes on beside the server for as long as a context."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import structlog

from billing_meter.database import DatabaseUnavailable

log = structlog.get_logger(__name__)


@contextlib.asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run it from entering the context to leaving it."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def every(period_s: float, name: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do the work again and again; a database that does not answer is tried next time."""
    while True:
        await asyncio.sleep(period_s)
        try:
            await work()
        except DatabaseUnavailable as error:
            log.warning("periodic work failed", work=name, error=str(error))
