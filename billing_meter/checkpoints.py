"""SQLite's write-ahead log goes into the database file beside the writer, never inside a commit.

By itself SQLite does this in whichever commit makes the log long enough: one that somebody waits
for then writes a thousand pages more and flushes twice more. Here a connection of its own does it,
now and then after a commit. What is durable does not depend on it.

A log begins anew, instead of growing, once a writer finds all of it in the file. If writers leave
no gap for that, the last few pages are moved while they wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

PERIOD_S: Final = 2.0
"""Pages that are written with every tick are moved once for several; a burst stays small."""
LOG_PAGES_MAX: Final = 4_000
"""About 16 MB: with more than that, writers wait for a moment until the log can begin anew."""
LOG_PAGES_EMERGENCY: Final = 40_000
"""With so many SQLite moves them in a commit after all: nothing else has for a minute."""

log = logging.getLogger(__name__)


class Checkpoints:
    """Of one file, by `engine`, whose connections are in no transaction; `turn` is the writer's."""

    def __init__(
        self,
        engine: AsyncEngine,
        turn: asyncio.Lock,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._turn = turn
        self._clock_s = clock_s
        self._next_s = clock_s() + PERIOD_S
        self._task: asyncio.Task[None] | None = None

    def written(self) -> None:
        """A commit took effect; never waits."""
        if self._task is None and self._clock_s() >= self._next_s:
            self._task = asyncio.create_task(self._run(), name="checkpoint")

    async def close(self) -> None:
        """Wait for the one that runs, then give the connection back."""
        self._next_s = float("inf")
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._engine.dispose()

    async def _run(self) -> None:
        try:
            pages, left = await self._move()
            if left and pages > LOG_PAGES_MAX:
                async with self._turn:
                    await self._move()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            log.warning("the write-ahead log stays long: %s", error)
        finally:
            self._task = None
            self._next_s = max(self._next_s, self._clock_s() + PERIOD_S)

    async def _move(self) -> tuple[int, int]:
        """Move what no reader still needs; how long the log is, and what is left of it."""
        async with self._engine.connect() as connection:
            result = await connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
            told: tuple[int, ...] = tuple(result.one())
        _, pages, moved = told
        return pages, pages - moved
